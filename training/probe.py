"""Probes: how much a frozen student's embeddings say about labels, and a head that says it.

Every figure is of folds that the head has not seen. What is chosen - the strength of the regularisation, say - is
chosen on folds within those that it is fitted on, so that the tested fold has no part in it.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray
from torch import nn

from training.clip_metrics import accuracy, accuracy_estimate, best_threshold, macro_average_precision, ranking
from training.estimates import RESAMPLES, Estimate
from training.probe_data import ProbeData, ProbeError, Task
from training.probe_fit import Recipe, fit, head_loss, head_scores
from training.probe_head import Probe
from training.progress import bar

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
GRID = tuple(Recipe(strength=strength) for strength in STRENGTHS)
_SEEDS = 2**63
FIGURE_NAMES: dict[Task, str] = {"single": "accuracy", "multi": "macro average precision"}
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How probes are fitted and tested.

    Attributes:
        task: one label a clip, whose figure is the accuracy; or any number, whose figure is macro average precision.
        grid: recipes to choose from by inner folds; a single one is fixed in advance.
        tested: folds that are tested and never fitted on, where the split is given; None tests each fold in turn, by a
            head that is fitted on the others.
        seed: of the heads and the intervals.
        resamples: for intervals.
    """

    task: Task = "single"
    grid: tuple[Recipe, ...] = GRID
    tested: tuple[int, ...] | None = None
    seed: int = 0
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        if not self.grid or self.tested == ():
            raise ValueError("need a recipe or more, and a tested fold or more")
        if self.tested and len(set(self.tested)) < len(self.tested):
            raise ValueError(f"need each tested fold once, got {self.tested}")
        if not 0 <= self.seed < _SEEDS:
            raise ValueError(f"need a seed >= 0 and below 2^63, got {self.seed}")


@dataclass(frozen=True, slots=True)
class FoldResult:
    """A tested fold.

    Attributes:
        fold: its number.
        clips: in it.
        recipe: that was chosen without it.
        figure: with its interval over clips.
    """

    fold: int
    clips: int
    recipe: Recipe
    figure: Estimate


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A probe and its figures.

    Attributes:
        probe: fitted on all folds, or on those that are not tested where the split is given.
        recipe: that it was fitted by.
        folds: those tested.
        pooled: the figure over the clips of all tested folds together.
        labels: average precision of each label over them.
        scores: [clips, labels] of heads that had not seen the clip; NaN where it was not tested.
    """

    probe: Probe
    recipe: Recipe
    folds: tuple[FoldResult, ...]
    pooled: Estimate
    labels: tuple[Estimate, ...]
    scores: Scores = field(repr=False)

    @property
    def mean(self) -> float:
        """Of the folds' figures, those left out that have none."""
        known = self._known()
        return fmean(known) if known else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation of the folds' figures; NaN of a single one."""
        known = self._known()
        return stdev(known) if len(known) > 1 else math.nan

    @property
    def figures(self) -> dict[str, Estimate]:
        """All of them by name, as a report takes them."""
        name = FIGURE_NAMES[self.probe.task]
        folds = {f"{name}, fold {result.fold}": result.figure for result in self.folds}
        labels = {f"average precision, {label}": of for label, of in zip(self.probe.labels, self.labels, strict=True)}
        return {**folds, f"{name}, all tested folds": self.pooled, **labels}

    def _known(self) -> list[float]:
        return [result.figure.value for result in self.folds if not math.isnan(result.figure.value)]


def probe(data: ProbeData, settings: ProbeSettings | None = None, *, progress: bool = False) -> ProbeResult:
    """Fit heads on some folds, test them on others, and fit one to keep.

    Args:
        data: embeddings, what is heard, and folds.
        settings: how.
        progress: whether a bar of the heads is shown.

    Raises:
        ProbeError: there are too few folds to choose and to test, or a clip does not fit the task.
    """
    settings = settings or ProbeSettings()
    splits = check_probe(data, settings)
    scores = np.full(data.targets.shape, np.nan, np.float32)
    results = []
    with closing(bar("probe", len(splits) + 1, unit="head", shown=progress)) as shown:
        # folds that are given are all left out of one head, which is the one to keep
        kept = None if settings.tested is None else _fitted(data.where(splits[0][1]), settings)
        for fold, fitted_on in splits:
            tested = data.folds == fold
            recipe, head = kept or _fitted(data.where(fitted_on), settings)
            scores[tested] = head_scores(head, data.embeddings[tested], settings.task)
            results.append(FoldResult(fold, int(tested.sum()), recipe, _estimate(scores, data, tested, settings)))
            shown.update()
        recipe, head = kept or _fitted(data, settings)
        shown.update()
    tested = np.isin(data.folds, [fold for fold, _ in splits])
    thresholds = tuple(best_threshold(scores[tested, i], data.targets[tested, i]) for i in range(len(data.labels)))
    return ProbeResult(
        Probe(head, data.labels, settings.task, recipe.hidden_sizes, thresholds),
        recipe,
        tuple(results),
        _estimate(scores, data, tested, settings),
        _ranked(scores, data, tested, settings),
        scores,
    )


