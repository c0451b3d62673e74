"""A training that is stopped at any moment ends as if it had not been."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.parts_forked import run_python
from tests.training.parts_distill import RECIPE, RUN, same, sources
from tests.training.parts_embeddings import assert_killed
from training.distill import distill
from training.losses import LossSettings
from training.manifest import open_manifest
from training.recipe import AugmentSettings, OptimiserSettings, Recipe, SamplingSettings

# The reader that gets embeddings for the eighth time, two batches ahead of the network, ends the process.
MORTAL = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from tests.training.parts_distill import RUN, sources
from tests.training.test_distill_resume import KILLED
from training.distill import distill

class Mortal:
    def __init__(self, embeddings):
        self.inner, self.reads = embeddings, 0
    def __getattr__(self, name):
        return getattr(self.inner, name)
    def __len__(self):
        return len(self.inner)
    def rows(self, index):
        self.reads += 1
        if self.reads > 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.rows(index)

data = sources(Path(sys.argv[1]))
distill(KILLED, replace(data, embeddings=Mortal(data.embeddings)), Path(sys.argv[2]), replace(RUN, readers=1, ahead=1))
"""

KILLED = replace(RECIPE, sampling=replace(RECIPE.sampling, draws=20))

KINDS = {
    "adamw, bf16 and hybrid loss": replace(
        RECIPE, loss=LossSettings("hybrid"), optimiser=OptimiserSettings("adamw", weight_decay=0.1), precision="bf16"
    ),
    "fp16, contrastive loss and no average": replace(
        RECIPE, loss=LossSettings("contrastive"), precision="fp16", average=0.0
    ),
    "backgrounds and no clusters": replace(
        RECIPE,
        sampling=SamplingSettings(12),
        augment=AugmentSettings(background=0.7),
        optimiser=OptimiserSettings(clip=0),
    ),
}


def test_kill_9_in_the_middle_of_an_epoch_changes_no_bit(tmp_path: Path) -> None:
    data, killed, whole = sources(tmp_path / "data"), tmp_path / "killed", tmp_path / "whole"
    assert_killed(run_python(MORTAL, tmp_path / "data", killed))
    assert (killed / "checkpoint.pt").exists()
    assert not (killed / "student.safetensors").exists()
    begun = len((killed / "history.csv").read_text().splitlines()) - 1
    assert 5 < begun < 10  # in the second of two epochs of five steps
    distill(KILLED, data, killed, RUN)
    distill(KILLED, data, whole, RUN)
    same(killed, whole)


@pytest.mark.parametrize("recipe", KINDS.values(), ids=KINDS)
def test_stopped_training_goes_on_to_the_same_bits(tmp_path: Path, recipe: Recipe) -> None:
    data, stopped, whole = sources(tmp_path / "data"), tmp_path / "stopped", tmp_path / "whole"
    data = replace(data, backgrounds=open_manifest(tmp_path / "data" / "meta.csv"))
    report = distill(recipe, data, stopped, replace(RUN, stop_after=4, log_every=3))
    assert (report.done, report.steps) == (4, 6)
    assert distill(recipe, data, stopped, replace(RUN, readers=3, save_every=100, log_every=3)).done == 6
    distill(recipe, data, whole, replace(RUN, log_every=3))
    same(stopped, whole)


def test_finished_training_is_left_as_it_is(tmp_path: Path) -> None:
    data, out = sources(tmp_path / "data"), tmp_path / "out"
    distill(RECIPE, data, out, RUN)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.name != "report.json"}
    assert distill(RECIPE, data, out, RUN).done == RECIPE.steps
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name != "report.json"} == before
