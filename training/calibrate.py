"""Chooses each label's settings from out-of-fold scores: `python -m training.calibrate FOLD.npz... --out labels.json`.

A label's settings are those with the best event F1, less a cost for each false alarm an hour on negatives. The figures
that it prints are honest: each fold is measured with settings chosen on the other folds.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from ssondo_stream.bundle import Label
from training.data import LABELS
from training.detect import segments
from training.evaluate import SCENE_SECONDS, Counts, Recording, count_events, load_recordings

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
OFF_SHARES = (0.4, 0.6, 0.8)
MINIMUM_SECONDS = (0.0,)
HOLD_SECONDS = (1.0,)
LONG_MINIMUM_SECONDS = (1.0, 1.5, 2.0, 3.0)
LONG_HOLD_SECONDS = (1.0, 2.0)
SHORT = frozenset({"Dog bark", "Rooster", "Crying baby", "Sneezing"})
COSTS = (0.05, 0.1, 0.2, 0.5, 1.0)
EARLY_FALSE_PER_HOUR = 3.0  # over all labels; a start may be withdrawn
HIGHEST_EARLY = 0.95
NOTHING = Counts(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Tally:
    """What settings come to on a fold: counts on soundscapes, false alarms on so many hours of negatives."""

    counts: Counts
    false: int
    hours: float

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.counts + other.counts, self.false + other.false, self.hours + other.hours)

    @property
    def per_hour(self) -> float:
        """False alarms an hour."""
        return self.false / self.hours

    def worth(self, cost: float) -> float:
        """Event F1, less the cost of each false alarm an hour."""
        return self.counts.f1 - cost * self.per_hour


Tallies = list[list[Tally]]
"""Of one fold, by label and candidate."""


def candidates(name: str) -> list[Label]:
    """The settings that are tried for a label, the strictest last."""
    minimums, holds = (MINIMUM_SECONDS, HOLD_SECONDS) if name in SHORT else (LONG_MINIMUM_SECONDS, LONG_HOLD_SECONDS)
    return [
        Label(name, threshold, round(share * threshold, 3), 1.0, minimum, hold)
        for threshold, share, minimum, hold in product(THRESHOLDS, OFF_SHARES, minimums, holds)
    ]


def tally(recordings: Sequence[Recording]) -> Tallies:
    """Try every candidate of every label on a fold."""
    scenes, negatives = of_kind(recordings, "soundscape"), of_kind(recordings, "negative")
    return [
        [
            Tally(count_events(scenes, label, rule), count_events(negatives, label, rule).false, hours(negatives))
            for rule in candidates(name)
        ]
        for label, name in enumerate(LABELS)
    ]


def choose(folds: Sequence[Tallies], cost: float) -> list[int]:
    """For each label, the candidate that is worth most on these folds together."""
    chosen = []
    for label in range(len(LABELS)):
        worth = [sum(tallies[1:], tallies[0]).worth(cost) for tallies in zip(*(f[label] for f in folds), strict=True)]
        chosen.append(max(range(len(worth)), key=lambda i: (worth[i], i)))
    return chosen


def early_threshold(recordings: Sequence[Recording], label: int, rule: Label) -> float:
    """The lowest early threshold that announces only so much on negatives."""
    negatives = of_kind(recordings, "negative")
    allowed = int(EARLY_FALSE_PER_HOUR / len(LABELS) * hours(negatives))
    peaks = sorted((peak for recording in negatives for peak in _early_peaks(recording, label, rule)), reverse=True)
    needed = peaks[allowed] + 0.02 if len(peaks) > allowed else rule.threshold
    wanted = min(max(needed, rule.threshold + 0.05), HIGHEST_EARLY)
    return round(max(wanted, rule.threshold), 2)


def of_kind(recordings: Sequence[Recording], kind: str) -> list[Recording]:
    """The recordings of one kind."""
    return [recording for recording in recordings if recording.kind == kind]


def hours(recordings: Sequence[Recording]) -> float:
    """Length of recordings."""
    return len(recordings) * SCENE_SECONDS / 3600


def left_out(folds: Sequence[Tallies], cost: float) -> list[list[Tally]]:
    """Each fold's tally of every label, under the settings chosen on the other folds."""
    result = []
    for i, fold in enumerate(folds):
        chosen = choose([other for j, other in enumerate(folds) if j != i], cost)
        result.append([fold[label][candidate] for label, candidate in enumerate(chosen)])
    return result


def report(folds: Sequence[Tallies], accuracies: Sequence[float], cost: float) -> None:
    """Print figures by fold and by label at a cost, and what other costs would give."""
    measured = left_out(folds, cost)
    rows = [(accuracy, *_row(tallies)) for accuracy, tallies in zip(accuracies, measured, strict=True)]
    for fold, row in enumerate(rows, 1):
        print(f"fold {fold}: " + _describe(row))
    print("mean:   " + _describe(np.mean(rows, axis=0).tolist()))
    print("spread: " + _describe(np.std(rows, axis=0, ddof=1).tolist()))
    for name, tallies in zip(LABELS, zip(*measured, strict=True), strict=True):
        total = sum(tallies[1:], tallies[0])
        print(
            f"  {name:15} F1 {total.counts.f1:.2f}, recall {total.counts.recall:.2f} of "
            f"{total.counts.hits + total.counts.missed}, false alarms {total.false} in {total.hours:.0f} h"
        )
    for other in COSTS:
        mean = np.mean([_row(tallies) for tallies in left_out(folds, other)], axis=0).tolist()
        print(f"cost {other:.2f}: F1 {mean[0]:.3f}, recall {mean[1]:.3f}, false alarms {mean[3]:.2f}/h")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path, nargs="+", help="files of training.evaluate, one per fold")
    parser.add_argument("--out", type=Path, required=True, help="where the settings go, .json")
    parser.add_argument("--cost", type=float, default=0.5, help="F1 that a false alarm an hour outweighs")
    arguments = parser.parse_args()
    loaded = [load_recordings(path) for path in arguments.scores]
    folds = [tally(recordings) for recordings, _ in loaded]
    if len(folds) > 1:
        report(folds, [accuracy for _, accuracy in loaded], arguments.cost)
    everything = [recording for recordings, _ in loaded for recording in recordings]
    rules = [candidates(LABELS[i])[candidate] for i, candidate in enumerate(choose(folds, arguments.cost))]
    rules = [replace(rule, early=early_threshold(everything, i, rule)) for i, rule in enumerate(rules)]
    for rule in rules:
        print(rule)
    arguments.out.write_text(json.dumps([asdict(rule) for rule in rules], indent=2) + "\n", encoding="utf-8")


def _early_peaks(recording: Recording, label: int, rule: Label) -> list[float]:
    """Highest early score of each stretch that could be announced, which need not wait for the minimum duration."""
    early = recording.scores.early[:, label]
    return [found.peak for found in segments(early, replace(rule, min_duration_seconds=0.0))]


def _row(tallies: Sequence[Tally]) -> tuple[float, float, float, float]:
    """Event F1, recall, median onset error and false alarms an hour over all labels of a fold."""
    counts = sum((tally.counts for tally in tallies), NOTHING)
    error = float(np.median(counts.errors)) if counts.errors else float("nan")
    return counts.f1, counts.recall, error, sum(tally.per_hour for tally in tallies)


def _describe(row: Sequence[float]) -> str:
    accuracy, f1, recall, error, false = row
    return (
        f"clip accuracy {accuracy:.3f}, event F1 {f1:.3f}, recall {recall:.3f}, "
        f"median onset error {error:.3f} s, false alarms {false:.2f}/h"
    )


if __name__ == "__main__":
    main()
