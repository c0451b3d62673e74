"""Bundles with a verifier, as the command `export` makes them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ssondo_stream.bundle import CARD_FILE, Label
from ssondo_stream.loading import load_student
from ssondo_stream.students import classifier
from ssondo_stream.students.textures import Textures
from ssondo_stream.verifier import certainty
from tests.training.parts_distill import RECIPE
from tests.training.test_cli_export import export, finished
from training.learner import STUDENT_FILE, new_learner, save_learner
from training.student_bundle import centred
from training.teachers.textures import MEL
from training.verifier import VERIFIER_FILE

__all__ = ["finished"]


def verified(finished: Path, folder: Path, labels: int = 2) -> list[object]:
    """How to export a student with a head and a verifier of so many labels, all of them as they began."""
    recipe, count = replace(RECIPE, mel=MEL), Textures(MEL.n_mels).count
    save_learner(folder / STUDENT_FILE, new_learner(recipe, 12).eval(), recipe, ())
    torch.manual_seed(0)
    tensors = {**classifier(count, labels + 1).state_dict(), "mean": torch.zeros(count)}
    save_file({**tensors, "deviation": torch.ones(count)}, folder / VERIFIER_FILE)
    return [folder, "--probe", finished / "head", "--verifier", folder]


def test_verifier_must_speak_of_the_labels_of_the_head(finished: Path, tmp_path: Path) -> None:
    count = Textures(MEL.n_mels).count
    for labels in (3, 2):
        code, _, error = export(*verified(finished, tmp_path, labels), "--out", tmp_path / "mine")
        assert ("the verifier speaks of 3 labels, the probe of 2" in error) == (labels == 3)
        assert code == (2 if labels == 3 else 0)
    assert f", {3 * count + 3:,} of the verifier |" in (tmp_path / "mine" / CARD_FILE).read_text()
    assert load_student(tmp_path / "mine").spec.verifies


def test_certainties_are_centred_so_that_one_half_finds_what_was_chosen(finished: Path, tmp_path: Path) -> None:
    given, frames = verified(finished, tmp_path), np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)
    assert export(*given, "--out", tmp_path / "plain")[0] == 0
    chosen = [{"name": "Low", "confirm": 0.05}, {"name": "High", "confirm": 0.9, "bias": 1.0}]
    (tmp_path / "chosen.json").write_text(json.dumps(chosen))
    assert export(*given, "--labels", tmp_path / "chosen.json", "--out", tmp_path / "mine")[0] == 0
    plain, mine = load_student(tmp_path / "plain"), load_student(tmp_path / "mine")
    assert [label.confirm for label in mine.spec.labels] == [0.5, 0.5]
    assert "| Low | 0.5 | 0.3 | 0.7 | 0.5 | 2.94444 | 0 | 1 |  |" in (tmp_path / "mine" / CARD_FILE).read_text()
    for asked, before, after, own in zip(
        (0.05, 0.9), plain.verify(frames), mine.verify(frames), (0.0, 1.0), strict=True
    ):
        scores = np.linspace(0.001, 0.999, 500)
        enough = [certainty(score, before + own) >= asked for score in scores]
        assert enough == [certainty(score, after) >= 0.5 for score in scores]
        assert {True, False} == set(enough)


@pytest.mark.parametrize("confirm", [0.0, 1.0])
def test_nothing_is_moved_where_nothing_or_everything_is_asked_for(confirm: float) -> None:
    assert centred(Label("Low", confirm=confirm, bias=0.3)) == Label("Low", confirm=confirm, bias=0.3)
