"""Pairs what was reported with what was really heard, one to one, within collars.

The definition is that of the package sed_eval, Mesaros et al. 2016, "Metrics for polyphonic sound event detection".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Spans = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Collar:
    """How far a report may be off.

    Attributes:
        onset: seconds, either way.
        offset: seconds, either way; None if the end does not matter.
        share: of the real sound's length that its end may be off, where that is more.
    """

    onset: float = 0.5
    offset: float | None = 0.5
    share: float = 0.5

    def __post_init__(self) -> None:
        if not all(0 <= value < math.inf for value in (self.onset, self.offset or 0.0, self.share)):
            raise ValueError(
                f"need collars that are not negative, got onset={self.onset} offset={self.offset} share={self.share}"
            )


EVENT = Collar()
"""Onset within 500 ms, offset within 500 ms or half of the length."""
ONSET = Collar(offset=None)
"""Onset within 500 ms."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Reports against real sounds.

    Attributes:
        hits: pairs.
        reported, real: all of either.
        errors: of each pair, onset reported minus real, in seconds.
    """

    hits: int = 0
    reported: int = 0
    real: int = 0
    errors: tuple[float, ...] = ()

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.hits + other.hits, self.reported + other.reported, self.real + other.real, self.errors + other.errors
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN where nothing was reported and nothing is real."""
        return 2 * self.hits / (self.reported + self.real) if self.reported + self.real else float("nan")

    @property
    def precision(self) -> float:
        """Share of the reports that are real."""
        return self.hits / self.reported if self.reported else float("nan")

    @property
    def recall(self) -> float:
        """Share of the real sounds that were reported."""
        return self.hits / self.real if self.real else float("nan")


def match(reported: Spans, real: Spans, collar: Collar = EVENT) -> Counts:
    """As many pairs as there can be, and among those the ones with the nearest onsets.

    Args:
        reported: (onset, offset) in seconds, of one label in one recording.
        real: likewise.
        collar: how far a report may be off.
    """
    if not reported or not real:
        return Counts(0, len(reported), len(real))
    found, true = np.array(reported, np.float64), np.array(real, np.float64)
    errors = found[:, None, 0] - true[None, :, 0]
    allowed = _within(found, true, errors, collar)
    further = collar.onset * min(errors.shape) + 1.0  # no sum of onset errors outweighs a pair
    rows, columns = linear_sum_assignment(np.where(allowed, np.abs(errors), further))
    pairs = allowed[rows, columns]
    hits = errors[rows[pairs], columns[pairs]]
    return Counts(len(hits), len(reported), len(real), tuple(hits.tolist()))


def overlaps(span: tuple[float, float], others: Spans) -> bool:
    """Whether it shares any time with one of the others."""
    return any(span[0] < stop and start < span[1] for start, stop in others)


def _within(
    found: NDArray[np.float64], true: NDArray[np.float64], errors: NDArray[np.float64], collar: Collar
) -> NDArray[np.bool_]:
    """[found, true]: which may be pairs."""
    near: NDArray[np.bool_] = np.abs(errors) <= collar.onset
    if collar.offset is None:
        return near
    most = np.maximum(collar.offset, collar.share * (true[:, 1] - true[:, 0]))
    ends: NDArray[np.bool_] = np.abs(found[:, None, 1] - true[None, :, 1]) <= most
    return near & ends
