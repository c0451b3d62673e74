"""Hierarchical k-means for long-tailed data, after Vo et al., "Automatic Data Curation for Self-Supervised Learning: A
Clustering-Based Approach", 2024.

Plain k-means spends most of its centres where most of the data is. Centres of centres, and fits to as many rows of each
cluster, spread evenly over what there is to hear.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.kmeans import Fit, FitSettings, Labels, assign, fit
from training.points import ArrayPoints, Index, Matrix, Points, Subset
from training.progress import Bar


@dataclass(frozen=True, slots=True)
class Resampling:
    """What is done at each level after its first fit.

    Attributes:
        rounds: times that centres are fitted again to the same number of rows of each cluster.
        per_cluster: rows nearest to each centre that take part in such a fit.
    """

    rounds: int = 3
    per_cluster: int = 10

    def __post_init__(self) -> None:
        if self.rounds < 0 or self.per_cluster < 1:
            raise ValueError(f"need rounds >= 0 and per_cluster >= 1, got {self.rounds} and {self.per_cluster}")


@dataclass(frozen=True, slots=True)
class Level:
    """Clusters of what the level below holds; those of the first are clusters of rows.

    Attributes:
        centres: [k, d], none of them empty.
        labels: [n] cluster of each of the things below.
        inertia: mean squared distance after each pass of its first fit.
    """

    centres: Matrix
    labels: Labels
    inertia: tuple[float, ...]


def fit_levels(
    points: Points,
    sizes: Sequence[int],
    settings: FitSettings,
    resampling: Resampling,
    *,
    state: Path,
    shown: Bar,
) -> list[Level]:
    """Cluster rows, then the centres, level by level.

    Args:
        points: the rows.
        sizes: clusters of each level, falling.
        settings: of every fit.
        resampling: what is done at each level.
        state: a folder; each fit keeps its own file there.
        shown: told of each pass.

    Raises:
        ClusterError: a level has fewer rows, or fewer different ones, than clusters.
    """
    levels: list[Level] = []
    for number, clusters in enumerate(sizes, 1):
        stage = _Stage(clusters, settings, resampling, state / f"level{number}", shown)
        levels.append(stage.of(points))
        points = ArrayPoints(levels[-1].centres)
    return levels


def climb(labels: Labels, levels: Sequence[Level]) -> list[Labels]:
    """The cluster of each row at each level, from its cluster at the first one."""
    found = [labels]
    for level in levels[1:]:
        found.append(level.labels[found[-1]])
    return found


def nearest_of_each(labels: Labels, distances: Matrix, count: int) -> Index:
    """Positions of the `count` members of each cluster nearest to its centre, or of all if it has fewer; sorted."""
    order = np.lexsort((distances, labels))
    ordered = labels[order]
    begins = np.searchsorted(ordered, ordered, side="left")
    return np.sort(order[np.arange(len(order)) - begins < count])


@dataclass(frozen=True, slots=True)
class _Stage:
    """How one level is made."""

    clusters: int
    settings: FitSettings
    resampling: Resampling
    state: Path
    shown: Bar

    def of(self, points: Points) -> Level:
        first = found = self._fit(points, 0)
        labels, distances = assign(points, found.centres, self.settings.chunk_rows)
        for turn in range(1, self.resampling.rounds + 1):
            chosen = nearest_of_each(labels, distances, self.resampling.per_cluster)
            if len(chosen) < self.clusters:  # clusters have died out, so what remains cannot fill as many
                break
            found = self._fit(Subset(points, chosen), turn)
            labels, distances = assign(points, found.centres, self.settings.chunk_rows)
        return _without_empty(found, labels, first.inertia)

    def _fit(self, points: Points, turn: int) -> Fit:
        state = self.state.with_name(f"{self.state.name}-{turn}.npz")
        return fit(points, self.clusters, self.settings, state, self.shown)


def _without_empty(found: Fit, labels: Labels, inertia: tuple[float, ...]) -> Level:
    used, labels = np.unique(labels, return_inverse=True)
    return Level(found.centres[used], labels.astype(np.int64), inertia)
