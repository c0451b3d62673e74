"""How accurate each run of the study was, a row each: runs of several machines make one table."""

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from training.errors import TrainingError
from training.files import write_text

ACCURACY_FILE = "accuracy.json"
TEACHER = "ensemble"
TAUGHT_BY = 0
"""Seed of the teacher that all students have, of whatever seed they are."""
_RUNS = f"trained-on-*/*/{ACCURACY_FILE}"


class FiguresError(TrainingError):
    """What should be a table of figures is none."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A run's.

    Attributes:
        step: of the study.
        seed: of the training; 0 where there is none.
        fold: that was left out, and is measured on.
        accuracy: of a probe of the whole embedding.
        learnt: of one of the learnt part alone; None where nothing is computed beside it.
    """

    step: str
    seed: int
    fold: int
    accuracy: float
    learnt: float | None = None

    @property
    def run(self) -> tuple[str, int, int]:
        """What tells it from all others."""
        return self.step, self.seed, self.fold


def measured(work: Path) -> list[Figure]:
    """Of all runs in a folder of the study."""
    return sorted(map(_measured, work.glob(_RUNS)), key=lambda figure: figure.run)


def read_figures(path: Path) -> list[Figure]:
    """What `write_figures` wrote.

    Raises:
        FiguresError: the file is not a table of figures.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            if set(table.fieldnames or ()) != {field.name for field in fields(Figure)}:
                raise ValueError(f"its columns are {table.fieldnames}")
            return [
                Figure(row["step"], int(row["seed"]), int(row["fold"]), float(row["accuracy"]), _number(row["learnt"]))
                for row in table
            ]
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise FiguresError(f"{path}: expected a table of step, seed, fold, accuracy and learnt ({error!r})") from error


def write_figures(path: Path, figures: Iterable[Figure]) -> None:
    """Keep figures as CSV.

    Raises:
        StorageError: the disk is full.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([field.name for field in fields(Figure)])
    writer.writerows(astuple(figure) for figure in figures)
    write_text(path, table.getvalue())


def joined(kept: Iterable[Figure], new: Iterable[Figure]) -> list[Figure]:
    """All of both, in order; of a run that both have, the new."""
    runs = {figure.run: figure for figure in (*kept, *new)}
    return [runs[run] for run in sorted(runs)]


def _measured(path: Path) -> Figure:
    name, _, seed = re.match(r"(.*?)(-(\d+))?$", path.parent.name).groups()  # type: ignore[union-attr]  # fits any
    told = json.loads(path.read_text(encoding="utf-8"))
    (fold,) = told["folds"]
    return Figure(name, int(seed or 0), fold, told["accuracy"], told.get("learnt"))


def _number(told: str) -> float | None:
    return float(told) if told else None
