"""Figures with what may be said about them: intervals by resampling, and exact ones for counts.

A figure of a few hundred clips, or of no false alarm in two hours, means little without its interval.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its confidence interval; NaN where there is nothing to tell it from."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many events in so many hours.

    Attributes:
        count: of events.
        hours: in which they occurred.
    """

    count: int
    hours: float

    def __post_init__(self) -> None:
        if self.count < 0 or self.hours < 0:
            raise ValueError(f"need count >= 0 and hours >= 0, got {self.count} and {self.hours}")

    def __add__(self, other: "Rate") -> "Rate":
        """Both counts and both times."""
        return Rate(self.count + other.count, self.hours + other.hours)

    def per_hour(self, level: float = LEVEL) -> Estimate:
        """Events an hour with the exact interval of a Poisson rate (Garwood 1936).

        Its ends are quantiles of the chi-squared distribution: of 2k degrees of freedom below, and 2k + 2 above.
        """
        from scipy.stats import chi2  # noqa: PLC0415  # a second, and only this needs it

        if not self.hours:
            return Estimate(math.nan, math.nan, math.nan)
        tail, twice = (1 - level) / 2, 2 * self.hours
        low = float(chi2.ppf(tail, 2 * self.count)) / twice if self.count else 0.0
        return Estimate(self.count / self.hours, low, float(chi2.ppf(1 - tail, 2 * self.count + 2)) / twice)


def bootstrapped(
    figure: Callable[[NDArray[np.int64]], float],
    size: int,
    *,
    strata: NDArray[np.int64] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """A figure over rows, with the percentile interval of resampled rows (Efron 1979).

    Args:
        figure: from row numbers [n], some of them repeated, to a number; it may be NaN for some samples.
        size: number of rows.
        strata: [size] a group of each row; rows are drawn within their group, so that each keeps its size.
        resamples: samples drawn.
        level: of confidence.
        seed: of the draw.
    """
    rng, groups = np.random.default_rng(seed), _groups(size, strata)
    values = [figure(np.concatenate([rng.choice(group, len(group)) for group in groups])) for _ in range(resamples)]
    return interval(figure(np.arange(size)), np.array(values), level)


def interval(value: float, resampled: NDArray[np.float64], level: float = LEVEL) -> Estimate:
    """A figure and the percentiles of resampled ones, those that are NaN left out."""
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def _groups(size: int, strata: NDArray[np.int64] | None) -> list[NDArray[np.int64]]:
    if strata is None:
        return [np.arange(size)]
    return [np.flatnonzero(strata == group) for group in np.unique(strata)]
