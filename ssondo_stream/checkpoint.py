"""Published S-SONDO checkpoints and heads, read as data alone.

They are pickles, so torch reads them with `weights_only`, which builds tensors and plain values and runs nothing; and
every tensor must be there, under its name and in its shape, because a network with a few random layers says something
too.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from ssondo_stream.checkpoint_config import (
    CONFIG_KEY,
    Section,
    read_architecture,
    read_mel,
    read_outputs,
    read_window,
)
from ssondo_stream.checksum import sha256_of
from ssondo_stream.errors import CheckpointError
from ssondo_stream.mel import MelConfig
from ssondo_stream.students import Backbone, MLPHead, build

STATE_KEY = "state_dict"
BACKBONE = "student_model.model."
PROJECTION = "student_model.classification_head."
HEAD = "probe.linear_probe."

_HEAD_TENSORS = (("weight", 2), ("bias", 1))  # and how many axes they have
_NAMED = 4  # tensors that an error names before it only counts
_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published checkpoint: what its config says, and its tensors by the names of our modules.

    Attributes:
        path: of the file.
        sha256: of the file.
        architecture: for `students.build`.
        options: likewise.
        mel: the front end, normalisation included.
        window_samples: of a segment.
        step_samples: from one segment to the next.
        outputs: width of the mapping head's space; none if its kind is not the published one.
        backbone: tensors of the network.
        projection: tensors of the mapping head; none if the file has no head of the published kind.
    """

    path: Path
    sha256: str
    architecture: str
    options: Mapping[str, object]
    mel: MelConfig
    window_samples: int
    step_samples: int
    outputs: int | None
    backbone: Mapping[str, Tensor]
    projection: Mapping[str, Tensor] | None

    @property
    def window_frames(self) -> int:
        """Mel frames of a segment."""
        return self.mel.frames_in(self.window_samples)


@dataclass(frozen=True, slots=True)
class Head:
    """A published classifier over embeddings.

    Attributes:
        path: of the file.
        sha256: of the file.
        weight: [classes, embedding_dim].
        bias: [classes].
    """

    path: Path
    sha256: str
    weight: Tensor
    bias: Tensor


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a published checkpoint; whatever else Lightning has put into the file is left alone.

    Raises:
        CheckpointError: the file cannot be read, is incomplete, is no checkpoint, wants to run code, or is of a
            network that we do not have. The message names the file and the key.
    """
    content = _load(path)
    state = _tensors(path, content.get(STATE_KEY))
    config = Section(path, CONFIG_KEY, content.get(CONFIG_KEY))
    architecture, options = read_architecture(config)
    mel = read_mel(config)
    window, step = read_window(config, mel)
    outputs = read_outputs(config)
    projection = _under(PROJECTION, state)
    strays = [name for name in state if not name.startswith((BACKBONE, PROJECTION))]
    if strays:
        raise CheckpointError(f"{path}: {STATE_KEY}: {_listed('unexpected', strays)}, expected names under {BACKBONE}")
    return Checkpoint(
        path,
        sha256_of(path),
        architecture,
        options,
        mel,
        window,
        step,
        outputs,
        _under(BACKBONE, state),
        projection if outputs and projection else None,
    )


def backbone_of(checkpoint: Checkpoint) -> Backbone:
    """The checkpoint's network with its weights, in float32 and evaluation mode.

    Raises:
        CheckpointError: a tensor is missing, unexpected, of another shape, or not finite.
    """
    try:
        with torch.device("meta"):  # shapes only: nothing is drawn at random, nothing large is allocated
            backbone = build(checkpoint.architecture, checkpoint.options)
    except (ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{checkpoint.path}: {CONFIG_KEY}.student_model: {error}") from error
    return _filled(backbone, checkpoint.backbone, checkpoint.path, BACKBONE)


def projection_of(checkpoint: Checkpoint) -> MLPHead:
    """The checkpoint's mapping head with its weights, in float32 and evaluation mode.

    Raises:
        CheckpointError: there is none of the published kind, or a tensor is missing, unexpected, of another shape, or
            not finite.
    """
    tensors, hidden_of = checkpoint.projection, "mlp.0.weight"
    if tensors is None or checkpoint.outputs is None:
        raise CheckpointError(
            f"{checkpoint.path}: has no mapping head of the published kind, expected "
            f"{CONFIG_KEY}.classification_head.head_type 'mlp' and tensors under {PROJECTION}"
        )
    if hidden_of not in tensors or tensors[hidden_of].ndim != 2:
        raise CheckpointError(f"{checkpoint.path}: {PROJECTION}{hidden_of}: missing, expected a matrix")
    hidden, dim = tensors[hidden_of].shape
    with torch.device("meta"):
        head = MLPHead(dim, checkpoint.outputs, hidden=hidden)
    return _filled(head, tensors, checkpoint.path, PROJECTION)


def read_head(path: Path) -> Head:
    """Read a published head.

    Raises:
        CheckpointError: the file cannot be read, is incomplete, is no head, or wants to run code.
    """
    content = _load(path)
    weight, bias = (_with_axes(path, HEAD + name, content.get(HEAD + name), axes) for name, axes in _HEAD_TENSORS)
    classes, dim = weight.shape
    with torch.device("meta"):
        linear = nn.Linear(dim, classes)
    _filled(linear, {"weight": weight, "bias": bias}, path, HEAD)
    return Head(path, sha256_of(path), linear.weight.data, linear.bias.data)


def head_of(head: Head, embedding_dim: int) -> nn.Linear:
    """The head as a layer, for a student of this width.

    Raises:
        CheckpointError: the head is for another width.
    """
    classes, dim = head.weight.shape
    if dim != embedding_dim:
        raise CheckpointError(
            f"{head.path}: {HEAD}weight: is for embeddings of {dim} dimensions, but the student gives {embedding_dim}"
        )
    with torch.device("meta"):
        linear = nn.Linear(dim, classes)
    linear.load_state_dict({"weight": head.weight, "bias": head.bias}, assign=True)
    return linear


def _load(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unusual pickle protocol is told by what follows from it
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle fails in any way at all
        raise CheckpointError(f"{path}: {_reason(str(error))}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path}: holds a {type(content).__name__}, expected a dictionary as torch.save writes it"
        )
    return content


def _reason(told: str) -> str:
    """What is wrong with a file, without torch's advice to load it unsafely."""
    wanted = re.search(r"GLOBAL (\S+)", told)
    if wanted is None:
        return "is truncated, or is not a file that torch.save wrote"
    return (
        f"asks for {wanted[1]}, and nothing of it was run: a checkpoint may hold tensors and plain values only. "
        f"If you trust the file, save its {STATE_KEY} and {CONFIG_KEY} alone to a new one where it was made"
    )


