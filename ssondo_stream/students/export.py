"""From a network in torch to a bundle: ONNX files, safetensors and spec.

Nothing is written unless ONNX Runtime says what torch says, at every length that a stream will show it.
"""

import copy
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from ssondo_stream.bundle import (
    COMPUTED_FILE,
    WEIGHTS_FILE,
    LocalPart,
    StudentSpec,
    bundle_files,
    local_file,
    save_bundle,
)
from ssondo_stream.bundle_folder import trial_folder
from ssondo_stream.errors import StreamError
from ssondo_stream.loading import load_student
from ssondo_stream.mel import log_mel
from ssondo_stream.onnx_student import COMPUTED, EVIDENCE, FRAMES, OUTPUTS, local_names
from ssondo_stream.students.heads import ColumnOutput, ColumnTagger, image
from ssondo_stream.students.terse_onnx import terse
from ssondo_stream.types import Samples

LENGTHS = (16, 48, 80, 336, 624)
"""Frames at which torch and ONNX Runtime are compared: short windows after a start, the published one."""
TOLERANCE = 1e-4
ROUNDINGS = 8

_OPSET = 17


class ParityError(StreamError):
    """The exported network does not say what the network in torch says."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that says what torch says, to be written.

    Attributes:
        spec, network, files: of the bundle, see `save_bundle`.
        difference: largest one between ONNX Runtime and torch, relative to the largest output.
    """

    spec: StudentSpec
    network: bytes = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)
    difference: float

    def with_file(self, name: str, text: str) -> "Exported":
        """With a further file, or instead of the one of this name."""
        return replace(self, files={**self.files, name: text.encode()})

    def save(self, folder: Path) -> float:
        """Write the bundle, see `save_bundle`; gives the difference."""
        save_bundle(folder, self.spec, self.network, self.files)
        return self.difference


class _Local(nn.Module):
    """A local part as a network of its own, of a turned student."""

    def __init__(self, student: ColumnTagger, number: int) -> None:
        super().__init__()
        self.student = student
        self.number = number

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The part's inputs, frames [batch, time, n_mels] or maps [batch, channels, columns, bands] -> its outputs."""
        part = self.student.backbone.local_parts()[self.number]
        return part.run(*[x if i else x.unsqueeze(1) for i, x in zip(part.inputs, inputs, strict=True)])


class _Rest(nn.Module):
    """What follows the local parts of a turned student."""

    def __init__(self, student: ColumnTagger) -> None:
        super().__init__()
        self.student = student

    def forward(self, x: Tensor) -> ColumnOutput:
        """The last map."""
        return self.student.pool(self.student.backbone.rest(x).transpose(2, 3))


class _Computed(nn.Module):
    """What the embedding has beside what is learnt."""

    def __init__(self, student: ColumnTagger) -> None:
        super().__init__()
        self.student = student

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [batch, time, n_mels] -> [batch, columns, computed_dim]."""
        return self.student.backbone.computed(image(frames))


class _Mean(nn.Module):
    """The mean over columns."""

    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        self.of = of

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [batch, time, n_mels] -> [batch, count]."""
        found: Tensor = self.of(frames).mean(1)
        return found


def _turned(student: ColumnTagger) -> ColumnTagger:
    """A copy for maps [batch, channels, columns, bands], in which a stretch of columns is one block of memory.

    Only for networks with local parts, which know no other difference between the axes than their kernels have, and
    their `time_axis`.
    """
    student = copy.deepcopy(student)
    student.backbone.time_axis = 2
    for conv in student.backbone.modules():
        if isinstance(conv, nn.Conv2d):
            conv.weight = nn.Parameter(conv.weight.mT.contiguous())
    return student


def write_bundle(
    student: ColumnTagger, folder: Path, spec: StudentSpec, files: Mapping[str, bytes] | None = None
) -> float:
    """Export a student into a folder, and return the largest difference found, relative to the largest output.

    Raises:
        ParityError, BundleError: as `exported` and `save_bundle` do; the folder is as it was.
    """
    return exported(student, spec, files or {}).save(folder)


def exported(student: ColumnTagger, spec: StudentSpec, files: Mapping[str, bytes]) -> Exported:
    """Export a student.

    Args:
        student: in evaluation mode.
        spec: what the bundle says; see `full_spec`.
        files: further files, such as the model card.

    Raises:
        ParityError: ONNX Runtime and torch differ, see `check_parity`.
        BundleError: the spec does not fit the network, or there is no room to try the bundle.
        ValueError: a further file has the name of one of the network's.
    """
    spec = full_spec(student, spec)
    network, *files_of_parts = to_onnx(student, spec)
    contents = {local_file(i): part for i, part in enumerate(files_of_parts)}
    if spec.computed_dim:
        contents[COMPUTED_FILE] = computed_onnx(_Computed(student), spec)
    if spec.architecture:
        contents[WEIGHTS_FILE] = save({name: tensor.contiguous() for name, tensor in student.state_dict().items()})
    if clash := contents.keys() & files.keys():
        raise ValueError(f"further files must have other names than {sorted(clash)}")
    contents.update(files)
    with trial_folder(bundle_files(spec, network, contents)) as trial:
        return Exported(spec, network, contents, check_parity(student, trial))


