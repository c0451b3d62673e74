"""A feature map that slides along a stream: columns are written at its end, read anywhere, and let go of at its start.

Columns have absolute indices, so that what was computed for one window is found again for the next. They lie in a
ring, so that sliding moves nothing.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


class SlidingMap:
    """Columns `first` to `end` of an endless map.

    State is the ring, in which column i lies at i modulo its length, and which columns it holds.

    Args:
        axis: of time in the arrays written and read.
        capacity: columns that it is expected to hold; it grows if it must.
    """

    def __init__(self, axis: int, capacity: int = 1) -> None:
        self.axis = axis
        self._capacity = capacity
        self._ring: NDArray[np.float32] | None = None
        self.first = 0
        self.end = 0

    def reset(self) -> None:
        """Forget all columns; the next one written is column 0."""
        self.first = self.end = 0

    def read(self, start: int, stop: int) -> list[NDArray[np.float32]]:
        """Columns `start` to `stop`, which must be held, as views that follow each other."""
        if not self.first <= start <= stop <= self.end:
            raise ValueError(f"need {self.first} <= start <= stop <= {self.end}, got {start} and {stop}")
        return [] if self._ring is None else [self._ring[where] for where in self._places(start, stop)]

    def write(self, start: int, columns: NDArray[np.float32]) -> None:
        """Replace columns from `start` on, and extend the map where they go beyond; beyond a hole it begins anew."""
        if start < self.first:
            raise ValueError(f"need start >= {self.first}, got {start}")
        if start > self.end:
            self.first = self.end = start
        stop = start + columns.shape[self.axis]
        self._put(self._roomy(max(stop, self.end) - self.first, columns), start, columns)
        self.end = max(self.end, stop)

    def forget(self, before: int) -> None:
        """Let go of the columns before this one."""
        self.first = min(max(before, self.first), self.end)

    def _places(self, start: int, stop: int) -> Iterator[tuple[slice, ...]]:
        """Where in the ring these columns lie, in order: in one piece, or in two around its end."""
        while start < stop:
            at = start % self._capacity
            length = min(stop - start, self._capacity - at)
            yield self._along(at, at + length)
            start += length

    def _along(self, start: int, stop: int) -> tuple[slice, ...]:
        return (*[slice(None)] * self.axis, slice(start, stop))

    def _roomy(self, columns: int, like: NDArray[np.float32]) -> NDArray[np.float32]:
        """The ring, or a longer one with the same columns if so many do not fit."""
        if self._ring is not None and columns <= self._capacity:
            return self._ring
        held = self.read(self.first, self.end)
        self._capacity = max(columns, self._capacity)
        shape = list(like.shape)
        shape[self.axis] = self._capacity
        self._ring = np.empty(shape, np.float32)
        if held:
            self._put(self._ring, self.first, np.concatenate(held, axis=self.axis))
        return self._ring

    def _put(self, ring: NDArray[np.float32], start: int, columns: NDArray[np.float32]) -> None:
        done = 0
        for where in self._places(start, start + columns.shape[self.axis]):
            length = ring[where].shape[self.axis]
            ring[where] = columns[self._along(done, done + length)]
            done += length
