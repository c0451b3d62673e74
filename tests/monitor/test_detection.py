from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.detection import Detection, EventDetector, Rule
from ssondo_stream.types import Prediction

COLUMN, LEAD, WINDOW = 16_384, 7_680, 20
SECONDS = COLUMN / 32_000
DOG = Rule("Dog bark", "dog_bark", threshold=0.5, off=0.3, early=0.7, hold_seconds=0.0)


def windows(
    truth: NDArray[np.float32], first: int = 0, newest: float = 1.0, levels: NDArray[np.float32] | None = None
) -> Iterator[Prediction]:
    """Windows that slide over true column scores [columns, labels]; the newest column is scaled."""
    for end in range(1, len(truth) + 1):
        start = max(0, end - WINDOW)
        scores = truth[start:end].copy()
        scores[-1] *= newest
        yield Prediction(
            (first + start) * COLUMN - LEAD,
            COLUMN,
            scores,
            np.zeros(2, np.float32),
            None if levels is None else levels[start:end],
        )


def column_scores(length: int, *active: tuple[int, int, float]) -> NDArray[np.float32]:
    truth = np.full((length, 1), 0.05, np.float32)
    for first, last, score in active:
        truth[first : last + 1] = score
    return truth


def detect(detector: EventDetector, predictions: Iterator[Prediction]) -> list[tuple[int, Detection]]:
    """Detections with the number of the column that was newest when they came."""
    return [(prediction.end // COLUMN, found) for prediction in predictions for found in detector.update(prediction)]


def columns(detection: Detection) -> tuple[int, int | None]:
    """First and last column of a detection, to the nearest."""
    last = None if detection.offset is None else round((detection.offset + LEAD) / COLUMN) - 1
    return round((detection.onset + LEAD) / COLUMN), last


def test_one_sound_is_one_event_however_many_windows_contain_it() -> None:
    found = detect(EventDetector([DOG], SECONDS), windows(column_scores(60, (10, 14, 0.9))))
    assert [d.kind for _, d in found] == ["started", "ended"]
    (at_start, started), (at_end, ended) = found
    assert started.key == ended.key
    assert columns(ended) == (10, 14)
    assert (ended.confirmed, started.confirmed) == (True, None)
    assert ended.score == ended.score_peak == pytest.approx(0.9)
    assert at_start == 11, "announced one column after the onset's own"
    assert at_end == 15 + WINDOW, "settled when the last window has let go of the silence after it"


def test_weak_sound_is_announced_only_when_all_windows_agree() -> None:
    found = detect(EventDetector([DOG], SECONDS), windows(column_scores(60, (10, 14, 0.6))))
    assert [(at, d.kind) for at, d in found] == [(10 + WINDOW, "started"), (15 + WINDOW, "ended")]
    assert found[1][1].confirmed


def test_start_that_later_windows_refute_ends_unconfirmed() -> None:
    truth = column_scores(60)
    predictions = list(windows(truth))
    for prediction in predictions[10:13]:
        column_10 = 10 - (prediction.start + LEAD) // COLUMN
        prediction.scores[column_10] = 0.95
    found = detect(EventDetector([DOG], SECONDS), iter(predictions))
    assert [(d.kind, d.confirmed) for _, d in found] == [("started", None), ("ended", False)]
    assert columns(found[1][1]) == (10, 10)


@pytest.mark.parametrize("filled", [0.1, 0.3, 0.5, 0.8, 1.0])
def test_scores_of_the_edge_columns_tell_where_a_sound_begins_and_ends(filled: float) -> None:
    truth = np.zeros((60, 1), np.float32)
    truth[10:15] = 0.9
    truth[[9, 15]] = 0.9 * filled
    rule = Rule("Dog bark", "dog_bark", threshold=0.5, off=0.3, hold_seconds=0)
    ended = [d for _, d in detect(EventDetector([rule], SECONDS), windows(truth)) if d.kind == "ended"]
    assert (ended[0].onset + LEAD) / COLUMN == pytest.approx(10 - filled, abs=0.01)
    assert ((ended[0].offset or 0) + LEAD) / COLUMN == pytest.approx(15 + filled, abs=0.01)


def test_newest_column_alone_announces_nothing() -> None:
    predictions = list(windows(column_scores(40)))
    for prediction in predictions:
        prediction.scores[-1] = 0.99
    assert detect(EventDetector([DOG], SECONDS), iter(predictions)) == []


def test_sound_that_lasts_longer_than_a_window_stays_one_open_event() -> None:
    detector = EventDetector([DOG], SECONDS)
    found = detect(detector, windows(column_scores(200, (10, 150, 0.9))))
    assert [d.kind for _, d in found] == ["started", "ended"]
    assert columns(found[1][1]) == (10, 150)


def test_pause_within_the_hold_is_bridged_and_a_longer_one_is_not() -> None:
    rule = Rule("Dog bark", "dog_bark", hold_seconds=2 * SECONDS)
    truth = column_scores(80, (10, 12, 0.9), (15, 16, 0.9), (20, 22, 0.9))
    ended = [d for _, d in detect(EventDetector([rule], SECONDS), windows(truth)) if d.kind == "ended"]
    assert [columns(d) for d in ended] == [(10, 16), (20, 22)]
    assert all(d.confirmed for d in ended)


def test_two_sounds_in_one_window_are_two_events() -> None:
    found = detect(EventDetector([DOG], SECONDS), windows(column_scores(80, (10, 11, 0.9), (15, 16, 0.9))))
    assert sorted(d.key for _, d in found) == [1, 1, 2, 2]
    assert [columns(d) for _, d in found if d.kind == "ended"] == [(10, 11), (15, 16)]


def test_sound_shorter_than_the_minimum_is_no_event() -> None:
    rule = Rule("Dog bark", "dog_bark", early=0.95, min_duration_seconds=3 * SECONDS, hold_seconds=0)
    truth = column_scores(80, (10, 11, 0.9), (30, 32, 0.9))
    found = detect(EventDetector([rule], SECONDS), windows(truth))
    assert [columns(d) for _, d in found if d.kind == "ended"] == [(30, 32)]


def test_strong_evidence_does_not_wait_for_the_minimum_and_is_refuted_where_it_was_not_reached() -> None:
    rule = Rule("Siren", "siren", early=0.8, min_duration_seconds=4 * SECONDS, hold_seconds=0)
    found = detect(EventDetector([rule], SECONDS), windows(column_scores(80, (10, 15, 0.9), (40, 41, 0.9))))
    assert [(at, d.kind) for at, d in found if d.kind == "started"] == [(11, "started"), (41, "started")]
    ended = [d for _, d in found if d.kind == "ended"]
    assert [(columns(d), d.confirmed) for d in ended] == [((10, 15), True), ((40, 41), False)]


def test_cool_down_ignores_what_follows_too_soon() -> None:
    rule = Rule("Dog bark", "dog_bark", hold_seconds=0, cool_down_seconds=8 * SECONDS)
    truth = column_scores(80, (10, 11, 0.9), (15, 16, 0.9), (30, 31, 0.9))
    found = detect(EventDetector([rule], SECONDS), windows(truth))
    assert [columns(d)[0] for _, d in found if d.confirmed] == [10, 30]


def test_smoothing_ignores_a_lone_column() -> None:
    rule = Rule("Dog bark", "dog_bark", off=0.5, smooth_columns=3, hold_seconds=0)
    truth = column_scores(80, (10, 10, 0.9), (30, 35, 0.9))
    found = [d for _, d in detect(EventDetector([rule], SECONDS), windows(truth)) if d.kind == "ended"]
    assert [columns(d) for d in found] == [(30, 35)]


def test_quiet_columns_are_gated() -> None:
    rule = Rule("Dog bark", "dog_bark", gate_dbfs=-50.0, hold_seconds=0)
    levels = np.full(80, -30, np.float32)
    levels[10:15] = -60
    truth = column_scores(80, (10, 14, 0.9), (30, 34, 0.9))
    found = [d for _, d in detect(EventDetector([rule], SECONDS), windows(truth, levels=levels)) if d.confirmed]
    assert [columns(d) for d in found] == [(30, 34)]
    assert found[0].level_dbfs == -30


def test_disabled_label_is_silent() -> None:
    rule = Rule("Dog bark", "dog_bark", enabled=False)
    assert detect(EventDetector([rule], SECONDS), windows(column_scores(60, (10, 30, 0.9)))) == []


def test_labels_do_not_disturb_each_other() -> None:
    truth = np.concatenate((column_scores(60, (10, 14, 0.9)), column_scores(60, (12, 20, 0.8))), axis=1)
    rules = [DOG, Rule("Siren", "siren", hold_seconds=0)]
    found = [d for _, d in detect(EventDetector(rules, SECONDS), windows(truth)) if d.kind == "ended"]
    assert [(d.slug, columns(d)) for d in found] == [("dog_bark", (10, 14)), ("siren", (12, 20))]


def test_gap_ends_open_events_where_the_audio_stopped() -> None:
    detector = EventDetector([DOG], SECONDS)
    before = detect(detector, windows(column_scores(30, (25, 29, 0.9))))
    after = detect(detector, windows(column_scores(30), first=100))
    assert [d.kind for _, d in before] == ["started"]
    assert [(d.kind, columns(d), d.confirmed) for _, d in after] == [("ended", (25, 29), True)]


def test_close_ends_open_events_and_uses_the_newest_column() -> None:
    detector = EventDetector([DOG], SECONDS)
    assert detect(detector, windows(column_scores(30, (29, 29, 0.9)))) == []
    assert [(d.kind, columns(d)) for d in detector.close()] == [("started", (29, None)), ("ended", (29, 29))]
    assert detector.close() == []


def test_closed_detector_equals_a_new_one() -> None:
    used, fresh = EventDetector([DOG], SECONDS), EventDetector([DOG], SECONDS)
    detect(used, windows(column_scores(50, (3, 45, 0.9))))
    used.close()
    truth = column_scores(60, (4, 9, 0.9))
    one, other = detect(used, windows(truth, first=7)), detect(fresh, windows(truth, first=7))
    assert [(at, d.onset, d.offset, d.kind) for at, d in one] == [(at, d.onset, d.offset, d.kind) for at, d in other]


@pytest.mark.parametrize("settle", [2.0, 5.0])
def test_events_settle_sooner_on_fewer_windows_when_told_so(settle: float) -> None:
    found = detect(EventDetector([DOG], SECONDS, settle_seconds=settle), windows(column_scores(60, (10, 14, 0.9))))
    assert found[-1][0] == 15 + round(settle / SECONDS)
    assert columns(found[-1][1]) == (10, 14)


def test_every_start_has_one_end_whatever_the_scores() -> None:
    random = np.random.default_rng(3)
    rule = Rule("Dog bark", "dog_bark", threshold=0.6, off=0.5, early=0.8, hold_seconds=1, min_duration_seconds=1)
    for smooth in (1, 3, 4):
        detector = EventDetector([rule, Rule("B", "b", smooth_columns=smooth)], SECONDS)
        found: list[Detection] = []
        for first in (0, 400):
            for prediction in windows(random.random((300, 2), np.float32) ** 0.7, first=first):
                found += detector.update(prediction)
        found += detector.close()
        starts = {d.key for d in found if d.kind == "started"}
        ends = [d.key for d in found if d.kind == "ended"]
        assert len(starts) >= 15
        assert sorted(ends) == sorted(starts)
        assert all(d.offset is None or d.offset > d.onset for d in found)


def test_confirmed_events_of_a_label_do_not_overlap() -> None:
    random = np.random.default_rng(4)
    detector = EventDetector([DOG], SECONDS)
    found = [d for _, d in detect(detector, windows(random.random((500, 1), np.float32)))]
    ended = [d for d in found if d.confirmed and d.offset]
    assert all(a.offset <= b.onset for a, b in pairwise(ended) if a.offset)


def test_impossible_thresholds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dog_bark: need 0 <= off <= threshold <= early <= 1"):
        Rule("Dog bark", "dog_bark", threshold=0.9, early=0.7)