def _tensors(path: Path, state: object) -> dict[str, Tensor]:
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(f"{path}: {STATE_KEY}: {_shape(state)}, expected a dictionary of tensors")
    for name, tensor in state.items():
        if not isinstance(name, str) or not _is_plain(tensor):
            raise CheckpointError(
                f"{path}: {STATE_KEY}[{name!r}]: {_shape(tensor)}, expected a dense tensor of real numbers"
            )
    return dict(state)


def _is_plain(value: object) -> TypeGuard[Tensor]:
    """Whether this is a dense tensor of numbers in memory."""
    return isinstance(value, Tensor) and not (
        value.layout != torch.strided or value.is_quantized or value.is_complex() or value.is_meta
    )


def _with_axes(path: Path, name: str, value: object, axes: int) -> Tensor:
    if not _is_plain(value) or value.ndim != axes:
        raise CheckpointError(f"{path}: {name}: {_shape(value)}, expected a tensor with {axes} axes")
    return value


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _filled(module: _Module, tensors: Mapping[str, Tensor], path: Path, prefix: str) -> _Module:
    """The module, built without memory, with these tensors as its own; each must fit."""
    expected = module.state_dict()
    wrong = [
        f"{prefix}{name} is {_shape(tensors[name])}, expected {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    broken = [prefix + name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    problems = [
        _listed("missing", [prefix + name for name in expected if name not in tensors]),
        _listed("unexpected", [prefix + name for name in tensors if name not in expected]),
        _listed("of another shape:", wrong),
        _listed("with values that are not finite:", broken),
    ]
    if any(problems):
        raise CheckpointError(f"{path}: {'; '.join(filter(None, problems))}")
    own = {name: tensor.to(expected[name].dtype, copy=True) for name, tensor in tensors.items()}
    module.load_state_dict(own, assign=True)
    return module.requires_grad_().eval()


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} tensors {what} {', '.join(names[:_NAMED])}{more}" if names else ""


def _shape(value: object) -> str:
    if isinstance(value, Tensor):
        return str(list(value.shape))
    return "missing" if value is None else f"got a {type(value).__name__}"
