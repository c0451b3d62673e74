"""What the study reports of streams, of scores made up."""

import json
from pathlib import Path

import numpy as np
import pytest

from ssondo_stream.bundle import Label
from tests.training.parts_streams import COLUMN, scored
from training.annotations import Heard
from training.estimates import Rate
from training.labels import LABELS
from training.matching import Counts
from training.stream_figures import Outcome
from training.stream_scores import Recording
from training.study_streams import measure_streams, steadied
from training.thresholds import OperatingPoint, choose_thresholds

BARK = LABELS.index("Dog bark")
CLEAR, FAINT, ALIKE = (10, 40), (60, 80), (500, 1200, 1900)


def fold(name: str, alike: float) -> list[Recording]:
    """Two clear barks and two faint ones; and 20 minutes with three other sounds that score `alike`."""
    barks, quiet = np.zeros((100, len(LABELS))), np.zeros((2344, len(LABELS)))
    for places, score in ((CLEAR, 0.9), (FAINT, 0.5)):
        for place in places:
            barks[place : place + 4, BARK] = score
    quiet[ALIKE, BARK] = alike
    heard = tuple(Heard(place * COLUMN, (place + 4) * COLUMN, "Dog bark") for place in (*CLEAR, *FAINT))
    return [Recording(name, scored(barks, COLUMN), heard), Recording(f"{name}, quiet", scored(quiet, COLUMN))]


def found(folder: Path) -> tuple[float, int]:
    """Recall, and false alarms in the quiet, of barks."""
    table = json.loads((folder / "evaluation.json").read_text())["streams"]
    label = table["labels"]["Dog bark"]
    return label["recall"], label["false_alarms"]["count"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    recordings = {1: fold("one", 0.6), 2: fold("two", 0.1)}
    measure_streams(recordings, recordings, folder)
    return folder


def test_settings_that_ship_keep_to_their_budget_and_keen_ones_find_more(measured: Path) -> None:
    """On the recordings of fold 1, where other sounds score more than faint barks, are chosen those of fold 2."""
    assert found(measured / "fold-2") == (0.5, 0)
    assert found(measured / "fold-2-keen") == (1.0, 0)


def test_a_fold_has_settings_that_do_not_know_it(measured: Path) -> None:
    assert found(measured / "fold-1") == (1.0, 3), "on fold 2 the faint barks were the louder ones"


def test_settings_are_chosen_on_other_recordings_than_are_measured_on(tmp_path: Path) -> None:
    easy, hard = fold("easy", 0.1), fold("hard", 0.6)
    measure_streams({1: easy, 2: easy}, {1: hard, 2: easy}, tmp_path)
    assert found(tmp_path / "fold-1") == (1.0, 0), "on what is easy"
    assert found(tmp_path / "fold-2") == (0.5, 0), "on what is hard"


def test_settings_chosen_on_all_are_those_that_ship(measured: Path) -> None:
    rules = json.loads((measured / "labels.json").read_text())
    assert [rule["name"] for rule in rules] == list(LABELS)
    assert 0.6 < rules[BARK]["threshold"] <= 0.9, "three alarms in 40 minutes are beyond the budget"


def test_a_lucky_setting_is_not_chosen_for_its_luck() -> None:
    """Of settings in a row one has no false alarms; its neighbours have, and find fewer events."""

    def point(threshold: float, hits: int, alarms: int) -> OperatingPoint:
        found = Outcome(Counts(hits, 10, 10), false_alarms=Rate(alarms, 1.0))
        return OperatingPoint(Label("a", threshold, off=0.05, early=1.0), found, found)

    lucky = [[point(0.1, 2, 9)], [point(0.2, 2, 9)], [point(0.3, 9, 0)], [point(0.4, 2, 2)]]
    solid = [[point(0.5, 7, 1)], [point(0.6, 7, 0)], [point(0.7, 7, 0)], [point(0.8, 6, 0)]]
    assert choose_thresholds([[p for row in lucky + solid for p in row]], 0)[0].threshold == 0.3
    (chosen,) = choose_thresholds([[*steadied(lucky), *steadied(solid)]], 0)
    assert chosen.threshold == 0.7
    assert [p.alarms.count for p in steadied(lucky)] == [9, 9, 9, 0], "of the next looser one"
