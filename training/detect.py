"""What a stream would report, in a form that is quick to compute for many settings.

The monitor has the real detector, which training must not import; this gives the same events for whole recordings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import Label
from ssondo_stream.cutting import Cutter, Limits, Segment
from ssondo_stream.engine import Student, activate
from ssondo_stream.mel import log_mel
from ssondo_stream.types import Samples
from training.synthesis import COLUMN, LEAD, MEL

COLUMN_SECONDS = COLUMN / MEL.sample_rate


@dataclass(frozen=True, slots=True)
class ColumnScores:
    """Scores of each column of a recording, both [columns, labels].

    Attributes:
        settled: mean over all windows that contain the column, without the one in which it is the newest.
        early: largest mean over the first few of those windows, on which a start may be announced.
    """

    settled: NDArray[np.float32]
    early: NDArray[np.float32]


def column_scores(student: Student, samples: Samples) -> ColumnScores:
    """Stream a recording [n] at 32 kHz through a student, column by column."""
    inferences = student.stream().push(log_mel(samples, MEL))
    shape = (len(inferences), len(student.spec.labels))
    sums, counts = np.zeros(shape, np.float32), np.zeros((shape[0], 1), np.float32)
    early, newest = np.zeros(shape, np.float32), np.zeros(shape[1], np.float32)
    for last, inference in enumerate(inferences):
        scores = activate(inference.logits, student.spec.activation)
        columns = slice(last + 1 - len(scores), last)
        sums[columns] += scores[:-1]
        counts[columns] += 1
        early[columns] = np.maximum(early[columns], sums[columns] / counts[columns])
        newest = scores[-1]
    if len(inferences):
        sums[-1], counts[-1] = newest, 1
    return ColumnScores(np.asarray(sums / np.maximum(counts, 1), np.float32), early)


def segments(scores: NDArray[np.float32], rule: Label) -> list[Segment]:
    """A label's events, as the monitor cuts them.

    Args:
        scores: [columns] of one label.
        rule: the label's settings.
    """
    if scores.max(initial=0) < rule.threshold:
        return []
    durations = {"minimum": rule.min_duration_seconds, "hold": rule.hold_seconds}
    cutter = Cutter(Limits.of_seconds(rule.threshold, rule.off, COLUMN_SECONDS, **durations))
    steps = [cutter.step(column, score) for column, score in enumerate(scores.tolist())]
    return [segment for segment in (*steps, cutter.finish()) if segment]


def in_samples(found: Sequence[Segment]) -> list[tuple[int, int]]:
    """Segments as (start, stop) in samples."""
    return [(max(0, round(segment.begins * COLUMN) - LEAD), round(segment.ends * COLUMN) - LEAD) for segment in found]
