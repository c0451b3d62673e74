"""Chooses thresholds for a budget of false alarms: the most that can be found at so many alarms for nothing an hour.

What is chosen fits the recordings that it is chosen on; measure it on others.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import Label
from training.announcing import announcements
from training.errors import TrainingError
from training.estimates import Rate
from training.stream_figures import Outcome, summed
from training.stream_metrics import MetricSettings, outcome, settled_outcomes
from training.stream_scores import Recording

Preference = Literal["f1", "f1+recall"]
THRESHOLDS = (*(round(0.02 * i, 2) for i in range(5, 50)), 0.99, 0.995, 1.0)
CONFIRMS = (0.0, 0.02, 0.05, *(round(0.1 * i, 1) for i in range(1, 10)), 0.95, 0.98)
EARLY_SHARES = (0.125, 0.25, 0.5, 0.75, 0.9, 1.0)  # of the way from the settled threshold to 1: early ones are stricter
_LITTLE = 1e-3  # seconds of delay that a threshold of 1 weighs
_LEAST = 1e-9  # worth of a false alarm less, where nothing else tells two settings apart


class BudgetError(TrainingError):
    """No settings keep within a budget of false alarms."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a label's threshold comes to.

    Attributes:
        rule: the label with that threshold.
        outcome: over all recordings.
        negatives: over those in which nothing is annotated.
    """

    rule: Label
    outcome: Outcome
    negatives: Outcome

    @property
    def alarms(self) -> Rate:
        """False alarms on negatives, or on everything where there are none."""
        return self.negatives.false_alarms if self.negatives.false_alarms.hours else self.outcome.false_alarms


def at_threshold(rule: Label, threshold: float) -> Label:
    """The rule with another threshold; `off` moves in proportion, and `early` stays above it."""
    share = rule.off / rule.threshold if rule.threshold else 1.0
    return replace(rule, threshold=threshold, off=round(share * threshold, 4), early=max(rule.early, threshold))


def operating_points(
    recordings: Sequence[Recording],
    label: int,
    rule: Label,
    thresholds: Sequence[float] = THRESHOLDS,
    settings: MetricSettings | None = None,
    *,
    confirms: Sequence[float] | None = None,
) -> list[OperatingPoint]:
    """A label at several thresholds; its other settings stay, `off` in proportion.

    Args:
        recordings: scored by the student.
        label: its place among the student's labels.
        rule: its settings.
        thresholds: to try.
        settings: what is counted how.
        confirms: certainties to try with each; only the rule's if not given.
    """
    settings, confirms, points = settings or MetricSettings(), confirms or (rule.confirm,), []
    for threshold in thresholds:
        tried = at_threshold(rule, threshold)
        of = [settled_outcomes(recording, label, tried, confirms, settings) for recording in recordings]
        for confirm, outcomes in zip(confirms, zip(*of, strict=True), strict=True):
            quiet = summed(one for one, of_it in zip(outcomes, recordings, strict=True) if not of_it.heard)
            points.append(OperatingPoint(replace(tried, confirm=confirm), summed(outcomes), quiet))
    return points


def event_f1(outcome: Outcome) -> float:
    """What is chosen for unless told otherwise; 0 for a label that is never heard."""
    return outcome.events.f1 if outcome.events.real else 0.0


def event_f1_and_recall(outcome: Outcome) -> float:
    """Their mean: F1 alone would rather miss a sound than take it for its like, and tells users of neither."""
    return (event_f1(outcome) + outcome.recall) / 2 if outcome.events.real else 0.0


WORTHS: dict[Preference, Callable[[Outcome], float]] = {"f1": event_f1, "f1+recall": event_f1_and_recall}
"""What thresholds can be chosen for."""


def choose_thresholds(
    curves: Sequence[Sequence[OperatingPoint]],
    per_hour: float,
    worth: Callable[[Outcome], float] = event_f1,
) -> list[Label]:
    """For each label a threshold, so that together they are worth most within the budget.

    False alarms are those on recordings in which nothing is annotated, or on all if there are none such. Of thresholds
    that are worth the same, the middle one is taken, for it has most to spare on either side.

    Args:
        curves: each label's operating points, on the same recordings.
        per_hour: false alarms of all labels together.
        worth: of a label's outcome; the sum over labels is what counts.

    Raises:
        BudgetError: even the strictest thresholds give more false alarms.
    """
    rates = [[point.alarms for point in points] for points in curves]
    hours = max((rate.hours for of_label in rates for rate in of_label), default=0.0)
    counts = [[rate.count for rate in of_label] for of_label in rates]
    worths = [[worth(point.outcome) for point in points] for points in curves]
    chosen = allocate(counts, worths, _allowed(per_hour, hours))
    return [points[i].rule for points, i in zip(curves, chosen, strict=True)]


def choose_early(
    recordings: Sequence[Recording],
    rules: Sequence[Label],
    per_hour: float,
    settings: MetricSettings | None = None,
) -> list[Label]:
    """The same rules, with thresholds for early starts that tell of sounds soonest and withdraw only so many.

    What counts is the mean delay of a label's sounds, summed over labels; where it is the same, the lower threshold.

    Args:
        recordings: scored by the student; delays come from those in which something is annotated, withdrawn starts
            from the others.
        rules: of all labels, their other settings chosen already.
        per_hour: starts that are withdrawn, of all labels together.
        settings: what is counted how.

    Raises:
        BudgetError: even the strictest thresholds give more.
    """
    negatives = [recording for recording in recordings if not recording.heard]
    settings = settings or MetricSettings()
    candidates = [_early(rule) for rule in rules]
    counts = [
        [sum(_withdrawn(recording, label, rule, settings.early_windows) for recording in negatives) for rule in tried]
        for label, tried in enumerate(candidates)
    ]
    hours = sum(recording.scores.seconds for recording in negatives) / 3600
    sounds = [recording for recording in recordings if recording.heard]
    soonest = [
        [-_delay(sounds, label, rule, settings) - _LITTLE * rule.early for rule in tried]
        for label, tried in enumerate(candidates)
    ]
    chosen = allocate(counts, soonest, _allowed(per_hour, hours))
    return [tried[i] for tried, i in zip(candidates, chosen, strict=True)]


def allocate(counts: Sequence[Sequence[int]], worths: Sequence[Sequence[float]], most: int) -> list[int]:
    """One candidate of each label, so that their counts sum to `most` or less and their worths to as much as can be.

    This is the multiple-choice knapsack problem, solved exactly by going through labels and budgets. Of candidates
    that are worth the same, those with the lowest count are taken, and of these the middle one.

    Raises:
        BudgetError: no candidates have so small a sum.
    """
    most = min(most, sum(max(count) for count in counts))  # more could not be spent
    best, taken = np.zeros(most + 1), []
    for count, worth in zip(counts, worths, strict=True):
        totals = np.stack([_shifted(best, n) + value - _LEAST * n for n, value in zip(count, worth, strict=True)])
        best = totals.max(axis=0)
        taken.append([_middle(column) for column in totals.T])
    if not np.isfinite(best[-1]):
        least = sum(min(count) for count in counts)
        raise BudgetError(
            f"at most {most} false alarms are allowed in these recordings, the strictest give {least}: "
            "allow more an hour, or choose on more recordings"
        )
    chosen, left = [], most
    for count, pick in zip(reversed(counts), reversed(taken), strict=True):
        chosen.append(pick[left])
        left -= count[chosen[-1]]
    return chosen[::-1]


def check_budget(per_hour: float) -> None:
    """Refuse what is no budget of false alarms an hour.

    Raises:
        ValueError: it is negative, infinite, or no number.
    """
    if not 0 <= per_hour < math.inf:
        raise ValueError(f"need a budget of false alarms an hour >= 0, got {per_hour}")


def _allowed(per_hour: float, hours: float) -> int:
    check_budget(per_hour)
    return int(per_hour * hours + 1e-9)


def _shifted(best: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """What is left of each budget after `by`; minus infinity where that is too much."""
    out = np.full(len(best), -np.inf)
    if by < len(best):
        out[by:] = best[: len(best) - by]
    return out


def _middle(totals: NDArray[np.float64]) -> int:
    """Which of the largest."""
    largest = np.flatnonzero(totals >= totals.max() - _LEAST / 2)
    return int(largest[len(largest) // 2])


def _early(rule: Label) -> list[Label]:
    """The rule with rising thresholds for early starts."""
    return [replace(rule, early=round(rule.threshold + share * (1 - rule.threshold), 4)) for share in EARLY_SHARES]


def _delay(recordings: Sequence[Recording], label: int, rule: Label, settings: MetricSettings) -> float:
    """Mean seconds from a sound's onset to its announcement; 0 if none is announced."""
    heard = [one for one in recordings if any(sound.label == rule.name for sound in one.heard)]
    found = [delay for one in heard for delay in outcome(one, label, rule, settings).latencies]
    return fmean(found) if found else 0.0


def _withdrawn(recording: Recording, label: int, rule: Label, windows: int) -> int:
    return sum(not told.confirmed for told in announcements(recording.scores, label, rule, windows))