def full_spec(student: ColumnTagger, spec: StudentSpec) -> StudentSpec:
    """The spec with what the network says of itself: its local parts, and how much of the embedding is computed."""
    apart, backbone = student.is_apart, student.backbone
    parts = tuple(LocalPart(*part[1:]) for part in backbone.local_parts() if apart)
    return replace(spec, local=parts, computed_dim=backbone.computed_dim if apart else 0)


def to_onnx(student: ColumnTagger, spec: StudentSpec) -> list[bytes]:
    """The rest of the network, then its local parts; time is free."""
    if spec.local:
        student = _turned(student)
    maps = [torch.zeros(1, LENGTHS[-1], spec.mel.n_mels)]
    exported = []
    for number, (inputs, outputs) in enumerate(local_names(spec)):
        part = _Local(student, number)
        taken = tuple(maps[i] for i in spec.local[number].inputs)
        exported.append(onnx_of(part, taken, inputs, outputs))
        with torch.no_grad():
            maps += part(*taken)
    last = local_names(spec)[-1][1][-1] if exported else FRAMES
    return [onnx_of(_Rest(student) if exported else student, (maps[-1],), [last], OUTPUTS), *exported]


def check_parity(student: ColumnTagger, bundle: Path, lengths: Sequence[int] = LENGTHS) -> float:
    """Largest difference between torch and the bundle in ONNX Runtime, relative to the largest output.

    Some networks amplify rounding so much that torch in float32 differs from torch in float64 by more than
    `TOLERANCE`; to them, `ROUNDINGS` times that difference is allowed.

    Raises:
        ParityError: more than is allowed.
    """
    exported, exact = load_student(bundle, engine="onnx"), copy.deepcopy(student).double()
    sound, worst = log_mel(trial_audio(exported.spec, max(lengths)), exported.spec.mel), 0.0
    for length in lengths:
        frames = torch.from_numpy(sound[:length])[None]
        with torch.inference_mode():
            expected, truth = student(frames), exact(frames.double())
        found = exported.infer(frames[0].numpy())
        for ours, theirs, true in zip((found.logits, found.embedding), expected, truth, strict=True):
            difference = difference_of(torch.from_numpy(ours), theirs[0])
            allowed = max(TOLERANCE, ROUNDINGS * difference_of(theirs[0], true[0]))
            if not difference <= allowed:
                raise ParityError(
                    f"{bundle.name}: torch and ONNX Runtime differ by {difference:.1e} of the largest output at "
                    f"{length} frames, more than {allowed:.0e}"
                )
            worst = max(worst, difference)
    return worst


def trial_audio(spec: StudentSpec, frames: int) -> Samples:
    """Bursts of noise over a rising tone, for so many frames: every band is loud at times and silent at others."""
    rate, count = spec.mel.sample_rate, spec.mel.samples_for(frames)
    time = np.arange(count) / rate
    tone = 0.2 * np.sin(2 * np.pi * time * (100 + 0.5 * time * rate / 40))
    noise = np.random.default_rng(0).normal(0, 0.3, count) * np.exp(-9 * (time % 1.7))
    return (tone + noise).astype(np.float32)


def difference_of(a: Tensor, b: Tensor) -> float:
    """Largest, relative to the largest value of `b`; 0 for no values."""
    return float((a.double() - b.double()).abs().max() / b.double().abs().max()) if b.numel() else 0.0


def computed_onnx(computed: nn.Module, spec: StudentSpec) -> bytes:
    """What is computed of a window, frames [1, time, n_mels] -> [1, columns, count], as ONNX: its mean."""
    return onnx_of(_Mean(computed), (torch.zeros(1, LENGTHS[-1], spec.mel.n_mels),), [FRAMES], [COMPUTED])


def onnx_of(part: nn.Module, examples: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """A network as ONNX, by names of its inputs and outputs; time is free where they have it."""
    frames_or_logits = (FRAMES, OUTPUTS[0])
    fixed = (OUTPUTS[1], COMPUTED, EVIDENCE)
    axes = {name: {1 if name in frames_or_logits else 2: "time"} for name in (*inputs, *outputs) if name not in fixed}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            part.eval(),
            examples,
            buffer,  # type: ignore[arg-type]  # the exporter takes streams, its annotation does not say so
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
    return terse(buffer.getvalue())
