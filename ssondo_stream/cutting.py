"""Cuts segments out of one label's column scores: hysteresis, minimum duration, hold and cool-down.

It knows columns and nothing of windows, time or announcements, so it can be copied and run ahead on provisional scores.
"""

import math
from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    """Where a label stands."""

    IDLE = "idle"
    RISING = "rising"  # heard, not yet for the minimum duration
    ACTIVE = "active"
    FALLING = "falling"  # paused, for no longer than the hold


@dataclass(frozen=True, slots=True)
class Limits:
    """When a segment begins and ends, in scores and columns.

    Attributes:
        on, off: a segment begins at a score of `on` or above and lasts while scores are `off` or above.
        minimum: columns from the first to the last, both included, that make a segment.
        hold: columns below `off` that a segment may bridge.
        cool_down: columns after a segment in which no other begins.
    """

    on: float
    off: float
    minimum: int = 1
    hold: int = 0
    cool_down: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.off <= self.on <= 1:
            raise ValueError(f"need 0 <= off <= on <= 1, got off={self.off} on={self.on}")
        if self.minimum < 1 or self.hold < 0 or self.cool_down < 0:
            raise ValueError(
                f"need minimum >= 1, hold >= 0, cool_down >= 0, got {self.minimum}, {self.hold}, {self.cool_down}"
            )

    @classmethod
    def of_seconds(
        cls,
        on: float,
        off: float,
        column_seconds: float,
        *,
        minimum: float = 0.0,
        hold: float = 0.0,
        cool_down: float = 0.0,
    ) -> "Limits":
        """Limits from durations in seconds, to the nearest column."""
        columns = [round(seconds / column_seconds) for seconds in (minimum, hold, cool_down)]
        return cls(on, off, max(1, columns[0]), columns[1], columns[2])


@dataclass(frozen=True, slots=True)
class Segment:
    """Columns `first` to `last`, both included.

    Attributes:
        begins, ends: the same as positions, where column 3 reaches from 3.0 to 4.0: a sound that fills half of its
            first column scores about half as much there, so the scores tell where within a column it began.
        score, peak: mean and maximum of the scores at `off` or above.
    """

    first: int
    last: int
    begins: float
    ends: float
    score: float
    peak: float

    def overlaps(self, first: int, last: int) -> bool:
        """Whether it shares a column with first to last, or touches them."""
        return self.first <= last + 1 and first <= self.last + 1


@dataclass(slots=True)
class Cutter:
    """Takes one score per column, in order, and returns the segments that end.

    State is the phase, the columns of the segment so far, their sum and peak, the scores at its edges, and when the
    last segment ended.
    """

    limits: Limits
    phase: Phase = Phase.IDLE
    first: int = 0
    last: int = 0
    total: float = 0.0
    count: int = 0
    peak: float = 0.0
    blocked_until: int | None = None
    previous: float = 0.0  # score of the column before
    head: tuple[float, float, float] = (0.0, 0.0, 0.0)  # scores before, at and after the first column
    tail: tuple[float, float, float] = (0.0, 0.0, 0.0)  # scores before, at and after the last column
    free_from: float = -math.inf  # where the last segment ended

    @property
    def open(self) -> Segment | None:
        """The segment that is long enough and has not ended."""
        return self._segment() if self.phase in (Phase.ACTIVE, Phase.FALLING) else None

    @property
    def rising(self) -> Segment | None:
        """The segment that is not long enough yet."""
        return self._segment() if self.phase is Phase.RISING else None

    def step(self, column: int, score: float) -> Segment | None:
        """Take the score of the next column; return the segment that it ended, if any."""
        ended = self._advance(column, score)
        self.previous = score
        return ended

    def finish(self) -> Segment | None:
        """End here; return the open segment, if any."""
        segment = self.open
        self.phase = Phase.IDLE
        if segment:
            self.blocked_until = segment.last + self.limits.cool_down
            self.free_from = segment.ends
        return segment

    def _advance(self, column: int, score: float) -> Segment | None:
        if column == self.first + 1:
            self.head = (*self.head[:2], score)
        if column == self.last + 1:
            self.tail = (*self.tail[:2], score)
        match self.phase:
            case Phase.IDLE if score >= self.limits.on and not self._cooling(column):
                self._begin(column, score)
            case Phase.RISING | Phase.ACTIVE | Phase.FALLING if score >= self.limits.off:
                self._extend(column, score)
            case Phase.RISING if column - self.last > self.limits.hold:
                self.phase = Phase.IDLE
            case Phase.ACTIVE if self.limits.hold:
                self.phase = Phase.FALLING
            case Phase.ACTIVE | Phase.FALLING if column - self.last > self.limits.hold:
                return self.finish()
        return None

    def _begin(self, column: int, score: float) -> None:
        self.phase = Phase.RISING
        self.first = column
        self.total, self.count, self.peak = 0.0, 0, 0.0
        self.head = (self.previous, score, 0.0)
        self._extend(column, score)

    def _extend(self, column: int, score: float) -> None:
        self.last = column
        self.tail = (self.previous, score, 0.0)
        self.total += score
        self.count += 1
        self.peak = max(self.peak, score)
        long_enough = column - self.first + 1 >= self.limits.minimum
        self.phase = Phase.ACTIVE if long_enough else Phase.RISING

    def _cooling(self, column: int) -> bool:
        return self.blocked_until is not None and column <= self.blocked_until

    def _segment(self) -> Segment:
        begins = max(self.free_from, self.first + 1 - _filled(*self.head))
        ends = max(begins, self.last + _filled(*reversed(self.tail)))
        return Segment(self.first, self.last, begins, ends, self.total / self.count, self.peak)


def _filled(outside: float, edge: float, inside: float) -> float:
    """How much of an edge column and of its outer neighbour the sound fills, in columns, from 0 to 2."""
    full = max(edge, inside)
    return edge / full + min(1.0, outside / full) if full else 1.0
