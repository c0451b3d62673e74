"""Chooses each label's settings from out-of-fold scores: `python -m training.calibrate FOLD.npz... --out labels.json`.

The figures that it prints are honest: each fold is measured with settings chosen on the other folds.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
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
LONG_MINIMUM_SECONDS = (1.0, 1.5, 2.0, 3.0)
HOLD_SECONDS = (1.0,)
LONG_HOLD_SECONDS = (1.0, 2.0)
SHORT = frozenset({"Dog bark", "Rooster", "Crying baby", "Sneezing"})
FALSE_PER_HOUR = 1.0  # over all labels
EARLY_FALSE_PER_HOUR = 3.0  # a start may be withdrawn
HIGHEST_EARLY = 0.95


def candidates(name: str) -> list[Label]:
    """The settings that are tried for a label."""
    minimums, holds = (MINIMUM_SECONDS, HOLD_SECONDS) if name in SHORT else (LONG_MINIMUM_SECONDS, LONG_HOLD_SECONDS)
    return [
        Label(name, threshold, round(share * threshold, 3), 1.0, minimum, hold)
        for threshold, share, minimum, hold in product(THRESHOLDS, OFF_SHARES, minimums, holds)
    ]


def choose(recordings: Sequence[Recording], label: int) -> Label:
    """The settings with the best event F1 among those that keep the label's part of the false alarms small."""
    scenes, negatives = of_kind(recordings, "soundscape"), of_kind(recordings, "negative")
    allowed = FALSE_PER_HOUR / len(LABELS) * hours(negatives)
    rated = []
    for rule in candidates(LABELS[label]):
        excess = max(0.0, count_events(negatives, label, rule).false - allowed)
        rated.append((count_events(scenes, label, rule).f1 - 0.05 * excess, rule.threshold, rule))
    best = max(rated, key=lambda item: item[:2])[2]
    return replace(best, early=early_threshold(recordings, label, best))


def early_threshold(recordings: Sequence[Recording], label: int, rule: Label) -> float:
    """The lowest early threshold whose announcements come to nothing less than so often on negatives."""
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


def measure(recordings: Sequence[Recording], rules: Sequence[Label]) -> list[Counts]:
    """Counts of every label."""
    return [count_events(recordings, label, rule) for label, rule in enumerate(rules)]


def cross_validate(folds: Sequence[Sequence[Recording]], accuracies: Sequence[float]) -> None:
    """Print each fold's figures under settings chosen on the others, then their means and spreads."""
    table, totals = [], [Counts(0, 0, 0)] * len(LABELS)
    for left_out, fold in enumerate(folds):
        others = [r for i, recordings in enumerate(folds) if i != left_out for r in recordings]
        rules = [choose(others, label) for label in range(len(LABELS))]
        counts, negatives = measure(of_kind(fold, "soundscape"), rules), of_kind(fold, "negative")
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        total = sum(counts, Counts(0, 0, 0))
        false = sum(c.false for c in measure(negatives, rules)) / hours(negatives)
        table.append((accuracies[left_out], total.f1, total.recall, float(np.median(total.errors)), false))
        print(f"fold {left_out + 1}: " + _describe(table[-1]))
    print("mean:   " + _describe(np.mean(table, axis=0)))
    print("spread: " + _describe(np.std(table, axis=0, ddof=1)))
    for name, label_counts in zip(LABELS, totals, strict=True):
        print(f"  {name:15} F1 {label_counts.f1:.2f} recall {label_counts.recall:.2f} false {label_counts.false}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path, nargs="+", help="files of training.evaluate, one per fold")
    parser.add_argument("--out", type=Path, required=True, help="where the settings go, .json")
    arguments = parser.parse_args()
    loaded = [load_recordings(path) for path in arguments.scores]
    if len(loaded) > 1:
        cross_validate([recordings for recordings, _ in loaded], [accuracy for _, accuracy in loaded])
    everything = [recording for recordings, _ in loaded for recording in recordings]
    rules = [choose(everything, label) for label in range(len(LABELS))]
    for rule in rules:
        print(rule)
    print(f"negatives: {hours(of_kind(everything, 'negative')):.1f} hours")
    arguments.out.write_text(json.dumps([asdict(rule) for rule in rules], indent=2) + "\n", encoding="utf-8")


def _early_peaks(recording: Recording, label: int, rule: Label) -> list[float]:
    """Highest early score of each stretch that an early announcement could have been made of."""
    early = recording.scores.early[:, label]
    return [float(early[first : last + 1].max()) for first, last in segments(early, rule)]


def _describe(row: Sequence[float]) -> str:
    accuracy, f1, recall, error, false = row
    return (
        f"clip accuracy {accuracy:.3f}, event F1 {f1:.3f}, recall {recall:.3f}, "
        f"median onset error {error:.3f} s, false alarms {false:.2f}/h"
    )


if __name__ == "__main__":
    main()
