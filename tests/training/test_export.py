from pathlib import Path

import numpy as np
import pytest
import torch

from ssondo_stream.loading import load_student
from ssondo_stream.students import ColumnTagger, tagger
from ssondo_stream.students.export import LENGTHS, ParityError, check_parity
from training.data import LABELS
from training.export import read_labels, write_bundle
from training.first_student import STUDENT


@pytest.fixture(scope="module")
def student() -> ColumnTagger:
    """A student with statistics and gates that matter."""
    torch.manual_seed(0)
    student = tagger(STUDENT, len(LABELS)).train()
    for _ in range(3):
        student(torch.randn(4, 80, 128) - 4)
    return student.eval()


@pytest.fixture(scope="module")
def bundle(student: ColumnTagger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student's bundle."""
    folder = tmp_path_factory.mktemp("bundles") / "tried"
    assert write_bundle(student, folder, read_labels(None)) < 1e-5
    return folder


def test_bundle_says_what_the_student_says_at_every_length(student: ColumnTagger, bundle: Path) -> None:
    assert check_parity(student, bundle, [*LENGTHS, 112, 592]) < 1e-5


def test_bundle_streams(bundle: Path) -> None:
    stream = load_student(bundle).stream()
    inferences = stream.push(np.full((16 + 3 * 32, 128), -6.9, np.float32))
    assert [len(inference.logits) for inference in inferences] == [1, 2, 3, 4]


def test_network_stays_below_four_megabytes(bundle: Path) -> None:
    assert (bundle / "student.onnx").stat().st_size <= 4_000_000


def test_export_refuses_a_network_that_says_something_else(student: ColumnTagger, tmp_path: Path) -> None:
    class Different(ColumnTagger):
        def forward(self, frames: torch.Tensor):  # type: ignore[no-untyped-def]
            column_logits, embedding = super().forward(frames)
            return column_logits + (0 if torch.onnx.is_in_onnx_export() else 1), embedding

    wrong = Different(student.backbone, student.head).eval()
    with pytest.raises(ParityError, match="differ by"):
        write_bundle(wrong, tmp_path / "refused", read_labels(None))
    assert not (tmp_path / "refused").exists()
