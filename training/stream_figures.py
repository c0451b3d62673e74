"""What is measured on annotated recordings, by label and over all of them.

What matters to those who live with a monitor is which sounds are found, how soon they are announced, when they are said
to have begun, and how often there is an alarm for nothing.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from statistics import median

import numpy as np

from ssondo_stream.bundle import Label
from training.estimates import Estimate, Rate
from training.matching import EVENT, Collar, Counts

_NO_EVENTS, _NEVER = Counts(), Rate(0, 0.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A label in one recording, or in several.

    Attributes:
        events: settled events against real sounds, by onset and offset.
        onsets: the same by onset alone.
        found: real sounds that a settled event overlaps.
        false_alarms: settled events that overlap no real sound of their label.
        false_starts: announced, later refuted, and overlapping none either.
        latencies: seconds from a real sound's first sample until it was announced, of those that were.
    """

    events: Counts = _NO_EVENTS
    onsets: Counts = _NO_EVENTS
    found: int = 0
    false_alarms: Rate = _NEVER
    false_starts: Rate = _NEVER
    latencies: tuple[float, ...] = ()

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.events + other.events,
            self.onsets + other.onsets,
            self.found + other.found,
            self.false_alarms + other.false_alarms,
            self.false_starts + other.false_starts,
            self.latencies + other.latencies,
        )

    @property
    def recall(self) -> float:
        """Share of the real sounds that a settled event overlaps."""
        return self.found / self.events.real if self.events.real else math.nan

    @property
    def onset_errors(self) -> tuple[float, ...]:
        """Distances in seconds, of the pairs by onset alone."""
        return tuple(abs(error) for error in self.onsets.errors)


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """A label's figures.

    Attributes:
        rule: the settings that they were measured with.
        outcome: over all recordings.
        negatives: over those in which nothing is annotated.
        scores: of each scenario of the detection score, NaN where the label is never heard.
    """

    rule: Label
    outcome: Outcome
    negatives: Outcome
    scores: Mapping[str, float]

    @property
    def quiet(self) -> Outcome:
        """On negatives, or on everything where there are none: what rates are of."""
        return self.negatives if self.negatives.false_alarms.hours else self.outcome


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """Figures of all labels.

    Attributes:
        labels: of each.
        hours, negative_hours: length of all recordings, and of those in which nothing is annotated.
        event_f1, onset_f1: over all labels' events together, with intervals over recordings.
        scores: of each scenario of the detection score.
        collar: of `event_f1`.
    """

    labels: tuple[LabelFigures, ...]
    hours: float
    negative_hours: float
    event_f1: Estimate
    onset_f1: Estimate
    scores: Mapping[str, float]
    collar: Collar = EVENT

    @property
    def outcome(self) -> Outcome:
        """All labels' events together, in all recordings; its rates are per hour of a single label."""
        return summed(figures.outcome for figures in self.labels)

    @property
    def macro_f1(self) -> float:
        """Mean event F1 of the labels that are heard."""
        heard = [figures.outcome.events.f1 for figures in self.labels if figures.outcome.events.real]
        return float(np.mean(heard)) if heard else math.nan

    @property
    def median_onset_error(self) -> float:
        """Seconds, of the pairs by onset alone."""
        return middle(self.outcome.onset_errors)

    @property
    def median_latency(self) -> float:
        """Seconds from a sound's first sample until it is announced."""
        return middle(self.outcome.latencies)

    @property
    def false_alarms(self) -> Rate:
        """Of any label, in hours of recordings in which nothing is annotated, or of all where there are none such."""
        return self._alarms(lambda outcome: outcome.false_alarms)

    @property
    def false_starts(self) -> Rate:
        """Of any label, in the same hours: announced and then withdrawn."""
        return self._alarms(lambda outcome: outcome.false_starts)

    def _alarms(self, rate: Callable[[Outcome], Rate]) -> Rate:
        return Rate(sum(rate(figures.quiet).count for figures in self.labels), self.negative_hours or self.hours)


def summed(outcomes: Iterable[Outcome]) -> Outcome:
    """Outcomes together."""
    return reduce(add, outcomes, Outcome())


def middle(values: Sequence[float]) -> float:
    """Median; NaN of nothing."""
    return median(values) if values else math.nan
