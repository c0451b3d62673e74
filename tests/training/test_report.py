import json
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread

from ssondo_stream.bundle import Label
from tests.training.parts_streams import recording
from training.estimates import Estimate
from training.evaluation import evaluate
from training.matching import Collar
from training.report import JSON_FILE, PLOT_FILE, TABLE_FILE, Evaluation, as_json, markdown, write_report
from training.stream_metrics import MetricSettings

RULES = [Label("Bark", 0.5, 0.3, 0.8, 0.0, 0.0), Label("Never | heard", 0.5, 0.3, 0.8, 0.0, 0.0)]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """Two sounds, of which one is found a little late, and a false alarm."""
    scene = [[0.9, 0.0] if i in (10, 11) else [0.0, 0.0] for i in range(60)]
    negative = [[0.7, 0.0] if i == 30 else [0.0, 0.0] for i in range(60)]
    scored = [recording(scene, (9.9, 12, "Bark"), (40, 42, "Bark")), recording(negative, name="negative")]
    clips = {"accuracy": Estimate(0.96, 0.93, 0.98)}
    return evaluate(
        "A student",
        scored,
        RULES,
        MetricSettings(resamples=20),
        clips=clips,
        facts={"folds": "1 to 3"},
        thresholds=[0.3, 0.8],
    )


def test_table_has_every_figure_with_its_interval(evaluation: Evaluation) -> None:
    rows = {line.split("|")[1].strip(): line for line in markdown(evaluation).splitlines() if line.startswith("|")}
    assert "0.960 (0.930 to 0.980)" in rows["accuracy"]
    assert "0.500 (" in rows["event F1, onset 0.5 s and offset 50 %"]
    assert "0.500 of 2" in rows["sounds overlapped"]
    assert "0.100 s" in rows["median onset error"]
    assert "2.100 s" in rows["median detection latency"]
    assert "60.00 (1.52 to 334.30), 1 in 0.02 h" in rows["false alarms per hour, all labels"]
    assert rows["Bark"].count("|") == rows["label"].count("|") == 12
    assert rows["Never / heard"].count("–") == 7


def test_table_begins_with_title_and_facts(evaluation: Evaluation) -> None:
    assert markdown(evaluation).startswith("# A student\n\n- folds: 1 to 3\n\n| clips |")


def test_table_names_the_collar(evaluation: Evaluation) -> None:
    assert evaluation.streams
    narrow = replace(evaluation, streams=replace(evaluation.streams, collar=Collar(0.2, 0.2, 0.3)))
    assert "| event F1, onset 0.2 s and offset 30 % |" in markdown(narrow)


def test_json_has_numbers_or_null(evaluation: Evaluation) -> None:
    values = json.loads(json.dumps(as_json(evaluation), allow_nan=False))
    bark, never = values["streams"]["labels"].values()
    assert bark["sounds"] == 2
    assert bark["settings"]["threshold"] == 0.5
    assert bark["false_alarms"]["count"] == 1
    assert never["recall"] is None
    assert values["streams"]["event_f1"]["value"] == 0.5
    assert [point["false_alarms"] for point in values["curves"]["Bark"]] == [1, 0]
    assert values["clips"]["accuracy"]["low"] == 0.93


def test_report_is_a_table_a_json_and_a_picture(evaluation: Evaluation, tmp_path: Path) -> None:
    write_report(tmp_path / "report", evaluation)
    assert (tmp_path / "report" / TABLE_FILE).read_text(encoding="utf-8") == markdown(evaluation)
    assert json.loads((tmp_path / "report" / JSON_FILE).read_text(encoding="utf-8"))["title"] == "A student"
    assert imread(tmp_path / "report" / PLOT_FILE).shape[:2] == (500, 1700)


def test_evaluation_of_clips_alone_has_no_picture(tmp_path: Path) -> None:
    write_report(tmp_path, Evaluation("Clips", {"accuracy": Estimate(1.0, 1.0, 1.0)}))
    assert sorted(path.name for path in tmp_path.iterdir()) == [JSON_FILE, TABLE_FILE]


def test_label_without_sounds_is_left_out_of_the_picture(tmp_path: Path) -> None:
    quiet = evaluate("Nothing", [recording([[0.0, 0.0]] * 20)], RULES, MetricSettings(resamples=5), thresholds=[0.5])
    write_report(tmp_path, quiet)
    assert (tmp_path / PLOT_FILE).exists()
