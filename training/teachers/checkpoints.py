"""Reads users' own published files of MATPAC, MATPAC++ and M2D into our encoder.

The files come in several layouts and from strangers: only tensors are read, every one is demanded by name and shape,
and sizes are those of the tensors, whatever the file or its folder is called.
"""

import argparse
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ssondo_stream.mel import MelConfig
from training.teachers.errors import TeacherError
from training.teachers.vit import AudioViT, Encoder, Geometry

_WRAPPED_IN = ("model", "state_dict")
_PREFIXES = ("module.ar.runtime.backbone.", "backbone.", "module.", "")  # the first two are those of fine-tuned M2D
_STUDENT = "student_encoder."  # before blocks and final norm in files of MATPAC
_NOT_OURS = ("log_mel.", "head.", "head_norm.")  # a front end that we have ourselves, and a classifier
_STATISTICS = "norm_stats"
_NAMED = 5  # tensors in a message


@dataclass(frozen=True, slots=True)
class Family:
    """What a checkpoint does not say of itself.

    Attributes:
        mel: the front end; its mean and standard deviation give way to `norm_stats` in the file.
        centred: see `LogMel`.
        depth: blocks.
    """

    mel: MelConfig
    centred: bool
    depth: int = 12


_MEL = MelConfig(16_000, 400, 160, 80, 50.0, 8000.0, offset=1.1920929e-07)
_MATPAC = Family(replace(_MEL, mean=-7.056, std=4.193), centred=False)
FAMILIES: Mapping[str, Family] = {
    "matpac": _MATPAC,
    "matpac++": _MATPAC,
    "m2d": Family(replace(_MEL, mean=-7.1, std=4.2), centred=True),
}


def load_vit(path: Path, family: Family, device: str = "cpu") -> AudioViT:
    """A teacher with the weights of a file.

    Args:
        path: as published: a flat dictionary of tensors or one under "model" or "state_dict", with or without the
            prefixes of training frameworks and MATPAC's `student_encoder.`.
        family: what it was trained as.
        device: of the teacher.

    Raises:
        TeacherError: the file is missing, damaged, holds more than tensors, or misses some, and the message names
            them; or there is no such device.
    """
    tensors = _encoder_tensors(path, _unwrapped(path, _read(path)))
    mel = _with_statistics(path, family.mel, tensors.pop(_STATISTICS, None))
    with torch.device("meta"):
        encoder = Encoder(_geometry(path, tensors, family))
    _check(path, tensors, encoder.state_dict())
    encoder.load_state_dict(tensors, assign=True)
    try:
        return AudioViT(encoder, mel, centred=family.centred).to(device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without the device
        raise TeacherError(f"device {device!r}: {error}") from error


def _read(path: Path) -> object:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # M2D's settings: plain values with names
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TeacherError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # what a damaged or hostile pickle raises is anyone's guess
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked:
            raise TeacherError(f"{path}: refused, it holds more than tensors and plain values: {asked[1]}") from error
        raise TeacherError(f"{path}: damaged, or no file of tensors ({type(error).__name__})") from error


def _unwrapped(path: Path, content: object) -> dict[str, Tensor]:
    for key in _WRAPPED_IN:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise TeacherError(f"{path}: expected a dictionary of tensors, found {type(content).__name__}")
    return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _encoder_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors in float32 by our names, and the statistics if there are any."""
    prefix = next((prefix for prefix in _PREFIXES if f"{prefix}pos_embed" in tensors), None)
    if prefix is None:
        raise TeacherError(f"{path}: expected a tensor pos_embed, with or without a prefix; found {_some(tensors)}")
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        ours = name.removeprefix(prefix).removeprefix(_STUDENT)
        if not name.startswith(prefix) or ours.startswith(_NOT_OURS):
            continue
        if ours in found:
            raise TeacherError(f"{path}: {ours} is there twice, with and without {_STUDENT}")
        found[ours] = value.float()
    return found


def _with_statistics(path: Path, mel: MelConfig, statistics: Tensor | None) -> MelConfig:
    if statistics is None:
        return mel
    if statistics.shape != (2,) or not torch.isfinite(statistics).all() or statistics[1] <= 0:
        raise TeacherError(f"{path}: {_STATISTICS}: expected mean and deviation > 0, found {statistics.tolist()}")
    mean, std = statistics.tolist()
    return replace(mel, mean=mean, std=std)


def _geometry(path: Path, tensors: Mapping[str, Tensor], family: Family) -> Geometry:
    """Sizes by the shapes of three tensors; those of the rest are checked against them."""
    dim, channels, patch, width = _shape(path, tensors, "patch_embed.proj.weight", 4)
    _, positions, _ = _shape(path, tensors, "pos_embed", 3)
    hidden, _ = _shape(path, tensors, "blocks.0.mlp.fc1.weight", 2)
    bands = family.mel.n_mels // patch
    if channels != 1 or patch != width or bands * patch != family.mel.n_mels:
        raise TeacherError(
            f"{path}: patch_embed.proj.weight: expected square patches that divide {family.mel.n_mels} mel bins, "
            f"found {[dim, channels, patch, width]}"
        )
    if positions < 1 + bands or (positions - 1) % bands:
        raise TeacherError(f"{path}: pos_embed: expected 1 + {bands} * columns positions, found {positions}")
    try:
        return Geometry(dim, family.depth, hidden, patch, bands, (positions - 1) // bands)
    except ValueError as error:
        raise TeacherError(f"{path}: {error}") from error


def _shape(path: Path, tensors: Mapping[str, Tensor], name: str, axes: int) -> tuple[int, ...]:
    if name not in tensors:
        raise TeacherError(f"{path}: missing {name}; found {_some(tensors)}")
    shape = tuple(tensors[name].shape)
    if len(shape) != axes or 0 in shape:
        raise TeacherError(f"{path}: {name}: expected {axes} axes, found {list(shape)}")
    return shape


def _check(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    shapes = [name for name in wanted if name in found and found[name].shape != wanted[name].shape]
    faults = {
        f"{len(wanted)} tensors wanted, missing": wanted.keys() - found.keys(),
        "unexpected": found.keys() - wanted.keys(),
        "of another shape": {f"{name} {list(found[name].shape)}, not {list(wanted[name].shape)}" for name in shapes},
        "not finite": {name for name, value in found.items() if not torch.isfinite(value).all()},
    }
    told = [f"{fault}: {_some(sorted(names, key=_by_number))}" for fault, names in faults.items() if names]
    if told:
        raise TeacherError(f"{path}: {'; '.join(told)}")


def _by_number(name: str) -> list[str]:
    return [part.zfill(4) for part in re.split(r"(\d+)", name)]


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more if listed else "none"
