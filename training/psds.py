"""Polyphonic sound detection score: how well sounds are found over all thresholds, at a bounded rate of false alarms.

A single threshold says as much about its choice as about the student. The definition is that of Bilen et al. 2020,
"A framework for the robust evaluation of sound event detection"; as in Ebbers et al. 2022, "Threshold independent
evaluation of sound event detection scores", every label has its own thresholds and none is left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_THRESHOLDS = 2000  # of a recording; one of many hours is counted at so many of its scores
_ROUNDING = 1e-9

Array = NDArray[np.float64]
Spans = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Psds:
    """What counts as found, and what false alarms cost.

    Attributes:
        detection: share of a detection that must lie within sounds of its label, else it is a false alarm.
        truth: share of a sound that must be covered by detections that are none.
        cross: share of a false alarm that lies within sounds of another label, for which it was then mistaken.
        cross_cost: of such mistakes, beside that of the false alarm.
        spread_cost: of labels that are found less often than others, per standard deviation.
        most: false alarms per hour up to which the curve counts.
    """

    detection: float
    truth: float
    cross: float = 0.3
    cross_cost: float = 0.0
    spread_cost: float = 1.0
    most: float = 100.0

    def __post_init__(self) -> None:
        if not all(0 < share <= 1 for share in (self.detection, self.truth, self.cross)):
            raise ValueError(f"need shares in (0, 1], got {self}")
        if min(self.cross_cost, self.spread_cost) < 0 or self.most <= 0:
            raise ValueError(f"need costs >= 0 and most > 0, got {self}")


PSDS1 = Psds(0.7, 0.7)
"""Exact in time: scenario 1 of DCASE task 4."""
PSDS2 = Psds(0.1, 0.1, cross_cost=0.5)
"""Right in kind: scenario 2 of DCASE task 4."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Scores of a recording as steps over time, and what is really heard.

    Attributes:
        edges: [columns + 1] seconds.
        scores: [columns, labels].
        heard: of each label, its sounds as (onset, offset) in seconds.
    """

    edges: Array
    scores: NDArray[np.float32]
    heard: Sequence[Spans]

    def __post_init__(self) -> None:
        columns, labels = self.scores.shape
        if self.edges.shape != (columns + 1,) or (np.diff(self.edges) < 0).any() or len(self.heard) != labels:
            raise ValueError(
                f"need rising edges [columns + 1] and sounds of each label, got {self.edges.shape} edges, "
                f"{self.scores.shape} scores and {len(self.heard)} labels"
            )

    @property
    def seconds(self) -> float:
        """Length."""
        return float(self.edges[-1] - self.edges[0])


@dataclass(frozen=True, slots=True)
class Roc:
    """A label's curve as steps: at false alarm rates from `rate[i]` on, `found[i]` of its sounds are found.

    Attributes:
        rate: rising, per hour, cross-triggers included at their cost.
        found: rising, 0 to 1.
    """

    rate: Array
    found: Array

    def at(self, rates: Array) -> Array:
        """Share found at these rates."""
        place = np.searchsorted(self.rate, rates, side="right") - 1
        return np.asarray(np.where(place >= 0, self.found[np.maximum(place, 0)], 0.0))

    def area(self, most: float) -> float:
        """Mean share found at rates from 0 to `most`."""
        return _area(np.unique(np.clip(self.rate, 0, most)), self.at, most)


def psds(timelines: Sequence[Timeline], settings: Psds) -> float:
    """The score, 0 to 1; NaN without a label that is heard."""
    return psds_of([roc(timelines, label, settings) for label in range(len(timelines[0].heard))], settings)


def psds_of(rocs: Sequence[Roc | None], settings: Psds) -> float:
    """The score of all labels' curves; a label that is never heard has none and is left out."""
    known = [curve for curve in rocs if curve]
    if not known:
        return float("nan")

    def effective(rates: Array) -> Array:
        found = np.stack([curve.at(rates) for curve in known])
        return np.asarray(np.maximum(found.mean(0) - settings.spread_cost * found.std(0), 0))

    rates = np.unique(np.clip(np.concatenate([curve.rate for curve in known]), 0, settings.most))
    return _area(rates, effective, settings.most)


