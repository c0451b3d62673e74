import json
from pathlib import Path

import pytest

from training.study_report import markdown, read_rows


def measured(work: Path, name: str, fold: int, accuracy: float) -> None:
    folder = work / f"trained-without-{fold}".replace("without", "on") / name
    folder.mkdir(parents=True)
    (folder / "accuracy.json").write_text(json.dumps({"accuracy": accuracy, "folds": [fold]}), encoding="utf-8")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Two folds: a teacher of one run, a student of two seeds."""
    for fold, teacher, students in ((1, 0.9, (0.7, 0.9)), (2, 1.0, (0.8, 1.0))):
        measured(tmp_path, "ensemble", fold, teacher)
        for seed, accuracy in enumerate(students):
            measured(tmp_path, f"loss-kl-{seed}", fold, accuracy)
    return tmp_path


def test_figures_are_means_with_their_spread_over_seeds_and_over_folds(work: Path) -> None:
    ensemble, students = read_rows(work)
    assert (ensemble.name, students.name) == ("ensemble", "loss-kl")
    assert ensemble.mean == pytest.approx(0.95)
    assert students.mean == pytest.approx(0.85)
    assert students.over_seeds == pytest.approx(0.2 / 2**0.5)
    assert students.over_folds == pytest.approx(0.1 / 2**0.5)
    assert students.by_fold == {1: pytest.approx(0.8), 2: pytest.approx(0.9)}
    assert students.runs == 4


def test_the_table_has_a_row_for_each_step_with_its_retention(work: Path) -> None:
    *_, row = markdown(read_rows(work)).splitlines()
    assert row == "| loss-kl | 0.850 | 0.141 | 0.071 | 0.800, 0.900 | 0.895 | 4 |"


def test_retention_compares_the_folds_that_both_have(work: Path) -> None:
    measured(work, "scratch-0", 1, 0.45)
    assert "| 0.500 | 1 |" in markdown(read_rows(work)).splitlines()[-1]


def test_a_single_run_has_no_spread(work: Path) -> None:
    measured(work, "scratch-0", 1, 0.45)
    assert markdown(read_rows(work)).splitlines()[-1] == "| scratch | 0.450 |  |  | 0.450 | 0.500 | 1 |"


def test_nothing_measured_is_an_empty_table(tmp_path: Path) -> None:
    assert len(markdown(read_rows(tmp_path)).splitlines()) == 2
