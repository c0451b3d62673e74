"""Tells a signal that stands still from a quiet one.

A muted microphone or a lost device behind a sound server goes on delivering: zeros, or one constant value.
"""

import numpy as np

from ssondo_stream.types import Samples


class FlatlineWatch:
    """Watches for a constant value. State is the newest sample and how often it came in a row.

    Attributes:
        run: samples at the end of the signal that are all the same.
    """

    def __init__(self) -> None:
        self._last = np.float32(0)
        self.run = 0

    def push(self, samples: Samples) -> int:
        """Take in samples [n]; returns `run`."""
        if not len(samples):
            return self.run
        changes = np.flatnonzero(samples[1:] != samples[:-1])
        if len(changes):
            self.run = len(samples) - 1 - int(changes[-1])
        elif self.run and samples[0] == self._last:
            self.run += len(samples)
        else:
            self.run = len(samples)
        self._last = samples[-1]
        return self.run

    def reset(self) -> None:
        """Forget what was heard."""
        self.run = 0
