"""Embeddings on disk: shards of rows read by memory map, an index of what is complete, ids and durations beside them.

They are larger than memory. Mapped pages count as memory of the process too, so a map lives as long as one read.
"""

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.errors import EmbeddingsError

INDEX_FILE = "index.json"
FORMAT = 1
Precision = Literal["float16", "float32"]
Stored = NDArray[np.float16 | np.float32]


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of rows.

    Attributes:
        rows: how many it holds.
        sha256: of the embeddings and of the table beside them.
    """

    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Index:
    """What a store holds.

    Attributes:
        dim: width of an embedding.
        dtype: as stored.
        shards: in the order of their rows.
    """

    dim: int
    dtype: Precision
    shards: tuple[Shard, ...] = ()

    def __post_init__(self) -> None:
        if self.dim < 1 or self.dtype not in get_args(Precision):
            raise ValueError(f"need dim >= 1 and float16 or float32, got dim={self.dim} dtype={self.dtype}")


def read_index(folder: Path) -> Index:
    """The index of a store.

    Raises:
        EmbeddingsError: there is none, or it is damaged.
    """
    path = folder / INDEX_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise EmbeddingsError(f"{path}: format {found['format']}, this version reads {FORMAT}")
        shards = tuple(Shard(int(shard["rows"]), str(shard["sha256"])) for shard in found["shards"])
        return Index(found["dim"], found["dtype"], shards)
    except OSError as error:
        raise EmbeddingsError(f"{path}: {error.strerror}; expected the index of an embedding store") from error
    except (ValueError, KeyError, TypeError) as error:
        raise EmbeddingsError(f"{path}: damaged, {type(error).__name__}: {error}") from error


class ShardedEmbeddings:
    """The rows of a store, read where they are asked for.

    Attributes:
        folder: of the store.
        ids: of each row, relative to the manifest's root.
        durations: [rows] of the whole files, in seconds.
        dim: width of an embedding.
        fingerprint: changes with any row.
    """

    def __init__(self, folder: Path) -> None:
        """Open a store and check that every shard is there and of the stated shape.

        Raises:
            EmbeddingsError: with the file at fault.
        """
        self.folder, self._index = folder, read_index(folder)
        self.dim = self._index.dim
        self._starts = np.cumsum([0, *(shard.rows for shard in self._index.shards)])
        table = [row for number in range(len(self._index.shards)) for row in self._table(number)]
        for number in range(len(self._index.shards)):
            self._map(number)
        self.ids = tuple(name for name, _ in table)
        self.durations = np.array([seconds for _, seconds in table], np.float32)
        told = "".join(shard.sha256 for shard in self._index.shards)
        self.fingerprint = hashlib.sha256(f"{self.dim} {self._index.dtype} {told}".encode()).hexdigest()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, index: ArrayLike) -> NDArray[np.float32]:
        """Rows in the order asked for, [n, dim].

        Args:
            index: [n] integers in [0, len(self)).

        Raises:
            EmbeddingsError: a row is not finite; the message names file, row and clip.
        """
        wanted = row_numbers(index, len(self))
        out = np.empty((len(wanted), self.dim), np.float32)
        shard = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(shard):
            mine = shard == number
            out[mine] = self._map(int(number))[wanted[mine] - self._starts[number]]
        if bad := not_finite(out):
            row = int(wanted[bad[0]])
            number = int(shard[bad[0]])
            path, place = shard_path(self.folder, number), row - int(self._starts[number])
            raise EmbeddingsError(
                f"{path}: row {place} ({self.ids[row]}) holds NaN or infinity; extract again into another folder"
            )
        return out

    def verify(self) -> None:
        """Compare every shard with its checksum.

        Raises:
            EmbeddingsError: with the file that was altered.
        """
        for number, shard in enumerate(self._index.shards):
            table = table_path(self.folder, number)
            if digest_of(self._map(number), table.read_bytes()) != shard.sha256:
                raise EmbeddingsError(f"{shard_path(self.folder, number)}: it or {table.name} was altered")

    def _map(self, number: int) -> Stored:
        path, index = shard_path(self.folder, number), self._index
        expected = (index.shards[number].rows, index.dim)
        try:
            found: Stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise EmbeddingsError(f"{path}: missing, but {INDEX_FILE} lists it") from error
        except (OSError, ValueError) as error:
            raise EmbeddingsError(f"{path}: damaged, {error}") from error
        if found.shape != expected or found.dtype != index.dtype:
            told = f"{index.dtype} {list(expected)}, found {found.dtype} {list(found.shape)}"
            raise EmbeddingsError(f"{path}: expected {told}")
        return found

    def _table(self, number: int) -> list[tuple[str, float]]:
        path, expected = table_path(self.folder, number), self._index.shards[number].rows
        try:
            with path.open(encoding="utf-8", newline="") as file:
                found = [(row["id"], float(row["duration"])) for row in csv.DictReader(file)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EmbeddingsError(f"{path}: missing or damaged, {type(error).__name__}: {error}") from error
        if len(found) != expected:
            raise EmbeddingsError(f"{path}: expected {expected} rows, found {len(found)}")
        return found


def shard_path(folder: Path, number: int) -> Path:
    """Where the rows of a shard are."""
    return folder / f"shard-{number:05d}.npy"


def table_path(folder: Path, number: int) -> Path:
    """Where ids and durations of a shard's rows are."""
    return folder / f"shard-{number:05d}.csv"


def row_numbers(index: ArrayLike, rows: int) -> NDArray[np.int64]:
    """Row numbers as an array, refused where there is no such row."""
    wanted = np.atleast_1d(np.asarray(index, np.int64))
    if wanted.ndim != 1 or (len(wanted) and not 0 <= wanted.min() <= wanted.max() < rows):
        raise IndexError(f"need row numbers [n] in [0, {rows}), got shape {wanted.shape}")
    return wanted


def not_finite(rows: NDArray[np.float32]) -> list[int]:
    """Which of [n, dim] hold NaN or infinity: a sum finds them without a mask of the size of all."""
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = np.flatnonzero(~np.isfinite(rows.sum(axis=1)))
    return [int(i) for i in suspect if not np.isfinite(rows[i]).all()]


def digest_of(rows: Stored, table: bytes) -> str:
    """Checksum of a shard."""
    digest = hashlib.sha256(np.ascontiguousarray(rows).data)
    digest.update(table)
    return digest.hexdigest()
