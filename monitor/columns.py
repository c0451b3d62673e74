"""The mean score of each column over the windows that contain it.

A window's newest column has heard nothing of what follows and is the least reliable, so it counts only where no later
window came.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.types import Prediction

_LEVELS_KEPT = 512  # columns whose level is remembered, about four minutes


class ColumnMeans:
    """Sums the scores of overlapping windows on one grid of columns.

    State is the sums, counts and newest scores of the columns that a later window may still contain, [columns, labels].
    Columns are numbered on the grid of the first prediction, `start // column` being the number of the first.
    """

    def __init__(self, smooth: Sequence[int], gates: Sequence[float], settle: int) -> None:
        self._smooth = np.array(smooth)
        self._widths = [int(width) for width in np.unique(self._smooth) if width > 1]
        self._gates = np.array(gates, np.float32)
        self._settle = settle
        self._margin = int(self._smooth.max(initial=1)) // 2
        self._levels: dict[int, float] = {}
        self.column = 1
        self._origin = 0
        self.clear()

    def clear(self) -> None:
        """Forget all columns."""
        labels = len(self._smooth)
        self._first = 0  # number of the first column kept
        self._taken = 0  # number of the first column that was not taken as settled
        self._window = 0  # number of the first column of the newest window
        self._end: int | None = None  # sample at which the next prediction's newest column must begin, or later
        self._sums = np.zeros((0, labels), np.float32)
        self._counts = np.zeros(0, np.int32)
        self._newest = np.zeros(labels, np.float32)

    def follows(self, prediction: Prediction) -> bool:
        """Whether a prediction goes on where the last one stopped."""
        return self._end is None or (
            prediction.column == self.column
            and (prediction.start - self._origin) % self.column == 0
            and self.sample(self._window) <= prediction.start <= self._end < prediction.end
        )

    def add(self, prediction: Prediction) -> None:
        """Take the scores of one window."""
        if self._end is None:
            self._begin(prediction)
        self._window = (prediction.start - self._origin) // self.column
        self._end = prediction.end
        scores = self._gated(prediction)
        grown = self._window + len(scores) - self._first - len(self._sums)
        self._sums = np.concatenate((self._sums, np.zeros((grown, self._sums.shape[1]), np.float32)))
        self._counts = np.concatenate((self._counts, np.zeros(grown, np.int32)))
        offset = self._window - self._first
        self._sums[offset : offset + len(scores) - 1] += scores[:-1]
        self._counts[offset : offset + len(scores) - 1] += 1
        self._newest = scores[-1]

    def take_settled(self) -> tuple[int, NDArray[np.float32]]:
        """The columns that became final since the last call: number of the first, means [columns, labels]."""
        newest = self._first + len(self._sums)
        final = max(self._window, newest - self._settle) - self._margin
        return self._take(max(self._taken, final))

    def take_all(self) -> tuple[int, NDArray[np.float32]]:
        """All columns not taken yet, on what was heard of them."""
        return self._take(self._first + len(self._sums))

    def provisional(self, windows: int) -> tuple[int, NDArray[np.float32]]:
        """The columns not taken yet that at least so many windows scored: number of the first, means."""
        ready = int((self._counts >= windows).sum()) if len(self._counts) else 0
        last = max(self._taken, self._first + ready)
        return self._taken, self._means()[self._taken - self._first : last - self._first]

    def sample(self, position: float) -> int:
        """Sample index of a position on the grid, column 3 reaching from 3.0 to 4.0."""
        return self._origin + round(position * self.column)

    def level(self, first: int, last: int) -> float | None:
        """Level in dBFS of the loudest of these columns, as far as remembered."""
        known = [self._levels[i] for i in range(max(first, last - _LEVELS_KEPT), last + 1) if i in self._levels]
        return max(known, default=None)

    def _begin(self, prediction: Prediction) -> None:
        self.column = prediction.column
        self._origin = prediction.start % prediction.column
        self._first = self._taken = (prediction.start - self._origin) // prediction.column
        self._levels.clear()

    def _take(self, until: int) -> tuple[int, NDArray[np.float32]]:
        first = self._taken
        means = self._means()[first - self._first : until - self._first].copy()
        self._taken = until
        self._forget(min(until, self._window) - self._margin)
        return first, means

    def _forget(self, until: int) -> None:
        drop = until - self._first
        if drop > 0:
            self._sums, self._counts = self._sums[drop:], self._counts[drop:]
            self._first = until

    def _means(self) -> NDArray[np.float32]:
        means = np.divide(self._sums, np.maximum(self._counts, 1)[:, None], dtype=np.float32)
        if len(means) and not self._counts[-1]:
            means[-1] = self._newest
        for width in self._widths:
            labels = self._smooth == width
            means[:, labels] = _moving_mean(means[:, labels], width)
        return means

    def _gated(self, prediction: Prediction) -> NDArray[np.float32]:
        levels = prediction.levels
        if levels is None:
            return prediction.scores
        first = self._window
        self._levels.update(zip(range(first, first + len(levels)), levels.tolist(), strict=True))
        for old in range(first + len(levels) - _LEVELS_KEPT - len(levels), first + len(levels) - _LEVELS_KEPT):
            self._levels.pop(old, None)
        return np.where(levels[:, None] >= self._gates, prediction.scores, np.float32(0))


def _moving_mean(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Centred moving mean along columns [columns, labels], over what there is at the edges."""
    kernel = np.ones(width, np.float32)
    columns = slice((width - 1) // 2, (width - 1) // 2 + len(values))
    weight = np.convolve(np.ones(len(values), np.float32), kernel)[columns]
    sums = [np.convolve(series, kernel)[columns] / weight for series in values.T]
    return np.stack(sums, axis=1).astype(np.float32)
