"""k-means over more rows than fit into memory, whose passes can be stopped and resumed to the same bits.

Between passes there is nothing but centres and their weights, written to a file; each pass begins from these, whether
the process is still the same or not.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from training.errors import ClusterError
from training.points import Index, Matrix, Points, chunks, load_arrays, save_arrays
from training.progress import Bar

Engine = Literal["sklearn", "faiss"]
Labels = NDArray[np.int64]

_BLOCK = 64  # neighbouring rows that stay together when rows are shuffled: one read on disk
_START_ITERATIONS = 10
_IN_MEMORY_ITERATIONS = 300
_FAISS_ROWS_PER_CLUSTER = 256  # what faiss itself samples
_CELLS = 2**24  # distances held at a time


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How centres are found.

    Attributes:
        passes: over the rows, where they are more than a chunk.
        chunk_rows: rows in memory at a time.
        inits: k-means++ starts, of which the best is kept.
        seed: of starts and order.
        engine: `faiss`, if it is installed, fits a sample of 256 rows per cluster in memory.
    """

    passes: int = 10
    chunk_rows: int = 10_000
    inits: int = 3
    seed: int = 42
    engine: Engine = "sklearn"

    def __post_init__(self) -> None:
        if min(self.passes, self.chunk_rows, self.inits) < 1 or self.seed < 0 or self.engine not in get_args(Engine):
            raise ValueError(
                f"need passes, chunk_rows and inits of at least 1, seed >= 0 and an engine of {get_args(Engine)}, "
                f"got {self.passes}, {self.chunk_rows}, {self.inits}, {self.seed}, {self.engine!r}"
            )


@dataclass(frozen=True, slots=True)
class Fit:
    """Centres as they stand after a pass.

    Attributes:
        centres: [k, d].
        weights: [k] rows that each has met, in all passes.
        inertia: mean squared distance of rows to their nearest centre as they were met, of each pass.
    """

    centres: Matrix
    weights: Matrix
    inertia: tuple[float, ...] = ()


def fit(points: Points, clusters: int, settings: FitSettings, state: Path, shown: Bar) -> Fit:
    """Centres of all rows; rows that fit into one chunk are fitted by Lloyd's iterations, more by mini-batches.

    Args:
        points: the rows.
        clusters: how many.
        settings: how.
        state: a `.npz`, written after each pass, and gone on from if it exists.
        shown: told of each pass.

    Raises:
        ClusterError: as `check_fit` does, or there are fewer different rows than clusters.
    """
    check_fit(len(points), clusters, settings)
    found = _load(state) if state.exists() else None
    in_memory = len(points) <= settings.chunk_rows or settings.engine == "faiss"
    passes, step = (1, settings.passes) if in_memory else (settings.passes, 1)
    shown.update(step * len(found.inertia) if found else 0)
    while found is None or len(found.inertia) < passes:
        if in_memory:
            found = _IN_MEMORY[settings.engine](points, clusters, settings)
        else:
            found = _pass(points, clusters, settings, found)
        save_arrays(state, centres=found.centres, weights=found.weights, inertia=np.array(found.inertia))
        shown.update(step)
    return found


def check_fit(rows: int, clusters: int, settings: FitSettings) -> None:
    """Refuse a fit of which it is plain before that it cannot be done.

    Raises:
        ClusterError: there are fewer rows than clusters, a chunk has fewer, or the engine is not installed.
    """
    if settings.engine == "faiss" and find_spec("faiss") is None:
        raise ClusterError("the engine 'faiss' is not installed: pip install faiss-cpu, or use 'sklearn'")
    if min(rows, settings.chunk_rows) < clusters:
        raise ClusterError(
            f"{clusters} clusters need as many rows, in each chunk too: there are {rows} rows, "
            f"and chunks of {settings.chunk_rows}"
        )


