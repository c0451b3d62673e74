"""From a network in torch to a bundle: ONNX files, safetensors and spec.

Nothing is written unless ONNX Runtime says what torch says, at every length that a stream will show it.
"""

import copy
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from ssondo_stream.bundle import (
    COMPUTED_FILE,
    NETWORK_FILE,
    SPEC_FILE,
    WEIGHTS_FILE,
    LocalPart,
    StudentSpec,
    load_spec,
    local_file,
    save_bundle,
)
from ssondo_stream.errors import BundleError, StreamError
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
    """Export a student, and return the largest difference found, relative to the largest output.

    Args:
        student: in evaluation mode.
        folder: of the bundle.
        spec: what the bundle says; its local parts are filled in here.
        files: further files, such as the model card.

    Raises:
        ParityError: ONNX Runtime and torch differ, see `check_parity`; the folder is not touched.
        BundleError: the spec does not fit the network.
    """
    apart, backbone = student.is_apart, student.backbone
    parts = tuple(LocalPart(*part[1:]) for part in backbone.local_parts() if apart)
    spec = replace(spec, local=parts, computed_dim=backbone.computed_dim if apart else 0)
    network, *files_of_parts = to_onnx(student, spec)
    contents = {local_file(i): part for i, part in enumerate(files_of_parts)}
    if spec.computed_dim:
        contents[COMPUTED_FILE] = _exported_computed(_Computed(student), spec)
    if spec.architecture:
        contents[WEIGHTS_FILE] = save({name: tensor.contiguous() for name, tensor in student.state_dict().items()})
    contents.update(files or {})
    with tempfile.TemporaryDirectory() as trial:
        save_bundle(Path(trial), spec, network, contents)
        difference = check_parity(student, Path(trial))
    save_bundle(folder, spec, network, contents)
    return difference


def put_beside(
    bundle: Path, computed: nn.Module, count: int, folder: Path, files: Mapping[str, bytes] | None = None
) -> float:
    """Copy a bundle, with what a module computes of the window's frames behind its embeddings; its scores stay.

    Weights for torch are left behind, as their architecture knows nothing of it.

    Args:
        bundle: whose embeddings have no computed part yet.
        computed: frames [batch, time, n_mels] -> [batch, columns, count], of which an embedding has the mean.
        count: of the dimensions that are added.
        folder: of the copy.
        files: further files, instead of those of these names.

    Returns:
        The largest difference between ONNX Runtime and torch in what is added.

    Raises:
        BundleError: the bundle cannot be read, or has a computed part.
        ParityError: they differ by more than `TOLERANCE` allows of numbers of this size.
    """
    spec = load_spec(bundle)
    if spec.computed_dim:
        raise BundleError(f"{bundle}: its embeddings have a computed part of {spec.computed_dim} dimensions already")
    listed = json.loads((bundle / SPEC_FILE).read_text(encoding="utf-8"))["files"]
    contents = {name: (bundle / name).read_bytes() for name in listed if name != WEIGHTS_FILE}
    network = contents.pop(NETWORK_FILE)
    contents.update(files or {})
    contents[COMPUTED_FILE] = _exported_computed(computed, spec)
    spec = replace(spec, embedding_dim=spec.embedding_dim + count, computed_dim=count, architecture=None)
    with tempfile.TemporaryDirectory() as trial:
        save_bundle(Path(trial), spec, network, contents)
        difference = _difference_computed(Path(trial), computed)
    if not difference <= ROUNDINGS * TOLERANCE:
        raise ParityError(f"{bundle.name}: torch and ONNX Runtime differ by {difference:.1e} in what is computed")
    save_bundle(folder, spec, network, contents)
    return difference


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


def _difference_computed(bundle: Path, computed: nn.Module) -> float:
    """Largest difference between torch and the bundle in what is computed, relative to the largest value."""
    student, worst = load_student(bundle, engine="onnx"), 0.0
    sound = log_mel(trial_audio(student.spec, max(LENGTHS)), student.spec.mel)
    for length in LENGTHS:
        with torch.inference_mode():
            expected = computed(torch.from_numpy(sound[:length])[None]).mean(1)[0]
        found = student.infer(sound[:length]).embedding[-student.spec.computed_dim :]
        worst = max(worst, difference_of(torch.from_numpy(found), expected))
    return worst


def _exported_computed(computed: nn.Module, spec: StudentSpec) -> bytes:
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
