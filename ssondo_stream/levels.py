"""The level of each column, measured beside the mel so that a detector can tell a loud sound from a faint one."""

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.types import Samples

FLOOR_DBFS = -120.0


class ColumnLevels:
    """Sums the power of samples column by column.

    State is the power of the columns that may still be asked for, and of the one that is not complete.
    """

    def __init__(self, column: int) -> None:
        self._column = column
        self.reset(0)

    def reset(self, lead: int) -> None:
        """Begin again; the first column already lacks its first `lead` samples."""
        self._first = 0
        self._power: list[float] = []
        self._sum = 0.0
        self._filled = lead
        self._heard = 0

    def push(self, samples: Samples) -> None:
        """Take samples [n]."""
        while len(samples):
            part = samples[: self._column - self._filled]
            samples = samples[len(part) :]
            self._sum += float(np.dot(part, part))
            self._heard += len(part)
            self._filled += len(part)
            if self._filled == self._column:
                self._power.append(self._sum / max(1, self._heard))
                self._sum, self._filled, self._heard = 0.0, 0, 0

    def read(self, first: int, stop: int) -> NDArray[np.float32]:
        """Levels in dBFS (0 is the power of full-scale DC) of columns first to stop; earlier ones are forgotten."""
        del self._power[: first - self._first]
        self._first = first
        power = np.array(self._power[: stop - first])
        return np.asarray(np.maximum(FLOOR_DBFS, 10 * np.log10(np.maximum(power, 1e-30))), np.float32)
