"""What came out of the study, as a table: `python -m training.study_report --work DIR`.

A row is a step; a figure is the mean over seeds of the mean over the folds left out, with the standard deviation over
seeds (how much luck there is in training) and over folds (how much in the choice of clips).
"""

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import fmean, stdev

_ACCURACY = "trained-on-*/*/accuracy.json"


@dataclass(frozen=True, slots=True)
class Row:
    """A step's accuracies.

    Attributes:
        name: of the step.
        of: seed -> fold left out -> accuracy of the probe there.
    """

    name: str
    of: Mapping[int, Mapping[int, float]]

    @property
    def mean(self) -> float:
        """Over seeds and folds."""
        return fmean(accuracy for folds in self.of.values() for accuracy in folds.values())

    @property
    def over_seeds(self) -> float:
        """Standard deviation of the seeds' means; NaN of a single one."""
        return _spread([fmean(folds.values()) for folds in self.of.values()])

    @property
    def over_folds(self) -> float:
        """Standard deviation of the folds' means; NaN of a single one."""
        return _spread(list(self.by_fold.values()))

    @property
    def by_fold(self) -> dict[int, float]:
        """Fold -> mean over seeds."""
        found: defaultdict[int, list[float]] = defaultdict(list)
        for folds in self.of.values():
            for fold, accuracy in folds.items():
                found[fold].append(accuracy)
        return {fold: fmean(found[fold]) for fold in sorted(found)}

    @property
    def runs(self) -> int:
        """Trainings that are in it."""
        return sum(len(folds) for folds in self.of.values())


def read_rows(work: Path) -> list[Row]:
    """Everything that was measured, in the order of names."""
    found: defaultdict[str, defaultdict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(work.glob(_ACCURACY)):
        name, _, seed = re.match(r"(.*?)(-(\d+))?$", path.parent.name).groups()  # type: ignore[union-attr]  # fits any
        told = json.loads(path.read_text(encoding="utf-8"))
        (fold,) = told["folds"]
        found[name][int(seed or 0)][fold] = told["accuracy"]
    return [Row(name, found[name]) for name in sorted(found)]


def markdown(rows: list[Row], teacher: str = "ensemble") -> str:
    """The table; retention is a row's accuracy over that of the teacher, of the same folds."""
    by_name = {row.name: row for row in rows}
    lines = ["| | accuracy | over seeds | over folds | by fold | retention | runs |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        folds = ", ".join(f"{accuracy:.3f}" for accuracy in row.by_fold.values())
        kept = _kept(row, by_name.get(teacher))
        spread = " | ".join("" if isnan(of) else f"{of:.3f}" for of in (row.over_seeds, row.over_folds))
        lines.append(f"| {row.name} | {row.mean:.3f} | {spread} | {folds} | {kept} | {row.runs} |")
    return "\n".join(lines) + "\n"


def _kept(row: Row, teacher: Row | None) -> str:
    shared = set(row.by_fold) & set(teacher.by_fold) if teacher else set()
    if not teacher or not shared:
        return ""
    return f"{sum(row.by_fold[fold] for fold in shared) / sum(teacher.by_fold[fold] for fold in shared):.3f}"


def _spread(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else nan


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="of the study")
    print(markdown(read_rows(parser.parse_args().work)), end="")  # what it is for


if __name__ == "__main__":
    main()
