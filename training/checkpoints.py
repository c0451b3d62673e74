"""Checkpoints of a training: whole or absent, of one recipe and its data, and read without running what is in them."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from training.errors import SettingsError, TrainingError
from training.files import write_file

CHECKPOINT_FILE = "checkpoint.pt"
FORMAT = 1

State = dict[str, object]
"""Tensors, numbers, text, and lists and dictionaries of them."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be read; delete it to begin anew."""


def save_checkpoint(path: Path, state: Mapping[str, object], fingerprint: str) -> None:
    """Write a checkpoint in place of the one before it.

    Args:
        path: of the file.
        state: what a training needs to go on.
        fingerprint: of recipe and data.

    Raises:
        StorageError: the disk is full; the checkpoint before it stays.
    """
    content = io.BytesIO()  # torch's own writer would not say what is wrong with the disk
    torch.save({"format": FORMAT, "fingerprint": fingerprint, "state": dict(state)}, content)
    write_file(path, lambda file: file.write(content.getbuffer()))


def load_checkpoint(path: Path, fingerprint: str) -> State | None:
    """The state that was saved last, with tensors in main memory; none if nothing was.

    Raises:
        CheckpointError: the file is damaged.
        SettingsError: it is of another recipe, or of other data.
    """
    if not path.exists():
        return None
    try:
        found = load_plain(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; delete it to begin anew") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("state"), dict):
        raise CheckpointError(f"{path}: expected a checkpoint of format {FORMAT}; delete it to begin anew")
    if found.get("fingerprint") != fingerprint:
        raise SettingsError(
            f"{path}: is of another recipe or other data: fingerprint {str(found.get('fingerprint'))[:12]}, "
            f"expected {fingerprint[:12]}; name another output folder"
        )
    return dict(found["state"])


def load_plain(path: Path) -> object:
    """What `torch.save` wrote, if it is tensors and plain values; nothing in it is run.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unusual pickle protocol is told by what follows from it
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle fails in any way at all
        raise CheckpointError(
            f"{path}: is missing, damaged, or holds more than tensors and plain values ({type(error).__name__})"
        ) from error
