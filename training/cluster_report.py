"""How good clusters are: figures on a seeded sample of rows, and a picture of them.

Sizes show what balancing has to even out; the figures let numbers of clusters and preparations be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from training.files import write_file
from training.kmeans import Labels
from training.points import Matrix

_MARKER = 6  # square points


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of a clustering, on a sample.

    Attributes:
        rows: of the sample.
        silhouette: -1 to 1, higher is better; None where the sample has a single cluster, or only clusters of one row.
        calinski_harabasz: higher is better.
        davies_bouldin: lower is better.
    """

    rows: int
    silhouette: float | None = None
    calinski_harabasz: float | None = None
    davies_bouldin: float | None = None


def quality(sample: Matrix, labels: Labels) -> Quality:
    """Figures of these rows [n, d] and their clusters [n]."""
    if not 2 <= len(np.unique(labels)) < len(labels):
        return Quality(len(labels))
    return Quality(
        len(labels),
        float(silhouette_score(sample, labels)),
        float(calinski_harabasz_score(sample, labels)),
        float(davies_bouldin_score(sample, labels)),
    )


def draw(path: Path, sizes: Sequence[int], sample: Matrix, labels: Labels) -> None:
    """A PNG: sizes of the clusters, largest first, and the sample in its two main directions.

    Args:
        path: of the file.
        sizes: rows of each cluster.
        sample: [n, d] rows.
        labels: [n] their clusters.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  # half a second, and nothing but this needs it

    figure = Figure(figsize=(12, 5), layout="constrained")
    bars, scatter = figure.subplots(1, 2)
    bars.bar(range(len(sizes)), sorted(sizes, reverse=True), width=1.0)
    bars.set(title=f"{sum(sizes)} clips in {len(sizes)} clusters", xlabel="cluster, largest first", ylabel="clips")
    places = _flat(sample)
    scatter.scatter(places[:, 0], places[:, 1], s=_MARKER, c=labels, cmap="nipy_spectral")
    scatter.set(title=f"{len(sample)} of them, two principal components", xlabel="first", ylabel="second")
    write_file(path, lambda file: figure.savefig(file, format="png", dpi=100))


def _flat(sample: Matrix) -> Matrix:
    """[n, 2], the second column zeros where there is no second direction."""
    flat = np.zeros((len(sample), 2), np.float32)
    directions = min(2, *sample.shape)
    if len(sample) > 1:
        with np.errstate(invalid="ignore", divide="ignore"):  # equal rows have no variance to explain a share of
            flat[:, :directions] = PCA(directions, svd_solver="randomized", random_state=0).fit_transform(sample)
    return flat
