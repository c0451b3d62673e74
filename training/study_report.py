"""What came out of the study, as a table: `python -m training.study_report --work DIR`.

A row is a step; a figure is the mean over seeds of the mean over the folds left out, with the standard deviation over
seeds (how much luck there is in training) and over folds (how much in the choice of clips).
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import fmean, stdev

from training.study_figures import TAUGHT_BY, TEACHER, Figure, joined, measured, read_figures, write_figures

STEPS = {
    "teacher": "one network, a teacher",
    "textures": "statistics alone, a teacher",
    TEACHER: "**both together, the teacher**",
    "scratch": "student from scratch, on labels",
    "uniform": "distilled without BDS",
    "balanced": "**distilled with BDS**",
    "tuned": "**distilled, then tuned**",
}
"""How steps are told, in their order; others follow by their names."""
_HEAD = ("", "accuracy", "over seeds", "over folds", "by fold", "retention", "learnt part alone", "runs")


@dataclass(frozen=True, slots=True)
class Row:
    """A step's runs.

    Attributes:
        name: of the step.
        of: seed -> fold left out -> what was measured there.
    """

    name: str
    of: Mapping[int, Mapping[int, Figure]]

    @property
    def mean(self) -> float:
        """Accuracy over seeds and folds."""
        return fmean(figure.accuracy for folds in self.of.values() for figure in folds.values())

    @property
    def over_seeds(self) -> float:
        """Standard deviation of the seeds' means; NaN of a single one."""
        return _spread([fmean(figure.accuracy for figure in folds.values()) for folds in self.of.values()])

    @property
    def over_folds(self) -> float:
        """Standard deviation of the folds' means; NaN of a single one."""
        return _spread(list(self.by_fold.values()))

    @property
    def by_fold(self) -> dict[int, float]:
        """Fold -> mean over seeds."""
        found: defaultdict[int, list[float]] = defaultdict(list)
        for folds in self.of.values():
            for fold, figure in folds.items():
                found[fold].append(figure.accuracy)
        return {fold: fmean(found[fold]) for fold in sorted(found)}

    @property
    def learnt(self) -> tuple[float, float]:
        """Mean accuracy of what is learnt, and its spread over seeds; NaN of steps whose embedding is all of a kind."""
        means = [
            fmean(known)
            for folds in self.of.values()
            if (known := [figure.learnt for figure in folds.values() if figure.learnt is not None])
        ]
        return (fmean(means), _spread(means)) if means else (nan, nan)

    @property
    def runs(self) -> int:
        """Trainings that are in it."""
        return sum(len(folds) for folds in self.of.values())


def rows_of(figures: Sequence[Figure]) -> list[Row]:
    """A row for each step, in the order in which they are told."""
    found: defaultdict[str, defaultdict[int, dict[int, Figure]]] = defaultdict(lambda: defaultdict(dict))
    for figure in figures:
        found[figure.step][figure.seed][figure.fold] = figure
    told = [*STEPS, *sorted(set(found) - set(STEPS))]
    return [Row(name, found[name]) for name in told if name in found]


def markdown(rows: Sequence[Row]) -> str:
    """The table; retention is a row's accuracy over that of the students' teacher, of the same folds."""
    teacher = next((row for row in rows if row.name == TEACHER), None)
    cells = [_HEAD, ("---",) * len(_HEAD), *(_cells(row, teacher) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _cells(row: Row, teacher: Row | None) -> tuple[str, ...]:
    return (
        STEPS.get(row.name, row.name.replace("loss-", "loss: ").replace("_", " ")),
        _told(row.mean),
        _told(row.over_seeds),
        _told(row.over_folds),
        ", ".join(_told(accuracy) for accuracy in row.by_fold.values()),
        _told(_kept(row, teacher)),
        " ± ".join(_told(of) for of in row.learnt if not isnan(of)),
        str(row.runs),
    )


def _kept(row: Row, teacher: Row | None) -> float:
    taught = teacher.of.get(TAUGHT_BY, {}) if teacher else {}
    shared = set(row.by_fold) & set(taught)
    if not shared:
        return nan
    return sum(row.by_fold[fold] for fold in shared) / sum(taught[fold].accuracy for fold in shared)


def _told(value: float) -> str:
    return "" if isnan(value) else f"{value:.3f}"


def _spread(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else nan


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="of the study")
    parser.add_argument("--figures", type=Path, help="CSV of runs, of other machines too; those of --work are added")
    arguments = parser.parse_args()
    new = measured(arguments.work) if arguments.work else []
    kept = read_figures(arguments.figures) if arguments.figures and arguments.figures.exists() else []
    figures = joined(kept, new)
    if arguments.figures and new:
        write_figures(arguments.figures, figures)
    print(markdown(rows_of(figures)), end="")  # what it is for


if __name__ == "__main__":
    main()
