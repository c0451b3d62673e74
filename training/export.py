"""From trained weights to a bundle: `python -m training.export --weights FILE --out DIR`."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from ssondo_stream.bundle import Label, StudentSpec
from ssondo_stream.students import ColumnTagger, export, tagger
from training.data import LABELS
from training.first_student import STUDENT


def load_weights(path: Path) -> ColumnTagger:
    """The trained student, ready for inference."""
    student = tagger(STUDENT, len(LABELS))
    student.load_state_dict(torch.load(path, weights_only=True))
    return student.eval()


def write_bundle(student: ColumnTagger, folder: Path, labels: Sequence[Label], extra: Sequence[Path] = ()) -> float:
    """Save a bundle and return the difference between torch and ONNX Runtime; write nothing if it is too large.

    Raises:
        ParityError: see `export.write_bundle`.
    """
    spec = StudentSpec(name=folder.name, labels=tuple(labels), embedding_dim=student.backbone.embedding_dim)
    return export.write_bundle(student, folder, spec, {path.name: path.read_bytes() for path in extra})


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
