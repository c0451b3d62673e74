"""Gradient clipping, seen in what Adam keeps of its first gradient."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.parts_distill import RECIPE, RUN, sources, tensors
from training.distill import distill
from training.recipe import AugmentSettings, OptimiserSettings, Precision, Recipe


def gradient(recipe: Recipe, data: Path, out: Path) -> Tensor:
    """The first one that is finite, which before it half precision may have to find a scale for."""
    for steps in range(1, recipe.steps):
        distill(recipe, sources(data), out, replace(RUN, stop_after=steps))
        if means := [value for name, value in tensors(out).items() if name.endswith("/exp_avg")]:
            return torch.cat([mean.flatten() for mean in means]) / (1 - recipe.optimiser.betas[0])
    raise AssertionError("no step was done")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clipping_limits_the_gradient_and_keeps_its_direction(tmp_path: Path, precision: Precision) -> None:
    plain = replace(RECIPE, precision=precision, augment=AugmentSettings(), average=0.0, epochs=10)
    free, clipped = (
        gradient(replace(plain, optimiser=OptimiserSettings(clip=clip)), tmp_path / "data", tmp_path / str(clip))
        for clip in (0.0, 0.01)
    )
    assert float(free.norm()) > 0.1
    assert float(clipped.norm()) == pytest.approx(0.01, rel=1e-3)
    assert float(torch.cosine_similarity(free, clipped, dim=0)) == pytest.approx(1, abs=1e-3)