def check_probe(data: ProbeData, settings: ProbeSettings) -> list[tuple[int, NDArray[np.bool_]]]:
    """Each tested fold with the rows [clips] that its head is fitted on.

    Raises:
        ProbeError: as `probe` does, before anything is fitted.
    """
    data.check(settings.task)
    splits = _splits(data, settings)
    for _, fitted_on in splits:
        _check_choice(np.unique(data.folds[fitted_on]), settings)
    return splits


def choose_recipe(data: ProbeData, settings: ProbeSettings) -> Recipe:
    """The recipe of the grid that does best when each fold of these clips is left out in turn.

    Figures decide, and where they are the same the loss on the folds left out.

    Raises:
        ProbeError: there is a choice but a single fold.
    """
    if len(settings.grid) == 1:
        return settings.grid[0]
    folds = np.unique(data.folds)
    _check_choice(folds, settings)
    worth = [_inner(data, folds, recipe, settings) for recipe in settings.grid]
    return settings.grid[max(range(len(worth)), key=lambda i: worth[i])]


def _fitted(data: ProbeData, settings: ProbeSettings) -> tuple[Recipe, nn.Module]:
    """A head by the recipe that is chosen on the same clips."""
    recipe = choose_recipe(data, settings)
    return recipe, fit(data, settings.task, recipe, settings.seed)


def _check_choice(folds: NDArray[np.int64], settings: ProbeSettings) -> None:
    if len(settings.grid) > 1 and len(folds) < 2:
        raise ProbeError(
            f"{len(settings.grid)} recipes cannot be compared on fold {folds[0]} alone: give two folds or more to fit "
            "on, or a single one of --strengths"
        )


def _inner(data: ProbeData, folds: NDArray[np.int64], recipe: Recipe, settings: ProbeSettings) -> tuple[float, float]:
    """Mean figure and negative mean loss of folds that are left out in turn."""
    figures, losses = [], []
    for fold in folds:
        left_out = data.where(data.folds == fold)
        head = fit(data.where(data.folds != fold), settings.task, recipe, settings.seed)
        value = _FIGURES[settings.task](head_scores(head, left_out.embeddings, settings.task), left_out.targets)
        figures += [] if math.isnan(value) else [value]
        losses.append(head_loss(head, left_out, settings.task))
    return (fmean(figures) if figures else 0.0), -fmean(losses)


def _splits(data: ProbeData, settings: ProbeSettings) -> list[tuple[int, NDArray[np.bool_]]]:
    folds = [int(fold) for fold in np.unique(data.folds)]
    tested: Sequence[int] = folds if settings.tested is None else settings.tested
    if absent := sorted(set(tested) - set(folds)):
        raise ProbeError(f"there is no fold {absent[0]} to test: the clips are of folds {folds}")
    kept = set(folds) - set(tested) if settings.tested is not None else set(folds)
    if len(kept) < (1 if settings.tested is not None else 2):
        raise ProbeError(f"no fold is left to fit on: the clips are of folds {folds}")
    return [(fold, np.isin(data.folds, sorted(kept - {fold}))) for fold in tested]


def _estimate(scores: Scores, data: ProbeData, rows: NDArray[np.bool_], settings: ProbeSettings) -> Estimate:
    """The task's figure over some clips."""
    truth, folds = data.targets[rows], data.folds[rows]
    if settings.task == "multi":
        return ranking(scores[rows], truth, folds=folds, resamples=settings.resamples, seed=settings.seed).macro
    return accuracy_estimate(
        scores[rows], truth.argmax(axis=1), folds=folds, resamples=settings.resamples, seed=settings.seed
    )


def _ranked(scores: Scores, data: ProbeData, rows: NDArray[np.bool_], settings: ProbeSettings) -> tuple[Estimate, ...]:
    truth, folds = data.targets[rows], data.folds[rows]
    return ranking(scores[rows], truth, folds=folds, resamples=settings.resamples, seed=settings.seed).labels


_FIGURES: dict[Task, Callable[[Scores, NDArray[np.bool_]], float]] = {
    "single": lambda scores, targets: accuracy(scores, targets.argmax(axis=1)),
    "multi": macro_average_precision,
}
