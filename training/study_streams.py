"""The study's students on streams: a head over columns, a bundle, and what the monitor would report with it.

A fold's thresholds are chosen on what the other folds' students said of recordings that they had not heard, so that
neither the network nor its settings know what they are measured on.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ssondo_stream.bundle import Label
from training.annotations import Annotated
from training.column_step import ColumnSettings, write_head
from training.evaluation import evaluate
from training.files import write_json
from training.labels import LABELS, ONTOLOGY
from training.learner import load_learner
from training.probe_head import load_probe
from training.report import write_report
from training.stream_figures import summed
from training.stream_metrics import MetricSettings
from training.stream_scores import Recording
from training.student_bundle import write_student_bundle
from training.thresholds import (
    CONFIRMS,
    OperatingPoint,
    choose_early,
    choose_thresholds,
    event_f1_and_recall,
    operating_points,
)
from training.verifier import Verifier

FALSE_ALARMS_PER_HOUR = 4.0  # of the next looser settings; those chosen had a fifth of it on folds left out
KEEN_PER_HOUR = 12.0  # where most events are found: beyond it, what is found more is not worth its false alarms
SHORT = frozenset({"Dog bark", "Rooster", "Crying baby", "Sneezing"})
_FINE = (*(round(0.05 * i, 2) for i in range(3, 20)), 0.98, 1.0)
_COARSE = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)  # where a verifier tells which events are certain
_NO_AREAS = MetricSettings(scenarios=())  # detection scores are the same with any settings, and take the most time
_STRENGTHS = (0.02,)  # new scenes of recordings that the network knows would choose a twentieth of it
_OFF_SHARES = (0.6, 0.3)
HEAD = "columns"
"""Folder of the head within a student's."""


def loosest() -> list[Label]:
    """Of what is tried, that with which scores fall into the most events."""
    return [_candidates(name)[0] for name in LABELS]


def fit_head(student: Path, practice: Sequence[Annotated]) -> None:
    """Fit a head on columns, and keep it with the student."""
    write_head(load_learner(student), practice, LABELS, student / HEAD, ColumnSettings(_STRENGTHS, progress=False))


def write_stream_bundle(student: Path, bundle: Path, verifier: Verifier | None = None) -> None:
    """The student with its head, and a verifier if there is one already, as the monitor runs it."""
    head = load_probe(student / HEAD)
    write_student_bundle(load_learner(student), bundle, probe=head, verifier=verifier, window_seconds=10.0)


def curves(recordings: Sequence[Recording]) -> list[list[OperatingPoint]]:
    """What each label's settings come to on some recordings, all that are tried."""
    return [
        [point for rule in _candidates(name) for point in _tried(recordings, i, rule)] for i, name in enumerate(LABELS)
    ]


def together(parts: Sequence[list[list[OperatingPoint]]]) -> list[list[OperatingPoint]]:
    """The curves of all recordings, from those of parts of them."""
    return [[_sum(points) for points in zip(*of_label, strict=True)] for of_label in zip(*parts, strict=True)]


def measure_streams(scored: dict[int, list[Recording]], chosen_on: dict[int, list[Recording]], out: Path) -> None:
    """Report each fold with settings chosen on the others, and write down the settings chosen on all.

    A fold has two reports: with the settings that ship, and with keen ones, which show what few false alarms cost.
    Thresholds of early starts, which change when events are told and not which, are those chosen on all folds.

    Args:
        scored: what is measured on, by the fold that its student has not heard.
        chosen_on: further recordings, on which settings are chosen, by the same.
        out: folder of the reports and `labels.json`.
    """
    of_fold = {fold: curves(recordings) for fold, recordings in chosen_on.items()}

    def on(folds: Sequence[int], per_hour: float) -> list[Label]:
        return choose_thresholds(together([of_fold[fold] for fold in folds]), per_hour, event_f1_and_recall)

    everything = [one for recordings in chosen_on.values() for one in recordings]
    shipped = choose_early(everything, on(list(scored), FALSE_ALARMS_PER_HOUR), per_hour=3.0)
    for fold, recordings in scored.items():
        others = [other for other in scored if other != fold]
        ships, keen = (_as_early(on(others, per_hour), shipped) for per_hour in (FALSE_ALARMS_PER_HOUR, KEEN_PER_HOUR))
        write_report(out / f"fold-{fold}", evaluate(f"Fold {fold}", recordings, ships, thresholds=()))
        found = evaluate(f"Fold {fold}, keen", recordings, keen, _NO_AREAS, thresholds=())
        write_report(out / f"fold-{fold}-keen", found)
    write_json(out / "labels.json", [asdict(rule) for rule in shipped])


def _as_early(rules: Sequence[Label], like: Sequence[Label]) -> list[Label]:
    """Rules whose early thresholds lie as far between the settled ones and 1 as those of others."""
    shares = [(other.early - other.threshold) / (1 - other.threshold) if other.threshold < 1 else 1.0 for other in like]
    return [
        replace(rule, early=round(rule.threshold + share * (1 - rule.threshold), 4))
        for rule, share in zip(rules, shares, strict=True)
    ]


def _sum(points: Sequence[OperatingPoint]) -> OperatingPoint:
    return OperatingPoint(
        points[0].rule, summed(point.outcome for point in points), summed(point.negatives for point in points)
    )


def _candidates(name: str) -> list[Label]:
    minimum, hold = (0.0, 0.0) if name in SHORT else (1.0, 0.5)  # others tried on folds 1 to 4 carried over less well
    return [Label(name, 0.5, round(0.5 * share, 3), 1.0, minimum, hold, ONTOLOGY[name]) for share in _OFF_SHARES]


def _tried(recordings: Sequence[Recording], label: int, rule: Label) -> list[OperatingPoint]:
    verified = all(one.scores.verdicts for one in recordings)
    thresholds, confirms = (_COARSE, CONFIRMS) if verified else (_FINE, None)
    points = operating_points(recordings, label, rule, thresholds, confirms=confirms)
    if confirms:
        points = steadied([points[i : i + len(confirms)] for i in range(0, len(points), len(confirms))])
    return [replace(point, rule=replace(point.rule, early=1.0)) for point in points]


def steadied(grid: Sequence[Sequence[OperatingPoint]]) -> list[OperatingPoint]:
    """Points by thresholds and certainties, each judged by its neighbours too, and by the false alarms of a looser one.

    The best of a thousand settings is best by luck: on a fold that it was not chosen on it gave three times the false
    alarms that were allowed.
    """
    return [_judged(grid, i, j) for i in range(len(grid)) for j in range(len(grid[i]))]


def _judged(grid: Sequence[Sequence[OperatingPoint]], i: int, j: int) -> OperatingPoint:
    near = [point for row in grid[max(0, i - 1) : i + 2] for point in row[max(0, j - 1) : j + 2]]
    looser = grid[max(0, i - 1)][max(0, j - 1)]
    return OperatingPoint(grid[i][j].rule, summed(point.outcome for point in near), looser.negatives)