def roc(timelines: Sequence[Timeline], label: int, settings: Psds) -> Roc | None:
    """A label's curve over all thresholds, or None if the label is never heard.

    Within a recording only its own scores are thresholds at which anything changes, so each is counted by itself and
    the changes are summed from the strictest threshold on.
    """
    sounds = sum(len(timeline.heard[label]) for timeline in timelines)
    if not sounds:
        return None
    parts = [_changes(timeline, label, settings) for timeline in timelines]
    thresholds, changes = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    order = np.argsort(-thresholds, kind="stable")
    totals = np.cumsum(changes[order], axis=0)
    last = np.append(np.flatnonzero(np.diff(thresholds[order])), len(order) - 1)  # ties change together
    totals = np.concatenate((np.zeros((1, totals.shape[1])), totals[last])) if len(order) else totals
    return _curve(totals[:, 0] / sounds, _rates(timelines, label, totals[:, 1:], settings))


def _rates(timelines: Sequence[Timeline], label: int, totals: Array, settings: Psds) -> Array:
    """False alarms an hour, and the mean rate of mistakes for each other label at its cost.

    Args:
        timelines: all.
        label: whose detections they are.
        totals: [points, 1 + labels], false alarms and how many of them lie in each label's sounds.
        settings: costs.
    """
    hours = sum(timeline.seconds for timeline in timelines) / 3600
    rates = totals[:, 0] / hours
    heard = [sum(off - on for t in timelines for on, off in t.heard[i]) / 3600 for i in range(totals.shape[1] - 1)]
    others = [i for i, length in enumerate(heard) if i != label and length > 0]
    if settings.cross_cost and others:
        rates += settings.cross_cost * np.mean([totals[:, 1 + i] / heard[i] for i in others], axis=0)
    return np.asarray(rates)


def _curve(found: Array, rate: Array) -> Roc:
    """The best that is found at each rate: points that others beat are dropped."""
    order = np.lexsort((-found, rate))
    best = np.maximum.accumulate(found[order])
    rises = np.diff(best, prepend=-1.0) > 0
    return Roc(rate[order][rises], best[rises])


def _changes(timeline: Timeline, label: int, settings: Psds) -> tuple[Array, Array]:
    """A recording's thresholds, strictest first, and what each adds: [thresholds, 2 + labels].

    Columns are sounds found, false alarms, and false alarms within the sounds of each label.
    """
    scores = timeline.scores[:, label]
    thresholds = np.unique(scores)[::-1].astype(np.float64)
    if len(thresholds) > _MOST_THRESHOLDS:
        thresholds = thresholds[np.linspace(0, len(thresholds) - 1, _MOST_THRESHOLDS).astype(np.int64)]
    covered = [_covered(timeline.edges, spans) for spans in timeline.heard]
    counts = np.array([_count(timeline, covered, scores >= t, label, settings) for t in thresholds])
    return thresholds, np.diff(counts.reshape(-1, 2 + len(covered)), axis=0, prepend=0)


def _count(
    timeline: Timeline, covered: Sequence[Array], active: NDArray[np.bool_], label: int, settings: Psds
) -> list[int]:
    """What one set of detections, the runs of active columns, comes to."""
    first, last = np.flatnonzero(np.diff(active, prepend=False, append=False)).reshape(-1, 2).T
    begin, end = timeline.edges[first], timeline.edges[last]
    length = np.maximum(end - begin, 1e-9)
    within = [(seconds[last] - seconds[first]) / length for seconds in covered]
    relevant = within[label] >= settings.detection - _ROUNDING
    hits = [
        np.maximum(np.minimum(end[relevant], off) - np.maximum(begin[relevant], on), 0).sum()
        >= (settings.truth - _ROUNDING) * (off - on)
        for on, off in timeline.heard[label]
    ]
    mistaken = [int((~relevant & (share >= settings.cross - _ROUNDING)).sum()) for share in within]
    return [int(sum(hits)), int((~relevant).sum()), *mistaken]


def _covered(edges: Array, spans: Spans) -> Array:
    """Seconds of these sounds before each edge."""
    return sum((np.clip(edges, on, off) - on for on, off in spans), np.zeros_like(edges))


def _area(rates: Array, found: Callable[[Array], Array], most: float) -> float:
    """Mean of a curve of steps at these rates, from 0 to `most`."""
    steps = np.concatenate(([0.0], rates[(rates > 0) & (rates < most)], [most]))
    return float(np.sum(found(steps[:-1]) * np.diff(steps)) / most)
