"""Which events a stream would report and when it would announce them, from the scores of `stream_scores`.

The monitor has the real detector, which training must not import; this replays its decisions over a whole recording,
for one label and any settings.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import Label
from ssondo_stream.cutting import Cutter, Limits, Phase, Segment
from ssondo_stream.verifier import Patience
from training.stream_scores import StreamScores


@dataclass(frozen=True, slots=True)
class Announcement:
    """An event as subscribers see it; times in seconds from the recording's first sample.

    Attributes:
        announced: when it was told that it started.
        onset, offset: as settled, or as last believed if it was refuted.
        confirmed: false where later evidence refuted the start.
    """

    announced: float
    onset: float
    offset: float
    confirmed: bool

    @property
    def span(self) -> tuple[float, float]:
        """Onset and offset."""
        return self.onset, self.offset


def settled_events(scores: StreamScores, label: int, rule: Label) -> list[tuple[float, float]]:
    """The events of a label as they are settled in the end, as (onset, offset) in seconds.

    Args:
        scores: of the recording.
        label: its place among the student's labels.
        rule: its settings.
    """
    segments = settled_segments(scores, label, rule)
    return [(scores.at(s.begins), scores.at(s.ends)) for s in segments if _confirmed(scores, label, rule, s)]


def settled_segments(scores: StreamScores, label: int, rule: Label) -> list[Segment]:
    """What is cut from a label's settled scores, before a verifier is asked."""
    final = scores.final(label)
    if final.max(initial=0) < rule.threshold:
        return []
    cutter = Cutter(_limits(scores, rule))
    found = [cutter.step(column, score) for column, score in enumerate(final.tolist())]
    return [segment for segment in (*found, cutter.finish()) if segment]


def announcements(scores: StreamScores, label: int, rule: Label, early_windows: int = 1) -> list[Announcement]:
    """Every event of a label that is announced, in the order in which they end.

    Args:
        scores: of the recording.
        label: its place among the student's labels.
        rule: its settings.
        early_windows: that must have scored a column before it can announce anything.
    """
    if scores.means[:, :, label].max(initial=0) < rule.threshold:
        return []
    replay = _Replay(scores, label, rule)
    final, taken = scores.final(label), 0
    for hop, (ready, until) in enumerate(zip(scores.ready.tolist(), scores.settled.tolist(), strict=True)):
        replay.settle(taken, final[taken:until], ready)
        taken = until
        replay.look_ahead(taken, scores.early(hop, taken, early_windows, label), ready)
    replay.settle(taken, final[taken:], scores.seconds)
    replay.close()
    return replay.ended


@dataclass(slots=True, eq=False)
class _Start:
    """A start that was announced, and the segment that is now believed to be behind it."""

    announced: float
    segment: Segment


@dataclass(slots=True)
class _Replay:
    """The settled cutter, the starts that wait for their end, and what has ended."""

    scores: StreamScores
    label: int
    rule: Label
    cutter: Cutter = field(init=False)
    patience: Patience = field(default_factory=Patience)
    open: list[_Start] = field(default_factory=list)
    ended: list[Announcement] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cutter = Cutter(_limits(self.scores, self.rule))

    def settle(self, first: int, final: NDArray[np.float32], now: float) -> None:
        """Take columns whose score is final."""
        for column, score in enumerate(final.tolist(), first):
            if (segment := self.cutter.step(column, score)) and self._confirmed(segment):
                self._confirm(segment, now)
            hoped_from = column + 1 if self.cutter.phase is Phase.IDLE else self.cutter.first
            self._end([start for start in self.open if start.segment.last + 1 < hoped_from], confirmed=False)

    def look_ahead(self, first: int, early: NDArray[np.float32], now: float) -> None:
        """Run a copy of the cutter over provisional scores, and announce what is strong enough there."""
        if not len(early):
            return
        ahead, settled = copy(self.cutter), self.cutter.open
        found = [segment for i, score in enumerate(early.tolist(), first) if (segment := ahead.step(i, score))]
        if newest := ahead.open or ahead.rising:
            found.append(newest)
        for segment in found:
            if known := _matching(self.open, segment)[:1]:
                known[0].segment = segment
            elif segment.peak >= self.rule.early or (
                settled and segment.first == settled.first and self.patience.over(segment) and self._confirmed(segment)
            ):
                self.open.append(_Start(now, segment))

    def close(self) -> None:
        """The recording is over."""
        if (segment := self.cutter.finish()) and self._confirmed(segment):
            self._confirm(segment, self.scores.seconds)
        self._end(list(self.open), confirmed=False)

    def _confirmed(self, segment: Segment) -> bool:
        return _confirmed(self.scores, self.label, self.rule, segment)

    def _confirm(self, segment: Segment, now: float) -> None:
        """The starts behind a settled segment end with it: the first is confirmed, others were mistakes."""
        known = _matching(self.open, segment) or [_Start(now, segment)]
        known[0].segment = segment
        self._end(known[:1], confirmed=True)
        self._end(known[1:], confirmed=False)

    def _end(self, starts: Sequence[_Start], *, confirmed: bool) -> None:
        self.open = [start for start in self.open if start not in starts]
        for start in starts:
            onset, offset = self.scores.at(start.segment.begins), self.scores.at(start.segment.ends)
            self.ended.append(Announcement(start.announced, onset, offset, confirmed))


def _matching(starts: Sequence[_Start], segment: Segment) -> list[_Start]:
    return [start for start in starts if start.segment.overlaps(segment.first, segment.last)]


def _confirmed(scores: StreamScores, label: int, rule: Label, segment: Segment) -> bool:
    return not rule.confirm or scores.certainty(label, segment) >= rule.confirm


def _limits(scores: StreamScores, rule: Label) -> Limits:
    durations = {"minimum": rule.min_duration_seconds, "hold": rule.hold_seconds}
    return Limits.of_seconds(rule.threshold, rule.off, scores.column, **durations)
