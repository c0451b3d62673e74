from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.detection import EventDetector, Rule
from ssondo_stream.bundle import Label, StudentSpec
from ssondo_stream.engine import StreamingEngine
from ssondo_stream.types import AudioBlock, Frames, Inference
from ssondo_stream.windowed import WindowedStream
from training.calibrate import candidates, choose, early_threshold, report, tally
from training.data import LABELS, RATE
from training.detect import ColumnScores, column_scores, in_samples, segments
from training.evaluate import Recording, compare, count_events, false_alarms, load_recordings, save_recordings
from training.synthesis import COLUMN, LEAD, Occurrence

RULE = Label("Dog bark", threshold=0.6, off=0.3, early=0.9, min_duration_seconds=0.0, hold_seconds=1.0)


class Loud:
    """A student whose only label is the level: its score is high in columns that are not silent."""

    spec = StudentSpec("loud", (Label("Loud"),), 1)

    def infer(self, frames: Frames) -> Inference:
        level = np.array([frames[max(0, i - 16) : i + 16].mean() for i in range(0, len(frames), 32)])
        return Inference((4 * (level[:, None] + 6.5)).astype(np.float32), np.zeros(1, np.float32))

    def stream(self, hop_columns: int = 1) -> WindowedStream:
        return WindowedStream(self.spec, self.infer, hop_columns)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.1, 0.5, 0.7, 0.4, 0.1], [(2, 3)]),
        ([0.7, 0.1, 0.1, 0.4, 0.1], [(0, 3)]),
        ([0.7, 0.1, 0.1, 0.1, 0.7], [(0, 0), (4, 4)]),
        ([0.5, 0.5, 0.5], []),
        ([], []),
    ],
)
def test_segments_begin_at_the_threshold_and_bridge_short_pauses(
    scores: list[float], expected: list[tuple[int, int]]
) -> None:
    found = segments(np.array(scores, np.float32), RULE)
    assert [(segment.first, segment.last) for segment in found] == expected


def test_segments_that_are_too_short_are_dropped() -> None:
    rule = Label("Rain", 0.6, 0.3, 0.9, min_duration_seconds=1.0, hold_seconds=0.0)
    (segment,) = segments(np.array([0.9, 0, 0, 0.9, 0.9, 0], np.float32), rule)
    assert (segment.first, segment.last) == (3, 4)


def test_burst_is_found_where_it_is() -> None:
    samples = np.zeros(30 * RATE, np.float32)
    start, stop = 30 * COLUMN - LEAD, 34 * COLUMN - LEAD
    samples[start:stop] = np.random.default_rng(0).normal(0, 0.3, stop - start)
    scores = column_scores(Loud(), samples)
    (found,) = in_samples(segments(scores.settled[:, 0], RULE))
    assert found == pytest.approx((start, stop), abs=COLUMN // 3)
    assert (scores.early >= scores.settled - 1e-6)[:-1].all()


def test_the_monitor_reports_the_same_events() -> None:
    rng = np.random.default_rng(5)
    gain = np.repeat(10 ** rng.uniform(-4, 0, size=90), RATE // 3).astype(np.float32)
    samples = 0.2 * gain * rng.standard_normal(len(gain)).astype(np.float32)
    rule = Rule("Loud", "loud", RULE.threshold, RULE.off, RULE.early, 1.0, RULE.hold_seconds)
    detector = EventDetector([rule], COLUMN / RATE)
    detections = [
        detection
        for prediction in StreamingEngine(Loud(), RATE).push(AudioBlock(0, samples))
        for detection in detector.update(prediction)
    ]
    reported = [(d.onset, d.offset) for d in detections + detector.close() if d.kind == "ended" and d.confirmed]
    expected = in_samples(
        segments(column_scores(Loud(), samples).settled[:, 0], replace(RULE, min_duration_seconds=1.0))
    )
    assert len(expected) > 1
    assert reported == expected


def test_events_match_one_to_one_within_the_collar() -> None:
    counts = compare([(0, 9), (1000, 1100), (90_000, 91_000)], [(500, 600), (400_000, 400_100)], collar=1000)
    assert (counts.hits, counts.false, counts.missed) == (1, 2, 1)
    assert counts.errors == (500 / RATE,)
    assert counts.f1 == pytest.approx(0.4)
    assert counts.recall == 0.5


def recording(kind: str, scores: NDArray[np.float32], heard: list[Occurrence]) -> Recording:
    columns = np.zeros((len(scores), len(LABELS)), np.float32)
    columns[:, 0] = scores
    return Recording(kind, ColumnScores(columns, columns), heard)


def test_recordings_survive_being_saved(tmp_path: Path) -> None:
    kept = [recording("soundscape", np.array([0.1, 0.9], np.float32), [Occurrence(0, 5, 9)])]
    save_recordings(tmp_path / "fold.npz", kept, 0.75)
    (loaded,), accuracy = load_recordings(tmp_path / "fold.npz")
    assert (loaded.kind, loaded.heard, accuracy) == ("soundscape", kept[0].heard, 0.75)
    np.testing.assert_array_equal(loaded.scores.settled, kept[0].scores.settled)


def test_calibration_finds_barks_and_stays_above_what_negatives_reach() -> None:
    barks, nothing = np.zeros(117, np.float32), np.zeros(117, np.float32)
    barks[[20, 60, 90]] = 0.8
    nothing[[10, 30, 50, 80, 100]] = 0.6
    heard = [Occurrence(0, column * COLUMN - LEAD, column * COLUMN) for column in (20, 60, 90)]
    recordings = [recording("soundscape", barks, heard), *[recording("negative", nothing, [])] * 5]
    rule = candidates("Dog bark")[choose([tally(recordings)], cost=0.5)[0]]
    assert 0.6 < rule.threshold <= 0.8
    assert count_events(recordings, 0, rule).f1 == 1
    assert early_threshold(recordings, 0, rule) > rule.threshold


def test_false_alarms_are_counted_on_negatives_only() -> None:
    loud = np.array([0, 0.9, 0, 0, 0, 0.9, 0], np.float32)
    recordings = [recording("negative", loud, []), recording("soundscape", loud, [])]
    assert false_alarms(recordings, [RULE]) == {"Dog bark": 2}


def test_report_measures_each_fold_with_settings_of_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    folds = []
    for score in (0.9, 0.5):  # what is chosen on either fold misses, or overdoes, the other
        barks = np.zeros(117, np.float32)
        barks[[20, 60]] = score
        heard = [Occurrence(0, column * COLUMN - LEAD, column * COLUMN) for column in (20, 60)]
        folds.append(tally([recording("soundscape", barks, heard), recording("negative", barks - 0.1, [])]))
    report(folds, [1.0, 0.5], cost=0.5)
    lines = capsys.readouterr().out.splitlines()
    assert "event F1 1.000, recall 1.000" in lines[0]
    assert "false alarms 120.00/h" in lines[0]
    assert "event F1 0.000, recall 0.000" in lines[1]
    assert "clip accuracy 0.750" in lines[2]
