"""The bench measures what it says."""

import copy
from pathlib import Path

import pytest
import torch

from tests.bench.extraction import teacher_share
from tests.bench.published_form import as_published
from tests.parts_students import GOLDEN, settled_student
from training.teachers.vit import Geometry


@pytest.mark.parametrize("name", GOLDEN)
def test_published_form_says_the_same(name: str) -> None:
    ours = settled_student(name)
    theirs = copy.deepcopy(ours)
    as_published(theirs)
    frames = torch.randn(1, 96, 128) * 2 - 4
    with torch.inference_mode():
        expected, found = ours(frames), theirs(frames.clone())
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max()


def test_share_of_the_teacher_is_told_of_a_small_one(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    (row,) = teacher_share(tmp_path, clips=2, geometry=Geometry(dim=64, depth=1, hidden=64))
    assert 0 < row.value < 1
    assert "2 clips in" in row.note
    assert torch.get_num_threads() == before
