from dataclasses import replace

import numpy as np
import pytest

from monitor.detection import Detection, EventDetector, Rule
from ssondo_stream.bundle import Label
from ssondo_stream.engine import StreamingEngine
from ssondo_stream.types import AudioBlock
from tests.training.parts_streams import COLUMN, RATE, Fickle, bursts, scored
from training.announcing import Announcement, announcements, settled_events
from training.stream_scores import StreamSettings, score_samples

RULE = Label("Loud", threshold=0.5, off=0.3, early=0.8, min_duration_seconds=0.0, hold_seconds=0.5)


def reported(detections: list[tuple[float, Detection]], seconds: float) -> list[tuple[float, float, float, bool]]:
    """What the monitor said: when it started, onset, offset, whether it was confirmed."""
    started = {d.key: now for now, d in detections if d.kind == "started"}
    return [
        (started[d.key], min(d.onset / RATE, seconds), min(d.offset / RATE, seconds), bool(d.confirmed))
        for _, d in detections
        if d.offset is not None
    ]


@pytest.mark.parametrize(
    ("settings", "minimum", "doubt"),
    [
        (StreamSettings(), 0.0, 0.0),
        (StreamSettings(), 1.5, 6.0),
        (StreamSettings(hop_columns=3, early_windows=2), 0.0, 6.0),
        (StreamSettings(early_windows=3, settle_seconds=4.0), 1.0, 4.0),
        (StreamSettings(hop_columns=2, settle_seconds=6.0), 2.0, 5.0),
    ],
)
@pytest.mark.parametrize(("seed", "confirm"), [(0, 0.0), (1, 0.0), (0, 0.6), (1, 0.6)])
def test_announcements_are_those_of_the_monitor(
    seed: int, confirm: float, settings: StreamSettings, minimum: float, doubt: float
) -> None:
    student, samples, windows = Fickle(doubt, verifies=bool(confirm)), bursts(seed), settings.early_windows
    seconds = len(samples) / RATE
    rule = Rule("Loud", "loud", RULE.threshold, RULE.off, RULE.early, minimum, RULE.hold_seconds, confirm=confirm)
    engine, detections = StreamingEngine(student, RATE, settings.hop_columns), []
    settle = settings.settle_seconds
    detector = EventDetector([rule], COLUMN, early_windows=windows, settle_seconds=settle, verify=engine.verify)
    for prediction in [*engine.push(AudioBlock(0, samples)), *engine.flush()]:
        loud = type(prediction)(prediction.start, prediction.column, prediction.scores[:, :1], prediction.embedding)
        now = min(prediction.end / RATE, seconds)
        detections += [(now, detection) for detection in detector.update(loud)]
    detections += [(seconds, detection) for detection in detector.close()]

    scores = score_samples(student, samples, RATE, settings)
    label = Label("Loud", rule.threshold, rule.off, rule.early, minimum, rule.hold_seconds, confirm=confirm)
    found = announcements(scores, 0, label, windows)
    expected = reported(detections, seconds)
    assert len(expected) > 1
    np.testing.assert_allclose([(a.announced, a.onset, a.offset, a.confirmed) for a in found], expected, atol=1 / RATE)
    assert [a.span for a in found if a.confirmed] == settled_events(scores, 0, label)


def test_a_verifier_drops_what_it_speaks_against() -> None:
    scores = score_samples(Fickle(verifies=True), bursts(0), RATE)
    every, short = (settled_events(scores, 0, replace(RULE, confirm=confirm)) for confirm in (0.0, 0.6))
    assert set(short) < set(every)
    assert max(b - a for a, b in short) < 1.5 < max(b - a for a, b in every)


def test_doubtful_students_have_starts_refuted() -> None:
    found = announcements(score_samples(Fickle(6.0), bursts(0), RATE), 0, RULE)
    assert {announcement.confirmed for announcement in found} == {True, False}


def test_event_is_announced_once_a_later_window_has_scored_it() -> None:
    scores = scored([[0.0]] * 4 + [[0.9]] * 2 + [[0.0]] * 6)
    assert announcements(scores, 0, RULE) == [Announcement(6.0, 4.0, 6.0, True)]
    assert announcements(scores, 0, RULE, early_windows=3)[0].announced == 8.0


def test_weak_event_is_announced_when_it_has_settled() -> None:
    scores = scored([[0.0]] * 4 + [[0.6]] * 2 + [[0.0]] * 9)
    (found,) = announcements(scores, 0, RULE)
    assert found.span == (4.0, 6.0)
    assert found.announced > 8.0


def test_nothing_is_found_below_the_threshold() -> None:
    scores = scored([[0.4]] * 9)
    assert (announcements(scores, 0, RULE), settled_events(scores, 0, RULE)) == ([], [])
