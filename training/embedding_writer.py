"""Appends embeddings to a store, a shard at a time.

A shard counts once the index lists it, and the index is replaced in one step; so a writer may be killed at any moment,
and what it had finished is all there.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.embedding_store import (
    FORMAT,
    INDEX_FILE,
    Index,
    Precision,
    Shard,
    ShardedEmbeddings,
    Stored,
    digest_of,
    read_index,
    shard_path,
    table_path,
)
from training.errors import EmbeddingsError, StorageError
from training.files import discard, make_folder, write_array, write_json, write_text


@dataclass(slots=True)
class EmbeddingsWriter:
    """Appends rows to a store, a shard at a time, and goes on where an earlier writer was stopped.

    State is the index and the rows of the shard that is not full yet. Leaving the context writes those too, also after
    an error, unless it was the disk.

    Attributes:
        folder: the store's.
        dim: width of the embeddings to come.
        dtype: to store; float16 halves the space and is refused where a value does not fit.
        shard_rows: rows of a full shard; as many are lost at most when the process is killed.
        stored: ids of the rows that earlier writers finished and this one took.
    """

    folder: Path
    dim: int
    dtype: Precision = "float16"
    shard_rows: int = 1024
    stored: set[str] = field(init=False, default_factory=set)
    _index: Index = field(init=False)
    _waiting: list[tuple[str, float, Stored]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """Open or begin the store, and discard what no index lists.

        Raises:
            EmbeddingsError: the store is damaged, or of another width or type.
            StorageError: the folder cannot be written.
        """
        if self.shard_rows < 1:
            raise ValueError(f"need shard_rows >= 1, got {self.shard_rows}")
        self._index = Index(self.dim, self.dtype)
        make_folder(self.folder)
        if (self.folder / INDEX_FILE).exists():
            self._index = self._continued()
        listed = {path(self.folder, i) for i in range(len(self._index.shards)) for path in (shard_path, table_path)}
        discard(path for path in self.folder.glob("shard-*") if path not in listed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, StorageError):
            self.flush()

    def add(self, ids: Sequence[str], durations: Sequence[float], embeddings: NDArray[np.float32]) -> None:
        """Take rows; a full shard is written at once.

        Args:
            ids: [n] new names, relative to the manifest's root.
            durations: [n] seconds.
            embeddings: [n, dim].

        Raises:
            EmbeddingsError: another width, or a value that is not finite as stored; the rows before it are kept.
            StorageError: the disk is full; the shards before stay usable.
        """
        if embeddings.shape != (len(ids), self.dim):
            raise EmbeddingsError(
                f"{self.folder}: expected embeddings of [{len(ids)}, {self.dim}], got {list(embeddings.shape)}"
            )
        with np.errstate(over="ignore"):
            stored = embeddings.astype(self.dtype)
        for name, seconds, row, given in zip(ids, durations, stored, embeddings, strict=True):
            if not np.isfinite(row).all():
                told = f"{self.folder}: the embedding of {name} is not finite as {self.dtype}"
                raise EmbeddingsError(f"{told}: {_remedy(given)}")
            if name in self.stored:
                raise ValueError(f"{name} is stored already")
            self._waiting.append((name, seconds, row))
            self.stored.add(name)
            if len(self._waiting) == self.shard_rows:
                self.flush()

    def flush(self) -> None:
        """Write the rows that wait, as a shard of their own."""
        if not self._waiting:
            return
        number = len(self._index.shards)
        rows: Stored = np.stack([row for _, _, row in self._waiting])
        table = _as_table(self._waiting)
        write_array(shard_path(self.folder, number), rows)
        write_text(table_path(self.folder, number), table)
        listed = Index(self.dim, self.dtype, (*self._index.shards, Shard(len(rows), digest_of(rows, table.encode()))))
        write_json(self.folder / INDEX_FILE, {"format": FORMAT, **asdict(listed)})
        self._index, self._waiting = listed, []

    def _continued(self) -> Index:
        found = read_index(self.folder)
        if (found.dim, found.dtype) != (self.dim, self.dtype):
            raise EmbeddingsError(
                f"{self.folder}: holds {found.dtype} of width {found.dim}, to come are {self.dtype} of width {self.dim}"
            )
        self.stored = set(ShardedEmbeddings(self.folder).ids)
        return found


def _remedy(given: NDArray[np.float32]) -> str:
    """What to do about an embedding that cannot be stored; the teacher would give it again."""
    if np.isfinite(given).all():
        return "extract with --dtype float32 into another folder"
    return "the teacher gave NaN or infinity"


def _as_table(rows: Sequence[tuple[str, float, Stored]]) -> str:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("id", "duration"))
    table.writerows((name, f"{seconds:.3f}") for name, seconds, _ in rows)
    return text.getvalue()
