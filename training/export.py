"""From trained weights to a bundle: `python -m training.export --weights FILE --out DIR`.

The network is exported only if ONNX Runtime says what torch says, at every length that a stream will show it.
"""

import argparse
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from torch import nn

from ssondo_stream.bundle import PREFIX_FILE, Label, Prefix, StudentSpec, save_bundle
from ssondo_stream.onnx_student import INPUT, MAP, OUTPUTS, OnnxStudent
from ssondo_stream.students import ColumnTagger, tagger
from training.data import LABELS
from training.first_student import STUDENT

LENGTHS = (16, 48, 80, 336, 624)
TOLERANCE = 1e-4


class ParityError(Exception):
    """The exported network does not say what the trained one says."""


def load_weights(path: Path) -> ColumnTagger:
    """The trained student, ready for inference."""
    student = tagger(STUDENT, len(LABELS))
    student.load_state_dict(torch.load(path, weights_only=True))
    return student.eval()


def to_onnx(student: ColumnTagger, n_mels: int = 128) -> tuple[bytes, bytes]:
    """The prefix and the rest of the network, batch and time being free.

    The prefix goes from `frames` [batch, time, n_mels] to `map`, the rest from there to both outputs.
    """
    frames = torch.zeros(1, LENGTHS[-1], n_mels)
    with torch.no_grad():
        features = student.prefix(frames)
    return (
        _exported(_Part(student, "prefix"), frames, {INPUT: {0: "batch", 1: "time"}}, {MAP: {0: "batch", 3: "steps"}}),
        _exported(
            _Part(student, "rest"),
            features,
            {MAP: {0: "batch", 3: "steps"}},
            {OUTPUTS[0]: {0: "batch", 1: "columns"}, OUTPUTS[1]: {0: "batch"}},
        ),
    )


class _Part(nn.Module):
    """A part of a network as a network."""

    def __init__(self, student: ColumnTagger, name: Literal["prefix", "rest"]) -> None:
        super().__init__()
        self.student = student
        self._name = name

    def forward(self, x: torch.Tensor) -> object:
        return getattr(self.student, self._name)(x)


Axes = dict[str, dict[int, str]]


def _exported(part: nn.Module, example: torch.Tensor, inputs: Axes, outputs: Axes) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            part.eval(),
            (example,),
            buffer,  # type: ignore[arg-type]  # the exporter takes streams, its annotation does not say so
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={**inputs, **outputs},
            opset_version=17,
            dynamo=False,
        )
    network = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(network)
    return bytes(network.SerializeToString())


def check_parity(student: nn.Module, bundle: Path, lengths: Sequence[int] = LENGTHS) -> float:
    """Largest difference between torch and the bundle, relative to the largest output.

    Raises:
        ParityError: it exceeds TOLERANCE.
    """
    exported = OnnxStudent(bundle)
    rng, worst = np.random.default_rng(0), 0.0
    for length in lengths:
        frames = rng.uniform(-7, 3, (length, exported.spec.mel.n_mels)).astype(np.float32)
        with torch.inference_mode():
            expected = student(torch.from_numpy(frames)[None])
        found = exported.infer(frames)
        for ours, theirs in zip(expected, (found.logits, found.embedding), strict=True):
            reference = ours[0].numpy()
            worst = max(worst, float(np.abs(reference - theirs).max() / np.abs(reference).max()))
    if worst > TOLERANCE:
        raise ParityError(f"torch and ONNX Runtime differ by {worst:.1e}, more than {TOLERANCE:.0e}")
    return worst


def write_bundle(student: ColumnTagger, folder: Path, labels: Sequence[Label], extra: Sequence[Path] = ()) -> float:
    """Save a bundle that passes `check_parity` and return the difference found; write nothing if it fails."""
    spec = StudentSpec(
        name=folder.name,
        labels=tuple(labels),
        embedding_dim=student.head.in_features,
        prefix=Prefix(*student.backbone.local_extent()),
    )
    prefix, network = to_onnx(student)
    files = {PREFIX_FILE: prefix, **{path.name: path.read_bytes() for path in extra}}
    with tempfile.TemporaryDirectory() as trial:
        save_bundle(Path(trial), spec, network, files)
        difference = check_parity(student, Path(trial))
    save_bundle(folder, spec, network, files)
    return difference


def read_labels(path: Path | None) -> list[Label]:
    """Labels with calibrated settings as `training.calibrate` writes them, or with the defaults."""
    if path is None:
        return [Label(name) for name in LABELS]
    return [Label(**settings) for settings in json.loads(path.read_text(encoding="utf-8"))]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--labels", type=Path, help="settings of each label, from training.calibrate")
    parser.add_argument("--extra", type=Path, nargs="*", default=[], help="further files, such as the model card")
    arguments = parser.parse_args()
    student = load_weights(arguments.weights)
    difference = write_bundle(student, arguments.out, read_labels(arguments.labels), arguments.extra)
    parameters = sum(parameter.numel() for parameter in student.parameters())
    print(f"{arguments.out}: {parameters} parameters, torch and ONNX Runtime differ by {difference:.1e}")


if __name__ == "__main__":
    main()
