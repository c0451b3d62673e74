"""Embeddings of many clips, whichever way they are stored.

The steps after the extraction ask for rows by number and never hold all of them.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.embedding_npz import NpzEmbeddings
from training.embedding_store import INDEX_FILE, Precision, ShardedEmbeddings
from training.embedding_writer import EmbeddingsWriter
from training.errors import EmbeddingsError

__all__ = [
    "Embeddings",
    "EmbeddingsWriter",
    "NpzEmbeddings",
    "Precision",
    "ShardedEmbeddings",
    "blocks",
    "check_embeddings",
    "open_embeddings",
    "rows_of",
]


class Embeddings(Protocol):
    """Rows of embeddings, each of a clip."""

    @property
    def folder(self) -> Path:
        """Where they are."""

    @property
    def ids(self) -> Sequence[str]:
        """Name of each row's clip."""

    @property
    def durations(self) -> NDArray[np.float32]:
        """[rows] seconds, NaN where unknown."""

    @property
    def dim(self) -> int:
        """Width of an embedding."""

    @property
    def fingerprint(self) -> str:
        """Changes with what is stored."""

    def __len__(self) -> int: ...

    def rows(self, index: ArrayLike) -> NDArray[np.float32]:
        """Rows in the order asked for, [n, dim]; EmbeddingsError where one is not finite."""

    def verify(self) -> None:
        """Compare with checksums, where there are any."""


def open_embeddings(path: Path) -> Embeddings:
    """Embeddings of either layout: a store with its index, or a folder of `.npz`.

    Raises:
        EmbeddingsError: it is neither, or what it holds is damaged.
    """
    if not path.is_dir():
        raise EmbeddingsError(f"{path}: expected a folder of embeddings, found {'a file' if path.exists() else 'none'}")
    return ShardedEmbeddings(path) if (path / INDEX_FILE).exists() else NpzEmbeddings(path)


def blocks(embeddings: Embeddings, rows: ArrayLike | None = None, size: int = 4096) -> Iterator[NDArray[np.float32]]:
    """Rows in their order, [at most size, dim] at a time; all rows if none are named."""
    wanted = np.arange(len(embeddings)) if rows is None else np.asarray(rows, np.int64)
    for start in range(0, len(wanted), size):
        yield embeddings.rows(wanted[start : start + size])


def check_embeddings(embeddings: Embeddings) -> None:
    """Read everything once.

    Raises:
        EmbeddingsError: a row is not finite, of another width, or was altered; two rows have one name.
    """
    if len(set(embeddings.ids)) != len(embeddings):
        twice = next(name for name, count in Counter(embeddings.ids).items() if count > 1)
        raise EmbeddingsError(f"{twice}: two rows have this name")
    embeddings.verify()
    for _ in blocks(embeddings):
        pass


def rows_of(embeddings: Embeddings, ids: Sequence[str], *, skip_missing: bool = False) -> NDArray[np.int64]:
    """Row number of each clip, [n].

    The published layout names clips by basename without suffix; such a name is found by that of the clip, if only one
    clip has it.

    Args:
        embeddings: with those clips.
        ids: names of clips.
        skip_missing: leave out clips without a row, such as those that the extraction skipped.

    Raises:
        EmbeddingsError: a clip has no row, or two clips would share one.
    """
    place = {name: row for row, name in enumerate(embeddings.ids)}
    by_clip = {name: place.get(name, place.get(Path(name).stem, -1)) for name in ids}
    missing = [name for name, row in by_clip.items() if row < 0]
    if missing and not skip_missing:
        raise EmbeddingsError(f"{len(missing)} of {len(ids)} clips have no embedding; the first is {missing[0]}")
    found = [row for row in by_clip.values() if row >= 0]
    if len(set(found)) != len(found):
        raise EmbeddingsError("clips of one basename in several folders cannot be told apart in this layout")
    return np.array([by_clip[name] for name in ids if by_clip[name] >= 0], np.int64)