def nearest(rows: Matrix, centres: Matrix) -> tuple[Labels, Matrix]:
    """The nearest centre of each row and its squared distance, [n] and [n].

    Uses |x - c|^2 = |x|^2 - 2 x.c + |c|^2, and never holds more than 16 million distances.
    """
    step = max(1, _CELLS // len(centres))
    lengths = np.einsum("kd,kd->k", centres, centres)
    labels, distances = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        cells = lengths - 2 * (part @ centres.T)
        best = labels[start : start + step] = cells.argmin(axis=1)
        found = cells[np.arange(len(part)), best] + np.einsum("nd,nd->n", part, part)
        distances[start : start + step] = np.maximum(found, 0)
    return labels, distances


def assign(points: Points, centres: Matrix, chunk_rows: int) -> tuple[Labels, Matrix]:
    """`nearest` for rows that are fetched chunk by chunk."""
    found = [nearest(rows, centres) for rows in chunks(points, chunk_rows)]
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    return np.concatenate([labels for labels, _ in found]), np.concatenate([distances for _, distances in found])


def _pass(points: Points, clusters: int, settings: FitSettings, before: Fit | None) -> Fit:
    """One pass of mini-batches. Centres with weights count like as many rows in their places, so no more is kept."""
    number = len(before.inertia) if before else 0
    order = _shuffled(len(points), np.random.default_rng([settings.seed, number]))
    if before is None:
        start = _lloyd(points.take(order[: settings.chunk_rows]), clusters, settings, _START_ITERATIONS).centres
    else:
        start = before.centres
    model = MiniBatchKMeans(
        clusters, init=start, n_init=1, compute_labels=False, random_state=settings.seed, reassignment_ratio=0
    )
    weights = np.zeros(clusters) if before is None else before.weights.astype(np.float64)
    if before is not None:
        model.partial_fit(before.centres, sample_weight=before.weights)
    inertia, centres = 0.0, start
    for rows in chunks(points, settings.chunk_rows, order):
        labels, distances = nearest(rows, centres)
        weights += np.bincount(labels, minlength=clusters)
        inertia += float(distances.sum(dtype=np.float64))
        centres = model.partial_fit(rows).cluster_centers_
    history = (*(before.inertia if before else ()), inertia / len(points))
    return Fit(centres.astype(np.float32), weights.astype(np.float32), history)


def _shuffled(rows: int, rng: np.random.Generator) -> Index:
    """All row numbers, in shuffled blocks of neighbours."""
    blocks = rng.permutation(-(-rows // _BLOCK))
    order = (blocks[:, None] * _BLOCK + np.arange(_BLOCK)).ravel()
    return order[order < rows].astype(np.int64)


def _lloyd(rows: Matrix, clusters: int, settings: FitSettings, iterations: int) -> Fit:
    model = KMeans(clusters, n_init=settings.inits, max_iter=iterations, random_state=settings.seed, copy_x=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(rows)
        except ConvergenceWarning as error:
            raise ClusterError(f"{clusters} clusters need as many different rows ({error})") from error
    weights = np.bincount(model.labels_, minlength=clusters).astype(np.float32)
    return Fit(model.cluster_centers_.astype(np.float32), weights, (float(model.inertia_) / len(rows),))


def _in_memory(points: Points, clusters: int, settings: FitSettings) -> Fit:
    return _lloyd(points.take(np.arange(len(points))), clusters, settings, _IN_MEMORY_ITERATIONS)


def _by_faiss(points: Points, clusters: int, settings: FitSettings) -> Fit:
    import faiss  # noqa: PLC0415  # an extra

    sample = np.random.default_rng(settings.seed).permutation(len(points))[: _FAISS_ROWS_PER_CLUSTER * clusters]
    rows = points.take(np.sort(sample))
    model = faiss.Kmeans(
        rows.shape[1],
        clusters,
        niter=settings.passes,
        nredo=settings.inits,
        seed=settings.seed,
        min_points_per_centroid=1,
        max_points_per_centroid=_FAISS_ROWS_PER_CLUSTER,
    )
    model.train(rows)
    centres = np.asarray(model.centroids, np.float32).reshape(clusters, -1)
    labels, distances = nearest(rows, centres)
    weights = np.bincount(labels, minlength=clusters).astype(np.float32)
    return Fit(centres, weights, (float(distances.mean(dtype=np.float64)),))


_IN_MEMORY: dict[Engine, Callable[[Points, int, FitSettings], Fit]] = {"sklearn": _in_memory, "faiss": _by_faiss}


def _load(state: Path) -> Fit:
    found = load_arrays(state, "centres", "weights", "inertia")
    return Fit(found["centres"], found["weights"], tuple(found["inertia"].tolist()))
