"""Two processes train as one would."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.parts import PATIENCE
from tests.training.parts_distill import RECIPE, RUN, losses, recipe_file, sources, tensors
from tests.training.parts_embeddings import ROOT
from training.distill import distill
from training.losses import LossSettings
from training.recipe import load_recipe

OPTIONS = [
    "--device",
    "cpu",
    "--threads",
    "1",
    "--log-every",
    "1",
    "--save-every",
    "100",
    "--cache-gib",
    "0.01",
    "--no-tensorboard",
]


def train_as_two(folder: Path, out: Path, stop_after: int) -> None:
    """The command, as torchrun starts it."""
    data = folder / "data"
    step = ["distill", folder / "recipe.toml", "--manifest", data / "meta.csv", "--embeddings", data / "embeddings"]
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training.cli"]
    done = subprocess.run(
        [
            sys.executable,
            *map(str, [*two, *step, "--clusters", data, "--out", out, *OPTIONS, "--stop-after", stop_after]),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE * 120,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(out)) == 1, done.stdout


@pytest.mark.parametrize(
    ("loss", "styles", "architecture", "stop_after"),
    [
        ("contrastive", 0.5, "mobilenetv3", 0),
        ("hybrid", 0.0, "mobilenetv3", 4),
        ("cosine", 0.0, "textured_mobilenetv3", 0),
    ],
)
def test_two_processes_have_the_losses_of_one(
    tmp_path: Path, loss: str, styles: float, architecture: str, stop_after: int
) -> None:
    """With draws by cluster, mixup, styles, masks, dropout, batch norm, clipping and average, as they are trained with.

    Where two stop, one goes on.
    """
    data = sources(tmp_path / "data")
    augment = replace(RECIPE.augment, mix_style=styles)
    options = {**RECIPE.student.options, **({"n_mels": 128} if architecture.startswith("textured") else {})}
    student = replace(RECIPE.student, architecture=architecture, options=options)
    recipe = load_recipe(str(recipe_file(tmp_path, loss=LossSettings(loss), augment=augment, student=student)))
    distill(recipe, data, tmp_path / "one", RUN)
    train_as_two(tmp_path, tmp_path / "two", stop_after)
    distill(recipe, data, tmp_path / "two", RUN)
    ours, expected = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert ours[0] == pytest.approx(expected[0], rel=1e-5)
    # torch's batch norm adds up single precision naively in this memory format, which six steps of Adam amplify
    assert ours == pytest.approx(expected, rel=2e-3)
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in (name for name in one if name.endswith(("running_mean", "running_var"))):
        torch.testing.assert_close(two[name], one[name], rtol=1e-2, atol=1e-3)
