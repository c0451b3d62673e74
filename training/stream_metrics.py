"""Figures of a student on annotated recordings, from the scores that it gave them as a stream.

The monitor's own decisions are replayed, so that what is measured is what it would publish.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import Label
from training.annotations import merged
from training.announcing import Announcement, announcements, settled_segments
from training.errors import ManifestError
from training.estimates import RESAMPLES, Estimate, Rate, bootstrapped
from training.matching import EVENT, ONSET, Collar, Counts, Spans, match, overlaps
from training.psds import PSDS1, PSDS2, Psds, Roc, Timeline, psds_of, roc
from training.stream_figures import LabelFigures, Outcome, StreamFigures, summed
from training.stream_scores import Recording


@dataclass(frozen=True, slots=True)
class MetricSettings:
    """What is counted how.

    Attributes:
        event, onset: collars of the two kinds of pairs.
        scenarios: of the detection score, by name; none skips it, which takes most of the time.
        bridge_seconds: what is heard of a label twice within this time is one sound.
        early_windows: of the stream, see `StreamSettings`.
        resamples: for intervals.
    """

    event: Collar = EVENT
    onset: Collar = ONSET
    scenarios: tuple[tuple[str, Psds], ...] = (("psds1", PSDS1), ("psds2", PSDS2))
    bridge_seconds: float = 0.0
    early_windows: int = 1
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        if not 0 <= self.bridge_seconds < math.inf or self.early_windows < 1:
            raise ValueError(
                f"need pauses of >= 0 s to bridge and windows >= 1, got {self.bridge_seconds} and {self.early_windows}"
            )


def measure(
    recordings: Sequence[Recording], rules: Sequence[Label], settings: MetricSettings | None = None
) -> StreamFigures:
    """All figures of a student on recordings.

    Args:
        recordings: scored by the student.
        rules: of its labels, in their order.
        settings: what is counted how.

    Raises:
        ManifestError: a label is annotated that the student does not have.
        ValueError: there is nothing to measure, or the scores are of other labels.
    """
    settings = settings or MetricSettings()
    _check(recordings, rules)
    negatives = [recording for recording in recordings if not recording.heard]
    outcomes = [[outcome(recording, i, rule, settings) for recording in recordings] for i, rule in enumerate(rules)]
    timelines = [timeline(recording, rules) for recording in recordings]
    rocs = {name: [roc(timelines, i, way) for i in range(len(rules))] for name, way in settings.scenarios}
    labels = [
        LabelFigures(
            rule,
            summed(outcomes[i]),
            summed(one for one, recording in zip(outcomes[i], recordings, strict=True) if not recording.heard),
            {name: _area(rocs[name][i], way.most) for name, way in settings.scenarios},
        )
        for i, rule in enumerate(rules)
    ]
    return StreamFigures(
        labels=tuple(labels),
        hours=_hours(recordings),
        negative_hours=_hours(negatives),
        event_f1=_f1(outcomes, lambda one: one.events, settings.resamples),
        onset_f1=_f1(outcomes, lambda one: one.onsets, settings.resamples),
        scores={name: psds_of(rocs[name], way) for name, way in settings.scenarios},
        collar=settings.event,
    )


def outcome(recording: Recording, label: int, rule: Label, settings: MetricSettings) -> Outcome:
    """What a label's settings come to in a recording.

    Args:
        recording: with its scores.
        label: its place among the student's labels.
        rule: its settings.
        settings: what is counted how.
    """
    real = merged(recording.heard, rule.name, settings.bridge_seconds)
    told = announcements(recording.scores, label, rule, settings.early_windows)
    refuted = [announcement.span for announcement in told if not announcement.confirmed]
    return replace(
        _settled([announcement.span for announcement in told if announcement.confirmed], real, recording, settings),
        false_starts=Rate(sum(not overlaps(span, real) for span in refuted), recording.scores.seconds / 3600),
        latencies=latencies(told, real),
    )


def settled_outcomes(
    recording: Recording, label: int, rule: Label, confirms: Sequence[float], settings: MetricSettings
) -> list[Outcome]:
    """The same without what concerns announcements, several times as fast, for each of several certainties asked for.

    They stand in for the rule's own.
    """
    scores, real = recording.scores, merged(recording.heard, rule.name, settings.bridge_seconds)
    segments = settled_segments(scores, label, rule)
    certain = [scores.certainty(label, one) if any(confirms) else 0.0 for one in segments]
    spans = [(scores.at(one.begins), scores.at(one.ends)) for one in segments]
    found = [tuple(span for span, of in zip(spans, certain, strict=True) if of >= confirm) for confirm in confirms]
    outcomes = {settled: _settled(settled, real, recording, settings) for settled in set(found)}
    return [outcomes[settled] for settled in found]


def latencies(told: Sequence[Announcement], real: Spans) -> tuple[float, ...]:
    """Seconds from each real sound's onset to the first announcement of it; sounds without one are left out.

    An announcement before the onset was of another sound, even if both ended as one event.
    """
    found = []
    for onset, offset in real:
        when = [a.announced - onset for a in told if a.announced > onset and overlaps((onset, offset), [a.span])]
        found += [min(when)] if when else []
    return tuple(found)


def timeline(recording: Recording, rules: Sequence[Label]) -> Timeline:
    """A recording for the detection score: settled scores, and the annotated sounds."""
    scores = recording.scores
    return Timeline(scores.edges(), scores.means[:, -1], [merged(recording.heard, rule.name) for rule in rules])


def _settled(settled: Spans, real: Spans, recording: Recording, settings: MetricSettings) -> Outcome:
    return Outcome(
        match(settled, real, settings.event),
        match(settled, real, settings.onset),
        sum(overlaps(sound, settled) for sound in real),
        Rate(sum(not overlaps(span, real) for span in settled), recording.scores.seconds / 3600),
    )


def _f1(outcomes: Sequence[Sequence[Outcome]], kind: Callable[[Outcome], Counts], resamples: int) -> Estimate:
    """F1 over all labels together, resampled over recordings."""
    by_recording = [reduce(add, (kind(of[i]) for of in outcomes)) for i in range(len(outcomes[0]))]
    counts = np.array([(c.hits, c.reported + c.real) for c in by_recording], np.int64)

    def f1(rows: NDArray[np.int64]) -> float:
        hits, both = counts[rows].sum(axis=0).tolist()
        return 2 * hits / both if both else math.nan

    return bootstrapped(f1, len(counts), resamples=resamples)


def _check(recordings: Sequence[Recording], rules: Sequence[Label]) -> None:
    if not recordings or not rules:
        raise ValueError(f"need recordings and labels, got {len(recordings)} and {len(rules)}")
    known = {rule.name for rule in rules}
    for recording in recordings:
        if recording.scores.means.shape[2] != len(rules):
            found = recording.scores.means.shape[2]
            raise ValueError(f"{recording.name}: has scores of {found} labels, expected {len(rules)}")
        if strange := sorted({event.label for event in recording.heard} - known):
            raise ManifestError(f"{recording.name}: {strange[0]!r} is annotated, but the student has {sorted(known)}")


def _area(curve: Roc | None, most: float) -> float:
    return curve.area(most) if curve else math.nan


def _hours(recordings: Sequence[Recording]) -> float:
    return sum(recording.scores.seconds for recording in recordings) / 3600
