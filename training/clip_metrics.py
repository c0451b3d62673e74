"""Figures of whole clips: how often the right label is on top, and how well each label is ranked.

Intervals come from resampling the clips, within their folds where there are folds.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.estimates import LEVEL, RESAMPLES, Estimate, bootstrapped, interval

Scores = NDArray[np.floating]
"""[clips, labels]."""
Truth = NDArray[np.bool_]
"""[clips, labels]."""
_AT_ONCE = 2**22  # resampled values in memory


@dataclass(frozen=True, slots=True)
class Ranking:
    """Average precision.

    Attributes:
        labels: of each; NaN where a label is on no clip or on all of them.
        macro: the mean of those that are a number.
    """

    labels: tuple[Estimate, ...]
    macro: Estimate


def accuracy(scores: Scores, truth: NDArray[np.integer]) -> float:
    """Share of clips whose own label has the highest score; NaN without clips.

    Args:
        scores: [clips, labels].
        truth: [clips] the label of each.
    """
    return float(np.mean(scores.argmax(axis=1) == truth)) if len(scores) else math.nan


def accuracy_estimate(
    scores: Scores,
    truth: NDArray[np.integer],
    *,
    folds: NDArray[np.integer] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The same with its interval."""
    right = (scores.argmax(axis=1) == truth).astype(np.float64)
    strata = None if folds is None else folds.astype(np.int64)

    def share(rows: NDArray[np.int64]) -> float:
        return float(right[rows].mean()) if len(rows) else math.nan

    return bootstrapped(share, len(right), strata=strata, resamples=resamples, seed=seed)


def average_precision(scores: Scores, truth: Truth) -> float:
    """Mean precision at the rank of each positive clip, clips of one score counted together; NaN without both kinds.

    Args:
        scores: [clips] of a label.
        truth: [clips] whether it is there.
    """
    return float(_weighted(scores, truth, np.ones((1, len(truth))))[0])


def macro_average_precision(scores: Scores, truth: Truth) -> float:
    """Mean over the labels that have an average precision; NaN if none has."""
    return _mean([average_precision(scores[:, i], truth[:, i]) for i in range(truth.shape[1])])


def ranking(
    scores: Scores,
    truth: Truth,
    *,
    folds: NDArray[np.integer] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Ranking:
    """Average precision of each label and over all of them, with intervals.

    Args:
        scores: [clips, labels].
        truth: [clips, labels] what is there.
        folds: [clips] within which clips are resampled.
        resamples: samples drawn; all labels have the same ones.
        seed: of the draw.
        level: of confidence.
    """
    clips, labels = truth.shape
    groups = np.zeros(clips, np.int64) if folds is None else np.asarray(folds)
    values, rng = np.empty((resamples, labels)), np.random.default_rng(seed)
    step = max(1, _AT_ONCE // max(1, clips))
    for start in range(0, resamples, step):
        drawn = _times_drawn(groups, min(step, resamples - start), rng)
        for label in range(labels):
            values[start : start + step, label] = _weighted(scores[:, label], truth[:, label], drawn)
    own = [average_precision(scores[:, i], truth[:, i]) for i in range(labels)]
    macro = np.array([_mean(row) for row in values.tolist()])
    estimates = tuple(interval(value, values[:, i], level) for i, value in enumerate(own))
    return Ranking(estimates, interval(_mean(own), macro, level))


def best_threshold(scores: Scores, truth: Truth) -> float:
    """The threshold with the best F1 over clips, half way to the next lower score; 0.5 if the label is never there.

    Args:
        scores: [clips] of a label, 0 to 1.
        truth: [clips] whether it is there.
    """
    if not truth.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order].astype(np.float64), np.cumsum(truth[order])
    last = np.append(ranked[1:] < ranked[:-1], True)  # clips of one score are above a threshold together
    f1 = np.where(last, 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1]), -1.0)
    best = int(f1.argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def _weighted(scores: Scores, truth: Truth, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average precision [samples] of samples in which each clip occurs so many times, [samples, clips]."""
    if not truth.any():
        return np.full(len(times), np.nan)
    order = np.argsort(-scores, kind="stable")
    ranked, positive = scores[order], truth[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    group = np.searchsorted(last, np.arange(len(ranked)))
    times = times[:, order]
    above, hits = np.cumsum(times, axis=1)[:, last], np.cumsum(times * positive, axis=1)[:, last]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(above > 0, hits / above, 0.0)[:, group]
        found = (precision * times * positive).sum(axis=1) / hits[:, -1]
    return np.asarray(np.where((hits[:, -1] > 0) & (hits[:, -1] < above[:, -1]), found, np.nan))


def _times_drawn(groups: NDArray[np.integer], samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """[samples, clips] how often each clip is drawn, as many of each group as there are, with replacement."""
    drawn = np.zeros((samples, len(groups)))
    for group in np.unique(groups):
        (members,) = np.nonzero(groups == group)
        drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=samples)
    return drawn


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
