"""From column scores to events: one sound is one event, announced early and settled late.

A column is scored again by every window that contains it, and the mean of those scores grows more reliable. The
detector cuts segments from the columns that no later window will contain (*settled*), and runs the same cutter ahead
over the provisional means of the others, so that `started` need not wait for a window's length. A verifier, where the
student has one, hears a settled segment again as a whole before it counts.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.columns import ColumnMeans
from ssondo_stream.cutting import Cutter, Limits, Phase, Segment
from ssondo_stream.types import Prediction
from ssondo_stream.verifier import Patience, Verify, certainty


@dataclass(frozen=True, slots=True)
class Rule:
    """How one label is detected.

    Attributes:
        label, slug: its name for people and for topics.
        threshold, off: hysteresis on the settled means.
        early: provisional mean that announces a start; stricter than `threshold`.
        min_duration_seconds, hold_seconds, cool_down_seconds: shorter sounds are dropped (and refuted, if they were so
            strong that they were announced), shorter pauses bridged, and sounds that follow sooner ignored.
        smooth_columns: columns in the centred moving mean that scores pass before anything else.
        gate_dbfs: columns quieter than this count as silent.
        confirm: certainty that an event needs, of its mean score and a verifier's evidence together; 0 asks for none.
    """

    label: str
    slug: str
    threshold: float = 0.5
    off: float = 0.3
    early: float = 0.7
    min_duration_seconds: float = 0.0
    hold_seconds: float = 1.0
    cool_down_seconds: float = 0.0
    smooth_columns: int = 1
    gate_dbfs: float | None = None
    enabled: bool = True
    confirm: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.off <= self.threshold <= self.early <= 1:
            raise ValueError(
                f"{self.slug}: need 0 <= off <= threshold <= early <= 1, "
                f"got off={self.off} threshold={self.threshold} early={self.early}"
            )
        if not 0 <= self.confirm <= 1:
            raise ValueError(f"{self.slug}: need confirm from 0 to 1, got {self.confirm}")

    def limits(self, column_seconds: float) -> Limits:
        """The same in columns."""
        return Limits.of_seconds(
            self.threshold,
            self.off,
            column_seconds,
            minimum=self.min_duration_seconds,
            hold=self.hold_seconds,
            cool_down=self.cool_down_seconds,
        )


@dataclass(frozen=True, slots=True)
class Detection:
    """An event's start or end, in sample indices at the student's rate.

    Attributes:
        kind: `started` is early evidence, `ended` the authoritative account.
        key: the same for both, unique within a detector.
        onset, offset: sample indices; a start has no offset.
        score, score_peak: mean and peak of the columns heard so far; certainty, where a verifier was asked.
        threshold: that they had to reach.
        uncertainty: samples by which the onset may be off, either way.
        confirmed: of an end, false where later evidence refuted the start.
        level_dbfs: of the loudest column.
    """

    kind: Literal["started", "ended"]
    key: int
    label: str
    slug: str
    onset: int
    offset: int | None
    score: float
    score_peak: float
    threshold: float
    uncertainty: int
    confirmed: bool | None = None
    level_dbfs: float | None = None


def cut_off(start: Detection, at: int) -> Detection:
    """The end of an event of which no more will be known, at a sample index."""
    return replace(start, kind="ended", offset=max(start.onset, at))


@dataclass(slots=True)
class _Announced:
    """A start that was published, the segment that is now believed to be behind it, and how certain it is."""

    key: int
    segment: Segment
    certainty: float | None = None


class _Track:
    """One label: the cutter over settled columns, and the starts that wait for their end."""

    def __init__(
        self, rule: Rule, column_seconds: float, keys: "count[int]", certainty: Callable[[Segment], float | None]
    ) -> None:
        self.rule = rule
        self.cutter = Cutter(rule.limits(column_seconds))
        self.announced: list[_Announced] = []
        self._keys = keys
        self._certainty = certainty
        self._patience = Patience()

    @property
    def idle(self) -> bool:
        return self.cutter.phase is Phase.IDLE and not self.announced

    def settle(self, column: int, score: float) -> list[tuple[_Announced, bool | None]]:
        """Take a settled column; return what it starts (None), confirms (True) and refutes (False)."""
        segment = self.cutter.step(column, score)
        return (self.end(segment) if segment else []) + self._refuted(column)

    def end(self, segment: Segment) -> list[tuple[_Announced, bool | None]]:
        """Match a settled segment with its announcement; it is announced now if it never was, unless it is doubtful."""
        if not self._enough(certainty := self._certainty(segment)):
            self.cutter.blocked_until = None  # what is no event is no reason to cool down
            return []
        matching = [known for known in self.announced if known.segment.overlaps(segment.first, segment.last)]
        result: list[tuple[_Announced, bool | None]] = []
        if not matching:
            matching = [self._announce(segment)]
            result.append((matching[0], None))
        matching[0].segment, matching[0].certainty = segment, certainty
        self.announced = [known for known in self.announced if known not in matching]
        return result + [(known, position == 0) for position, known in enumerate(matching)]

    def look_ahead(self, first: int, scores: NDArray[np.float32]) -> list[_Announced]:
        """Run ahead over provisional scores from column `first` on; return the starts that they justify."""
        ahead = copy(self.cutter)
        settled = ahead.open
        found = [segment for i, score in enumerate(scores) if (segment := ahead.step(first + i, float(score)))]
        newest = ahead.open or ahead.rising  # strong evidence need not wait for the minimum duration
        if newest:
            found.append(newest)
        news = []
        for segment in found:
            known = next((k for k in self.announced if k.segment.overlaps(segment.first, segment.last)), None)
            if known:
                known.segment = segment
            elif segment.peak >= self.rule.early:
                news.append(self._announce(segment))
            elif (
                settled
                and segment.first == settled.first
                and self._patience.over(segment)
                and self._enough(certainty := self._certainty(segment))
            ):
                news.append(self._announce(segment, certainty))
        return news

    def refute_all(self) -> list[tuple[_Announced, bool | None]]:
        gone, self.announced = self.announced, []
        return [(known, False) for known in gone]

    def _enough(self, certainty: float | None) -> bool:
        return certainty is None or certainty >= self.rule.confirm

    def _announce(self, segment: Segment, certainty: float | None = None) -> _Announced:
        known = _Announced(next(self._keys), segment, certainty)
        self.announced.append(known)
        return known

    def _refuted(self, column: int) -> list[tuple[_Announced, bool | None]]:
        """Starts whose columns are all settled and in no segment that may still come."""
        hoped_from = column + 1 if self.cutter.phase is Phase.IDLE else self.cutter.first
        gone = [known for known in self.announced if known.segment.last + 1 < hoped_from]
        self.announced = [known for known in self.announced if known not in gone]
        return [(known, False) for known in gone]


class EventDetector:
    """Turns the predictions of one source into the starts and ends of events.

    State is the column means of the current window and a track per label. A prediction that does not follow on the
    last one is a gap: it ends what is open where the audio stopped. `verify` gives the evidence that `Rule.confirm`
    asks for; where there is none, scores decide alone.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        column_seconds: float,
        *,
        early_windows: int = 1,
        settle_seconds: float = 10.0,
        verify: Verify | None = None,
    ) -> None:
        keys = count(1)
        self._verify = verify
        self._tracks = [
            _Track(rule, column_seconds, keys, partial(self._certainty, rule.confirm, index))
            for index, rule in enumerate(rules)
        ]
        self._columns = ColumnMeans(
            smooth=[rule.smooth_columns for rule in rules],
            gates=[-np.inf if rule.gate_dbfs is None else rule.gate_dbfs for rule in rules],
            settle=max(1, round(settle_seconds / column_seconds)),
        )
        self._early_windows = early_windows
        self._watched = np.array([rule.enabled for rule in rules])
        self._floor = np.array([rule.threshold for rule in rules], np.float32)

    def update(self, prediction: Prediction) -> list[Detection]:
        """Take the next prediction; return the events that start and end with it, in order."""
        ended = [] if self._columns.follows(prediction) else self.close()
        self._columns.add(prediction)
        return ended + self._settle(self._columns.take_settled()) + self._announce()

    def close(self) -> list[Detection]:
        """Settle everything on what was heard so far and end what is open; ready for a new beginning."""
        detections = self._settle(self._columns.take_all())
        for track in self._tracks:
            segment = track.cutter.finish()
            outcome = (track.end(segment) if segment else []) + track.refute_all()
            detections += [self._describe(track, known, confirmed) for known, confirmed in outcome]
            track.cutter = Cutter(track.cutter.limits)
        self._columns.clear()
        return detections

    def _settle(self, settled: tuple[int, NDArray[np.float32]]) -> list[Detection]:
        first, scores = settled
        detections = []
        busy = self._busy(scores)
        for index, track in enumerate(self._tracks):
            if len(scores) and index not in busy:
                track.cutter.previous = float(scores[-1, index])
                continue
            for column, score in enumerate(scores[:, index], first):
                outcome = track.settle(column, float(score))
                detections += [self._describe(track, known, confirmed) for known, confirmed in outcome]
        return detections

    def _announce(self) -> list[Detection]:
        first, scores = self._columns.provisional(self._early_windows)
        return [
            self._describe(self._tracks[index], known, None)
            for index in self._busy(scores)
            for known in self._tracks[index].look_ahead(first, scores[:, index])
        ]

    def _busy(self, scores: NDArray[np.float32]) -> list[int]:
        """Labels for which these columns can change anything."""
        if not len(scores):
            return []
        loud = scores.max(axis=0) >= self._floor
        return [i for i, track in enumerate(self._tracks) if self._watched[i] and (loud[i] or not track.idle)]

    def _certainty(self, confirm: float, index: int, segment: Segment) -> float | None:
        """Of a label in a segment, by its score and its evidence; None where none is asked for, or to be had."""
        evidence = self._verify(*self._extent(segment)) if confirm and self._verify else None
        return None if evidence is None else certainty(segment.score, float(evidence[index]))

    def _extent(self, segment: Segment) -> tuple[int, int]:
        """Sample indices of onset and offset."""
        return max(0, self._columns.sample(segment.begins)), self._columns.sample(segment.ends)

    def _describe(self, track: _Track, known: _Announced, confirmed: bool | None) -> Detection:
        segment, column = known.segment, self._columns.column
        (onset, offset), ended, sure = self._extent(segment), confirmed is not None, known.certainty
        return Detection(
            kind="ended" if ended else "started",
            key=known.key,
            label=track.rule.label,
            slug=track.rule.slug,
            onset=onset,
            offset=offset if ended else None,
            score=segment.score if sure is None else sure,
            score_peak=max(segment.peak, sure or 0.0),
            threshold=track.rule.threshold if sure is None else track.rule.confirm,
            uncertainty=column // 2 if ended else column,
            confirmed=confirmed,
            level_dbfs=self._columns.level(segment.first, segment.last),
        )
