"""What a stream would report, in a form that is quick to compute for many settings.

The monitor has the real detector, which training must not import; this one gives the same events for whole recordings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import Label
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


def segments(scores: NDArray[np.float32], rule: Label) -> list[tuple[int, int]]:
    """Columns (first, last) of a label's events: begun at `threshold`, kept up by `off`, pauses bridged.

    Args:
        scores: [columns] of one label.
        rule: the label's settings.
    """
    if scores.max(initial=0) < rule.threshold:
        return []
    hold = round(rule.hold_seconds / COLUMN_SECONDS)
    least = max(1, round(rule.min_duration_seconds / COLUMN_SECONDS))
    found: list[list[int]] = []
    for column in np.flatnonzero(scores >= rule.off).tolist():
        if found and column - found[-1][1] <= hold + 1:
            found[-1][1] = column
        elif scores[column] >= rule.threshold:
            found.append([column, column])
    return [(first, last) for first, last in found if last - first + 1 >= least]


def in_samples(found: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Columns as (start, stop) in samples."""
    return [(max(0, first * COLUMN - LEAD), (last + 1) * COLUMN - LEAD) for first, last in found]
