"""What is clustered: rows that are fetched a chunk at a time, and prepared as they come.

Neither k-means nor its levels need to know whether rows lie on disk or in memory, normalised or projected.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import IncrementalPCA

from training.embeddings import Embeddings
from training.errors import ClusterError
from training.files import write_file

Matrix = NDArray[np.float32]
Index = NDArray[np.int64]

_PCA_ROWS = 16_384
_PCA_CHUNK = 1024


class Points(Protocol):
    """Rows to cluster."""

    def __len__(self) -> int: ...

    def take(self, index: Index) -> Matrix:
        """Rows [n, d], contiguous and the caller's own."""


@dataclass(frozen=True, slots=True)
class ArrayPoints:
    """Rows in memory, [n, d]."""

    array: Matrix

    def __len__(self) -> int:
        return len(self.array)

    def take(self, index: Index) -> Matrix:
        """Rows [n, d]."""
        return self.array[index]


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of the rows, numbered anew."""

    points: Points
    index: Index

    def __len__(self) -> int:
        return len(self.index)

    def take(self, index: Index) -> Matrix:
        """Rows [n, d]."""
        return self.points.take(self.index[index])


@dataclass(frozen=True, slots=True)
class Projection:
    """A principal component analysis: x -> (x - mean) @ components.T.

    Attributes:
        mean: [dim].
        components: [d, dim].
    """

    mean: Matrix
    components: Matrix

    def __call__(self, rows: Matrix) -> Matrix:
        """Project [n, dim] to [n, d]."""
        return np.asarray((rows - self.mean) @ self.components.T, np.float32)


@dataclass(frozen=True, slots=True)
class EmbeddingPoints:
    """Embeddings, brought to length 1 if wanted, then projected if wanted."""

    embeddings: Embeddings
    normalise: bool = False
    projection: Projection | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    def take(self, index: Index) -> Matrix:
        """Rows [n, d]; an embedding of zeros stays zeros."""
        rows = self.embeddings.rows(index)
        if self.normalise:
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return rows if self.projection is None else self.projection(rows)


def chunks(points: Points, size: int, order: Index | None = None) -> Iterator[Matrix]:
    """All rows, in this order if one is given, [at most size, d] at a time."""
    order = np.arange(len(points)) if order is None else order
    for start in range(0, len(order), size):
        yield points.take(order[start : start + size])


def fitted_projection(points: Points, components: int, seed: int, path: Path) -> Projection:
    """The principal components of a seeded sample of at most 16,384 rows, kept in a file once they are found.

    Args:
        points: all that may be looked at.
        components: how many, as `check_components` allows.
        seed: of the sample.
        path: of the file, `.npz`.
    """
    if path.exists():
        found = load_arrays(path, "mean", "components")
        return Projection(found["mean"], found["components"])
    sample = np.sort(np.random.default_rng(seed).permutation(len(points))[:_PCA_ROWS])
    pca = IncrementalPCA(components)
    parts = max(1, len(sample) // max(_PCA_CHUNK, components))
    for part in np.array_split(sample, parts):
        pca.partial_fit(points.take(part))
    projection = Projection(pca.mean_.astype(np.float32), pca.components_.astype(np.float32))
    save_arrays(path, mean=projection.mean, components=projection.components)
    return projection


def check_components(components: int, rows: int, dim: int) -> None:
    """Refuse more components than rows [rows, dim] can have.

    Raises:
        ClusterError: there are fewer rows, or numbers of a row, than components.
    """
    if min(rows, dim) < components:
        raise ClusterError(f"{components} components need as many rows and dimensions, there are {rows} of {dim}")


def save_arrays(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write a `.npz` that is whole or absent."""
    write_file(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def load_arrays(path: Path, *names: str) -> dict[str, NDArray[np.float32]]:
    """Read these arrays of a `.npz`.

    Raises:
        ClusterError: the file is damaged or lacks one.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ClusterError(f"{path}: damaged, {error}; delete it and run the step again") from error
