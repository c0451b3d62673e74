"""Teachers: networks whose embeddings are worth imitating, by name.

A published file of the user's own, a bundle of ours, or anything that a `module:factory` makes: the steps after this
only know the protocol.
"""

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path

import torch

from ssondo_stream.bundle import SPEC_FILE, list_bundles
from ssondo_stream.errors import StreamError
from training.embedding_store import INDEX_FILE
from training.learner import STUDENT_FILE
from training.teacher import Teacher
from training.teachers.bundled import BundledTeacher
from training.teachers.checkpoints import FAMILIES, load_vit
from training.teachers.ensemble import Ensemble
from training.teachers.errors import TeacherError
from training.teachers.textures import TEXTURES_FILE, TextureTeacher
from training.teachers.trained import TrainedTeacher

__all__ = ["Teacher", "TeacherError", "load_teacher"]


def load_teacher(name: str, checkpoint: str | Path | None = None, device: str = "cpu") -> Teacher:
    """A teacher by name.

    Args:
        name: "matpac", "matpac++" or "m2d" with their published file as checkpoint; a bundle of ours, by folder or by
            the name of a shipped one; the folder of a finished training or of fitted textures; `module:factory`, called
            with those of `checkpoint` and `device` that it takes; or several of these with commas between, as an
            ensemble.
        checkpoint: file of the teacher's weights.
        device: that it runs on.

    Raises:
        TeacherError: there is no such teacher or device, its checkpoint cannot be used, or it is not what a teacher
            must be.
    """
    _check_device(device)
    if "," in name:
        if checkpoint is not None:
            raise TeacherError(f"an ensemble takes no checkpoint: leave out {checkpoint}")
        return Ensemble([load_teacher(member, None, device) for member in name.split(",")])
    path = None if checkpoint is None else Path(checkpoint)
    if name in FAMILIES:
        if path is None:
            raise TeacherError(f"teacher {name!r} needs a checkpoint: the path of its published file")
        return load_vit(path, FAMILIES[name], device)
    if (Path(name) / SPEC_FILE).is_file() or name in list_bundles():
        return _bundle(name, path, device)
    if (Path(name) / STUDENT_FILE).is_file() or (Path(name) / TEXTURES_FILE).is_file():
        return _trained(name, path, device)
    if ":" in name:
        return _made(name, path, device)
    if (Path(name) / INDEX_FILE).is_file() or any(Path(name).glob("*.npz")):
        raise TeacherError(
            f"{name}: holds embeddings, so there is nothing to extract: give the folder to `cluster`, and to `distill` "
            "with --embeddings"
        )
    raise TeacherError(
        f"no teacher {name!r}: expected one of {', '.join(FAMILIES)}, the folder of a bundle, a shipped bundle "
        f"({', '.join(list_bundles())}), the folder of a finished training, or module:factory"
    )


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without the device
        told = str(error).partition("\n")[0]
        raise TeacherError(f"device {device!r}: {told}; expected cpu, or cuda where there is a GPU") from error


def _bundle(name: str, checkpoint: Path | None, device: str) -> Teacher:
    if checkpoint is not None:
        raise TeacherError(f"teacher {name!r} is a bundle, which has its weights with it: leave out {checkpoint}")
    try:
        return BundledTeacher(name, device)
    except StreamError as error:
        raise TeacherError(f"teacher {name!r}: {error}") from error


def _trained(name: str, checkpoint: Path | None, device: str) -> Teacher:
    if checkpoint is not None:
        raise TeacherError(f"teacher {name!r} is a training, which has its weights with it: leave out {checkpoint}")
    return TextureTeacher(name) if (Path(name) / TEXTURES_FILE).is_file() else TrainedTeacher(name, device)


def _made(name: str, checkpoint: Path | None, device: str) -> Teacher:
    module, _, function = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise TeacherError(f"teacher {name!r}: {error}; expected module:factory, importable from here") from error
    if not callable(factory):
        raise TeacherError(f"teacher {name!r}: expected a function or class, found {type(factory).__name__}")
    offered: Mapping[str, object] = {"checkpoint": checkpoint, "device": device}
    takes = inspect.signature(factory).parameters
    if checkpoint is not None and "checkpoint" not in takes:
        raise TeacherError(f"teacher {name!r} takes no checkpoint: leave out {checkpoint}")
    return _checked(name, factory(**{key: value for key, value in offered.items() if key in takes}))


def _checked(name: str, teacher: Teacher) -> Teacher:
    """What a factory made, if it has what a teacher must have."""
    for key in ("sample_rate", "embedding_dim"):
        value = getattr(teacher, key, None)
        if not isinstance(value, int) or value < 1:
            raise TeacherError(f"teacher {name!r}: expected {key}, a whole number above 0, found {value!r}")
    for key in ("embed", "embed_frames"):
        if not callable(getattr(teacher, key, None)):
            raise TeacherError(f"teacher {name!r}: expected a method {key}(audio), found none")
    return teacher
