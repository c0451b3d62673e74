"""The baseline of the bench computes what it stands for."""

import copy

import pytest
import torch

from tests.bench.published_form import as_published
from tests.parts_students import GOLDEN, settled_student


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
