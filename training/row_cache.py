"""Rows kept on disk while a step runs, for what is slow to make and needed again and again.

The file has no name and a size that is set before anything is written: it is gone with the process however that ends,
and a full disk shows at the start.
"""

import os
import tempfile
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import StorageError
from training.files import make_folder

_FLOAT = np.dtype(np.float32).itemsize


class RowCache:
    """The first so many of a number of float32 arrays of one shape; several threads may use it at a time.

    State is the file, and which rows have been written.

    Args:
        rows: that there are.
        shape: of each.
        limit: bytes of the file at most; rows beyond it are never kept.
        folder: on the disk to use.

    Raises:
        StorageError: the disk has no room for it.
    """

    def __init__(self, rows: int, shape: tuple[int, ...], limit: float, folder: Path) -> None:
        self.kept = kept_rows(rows, shape, limit)
        self._there = np.zeros(self.kept, np.bool_)
        self._rows = _mapped((self.kept, *shape), folder) if self.kept else np.empty((0, *shape), np.float32)

    def get(self, row: int) -> NDArray[np.float32] | None:
        """A copy of the row, if it was put here."""
        return self._rows[row].copy() if row < self.kept and self._there[row] else None

    def put(self, row: int, array: NDArray[np.float32]) -> None:
        """Keep the row, if it is among those that are kept."""
        if row < self.kept:
            self._rows[row] = array
            self._there[row] = True  # last, for a reader in another thread


def kept_rows(rows: int, shape: tuple[int, ...], limit: float) -> int:
    """How many rows a cache of this size keeps."""
    return min(rows, int(limit // max(1, prod(shape) * _FLOAT)))


def _mapped(shape: tuple[int, ...], folder: Path) -> NDArray[np.float32]:
    make_folder(folder)
    size = prod(shape) * _FLOAT
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a write to a hole of a full disk would kill the process
            return np.memmap(file, np.float32, mode="r+", shape=shape)
    except OSError as error:
        raise StorageError(
            f"{folder}: no room for a cache of {size / 2**30:.1f} GiB ({error.strerror}); make room, or lower cache_gib"
        ) from error
