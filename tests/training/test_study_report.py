import json
import sys
from pathlib import Path

import pytest

from training.study_figures import Figure, FiguresError, joined, measured, read_figures, write_figures
from training.study_report import STEPS, Row, main, markdown, rows_of

BUNDLE = Path(__file__).parents[2] / "ssondo_stream" / "bundles" / "default"


def run(work: Path, name: str, fold: int, accuracy: float, **told: float) -> None:
    folder = work / f"trained-without-{fold}".replace("without", "on") / name
    folder.mkdir(parents=True)
    content = {"accuracy": accuracy, "folds": [fold], **told}
    (folder / "accuracy.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Two folds: a teacher of one run, a student of two seeds."""
    for fold, teacher, students in ((1, 0.9, (0.7, 0.9)), (2, 1.0, (0.8, 1.0))):
        run(tmp_path, "ensemble", fold, teacher)
        for seed, accuracy in enumerate(students):
            run(tmp_path, f"loss-kl-{seed}", fold, accuracy, learnt=accuracy / 2)
    return tmp_path


def rows(work: Path) -> list[Row]:
    return rows_of(measured(work))


def test_figures_are_means_with_their_spread_over_seeds_and_over_folds(work: Path) -> None:
    ensemble, students = rows(work)
    assert (ensemble.name, students.name) == ("ensemble", "loss-kl")
    assert ensemble.mean == pytest.approx(0.95)
    assert students.mean == pytest.approx(0.85)
    assert students.over_seeds == pytest.approx(0.2 / 2**0.5)
    assert students.over_folds == pytest.approx(0.1 / 2**0.5)
    assert students.by_fold == {1: pytest.approx(0.8), 2: pytest.approx(0.9)}
    assert students.learnt == (pytest.approx(0.425), pytest.approx(0.1 / 2**0.5))
    assert students.runs == 4


def test_the_table_has_a_row_for_each_step_with_its_retention(work: Path) -> None:
    *_, row = markdown(rows(work)).splitlines()
    assert row == "| loss: kl | 0.850 | 0.141 | 0.071 | 0.800, 0.900 | 0.895 | 0.425 ± 0.071 | 4 |"


def test_retention_compares_the_folds_that_both_have(work: Path) -> None:
    run(work, "scratch-0", 1, 0.45)
    assert "| 0.500 |  | 1 |" in markdown(rows(work))


def test_retention_is_against_the_teacher_that_all_students_have(work: Path) -> None:
    run(work, "ensemble-1", 1, 0.3)
    run(work, "ensemble-1", 2, 0.3)
    ensemble, students = markdown(rows(work)).splitlines()[2:]
    assert ensemble.startswith(f"| {STEPS['ensemble']} | 0.625 |")
    assert "| 0.895 | 0.425" in students


def test_a_single_run_has_no_spread(work: Path) -> None:
    run(work, "scratch-0", 1, 0.45, learnt=0.25)
    assert f"| {STEPS['scratch']} | 0.450 |  |  | 0.450 | 0.500 | 0.250 | 1 |" in markdown(rows(work)).splitlines()


def test_known_steps_come_first_and_in_their_order(work: Path) -> None:
    for name in ("balanced-0", "teacher-0", "apart-0"):
        run(work, name, 1, 0.5)
    assert [row.name for row in rows(work)] == ["teacher", "ensemble", "balanced", "apart", "loss-kl"]


def test_nothing_measured_is_an_empty_table(tmp_path: Path) -> None:
    assert len(markdown(rows(tmp_path)).splitlines()) == 2


def test_figures_are_kept_as_they_are(tmp_path: Path) -> None:
    figures = [Figure("balanced", 0, 1, 0.9375, 0.85), Figure("ensemble", 0, 1, 1 / 3)]
    write_figures(tmp_path / "figures.csv", figures)
    assert read_figures(tmp_path / "figures.csv") == figures


@pytest.mark.parametrize(
    "content", [b"", b"step,seed\nx,1\n", b"\xff", b"step,seed,fold,accuracy,learnt\nx,1,2,high,\n"]
)
def test_what_is_no_table_of_figures_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "figures.csv"
    path.write_bytes(content)
    with pytest.raises(FiguresError, match=r"figures\.csv: expected a table of step, seed"):
        read_figures(path)


def test_a_run_that_was_made_again_replaces_the_one_before() -> None:
    before = [Figure("scratch", 0, 1, 0.5), Figure("scratch", 1, 1, 0.6)]
    assert joined(before, [Figure("scratch", 0, 1, 0.7)]) == [Figure("scratch", 0, 1, 0.7), before[1]]


def test_runs_of_another_machine_are_in_the_table_and_stay_in_the_file(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "figures.csv"
    write_figures(kept, [Figure("uniform", 0, 1, 0.9)])
    monkeypatch.setattr(sys, "argv", ["study_report", "--work", str(work), "--figures", str(kept)])
    main()
    assert STEPS["uniform"] in capsys.readouterr().out
    assert {figure.step for figure in read_figures(kept)} == {"uniform", "ensemble", "loss-kl"}


def test_the_card_of_the_shipped_bundle_has_the_table_of_its_figures() -> None:
    card = (BUNDLE / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert markdown(rows_of(read_figures(BUNDLE / "FIGURES.csv"))) in card
