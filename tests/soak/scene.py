"""What is to be heard: faint noise with a smoke alarm somewhere in each minute, known in advance.

Every sample follows from seed and index alone, so that a source which died goes on as if it had never been away.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ssondo_stream.types import Samples
from training.alarms import temporal_three

RATE = 32_000
SLOT_SECONDS = 60
_NOISE_SECONDS = 16
_LOUDNESS = 0.1
_NOISE = 0.003


@dataclass(frozen=True, slots=True)
class Alarm:
    """A smoke alarm, in seconds since the scene began."""

    start: float
    end: float


class Scene:
    """An endless recording."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._noise = np.random.default_rng(seed).normal(0, _NOISE, _NOISE_SECONDS * RATE).astype(np.float32)

    def read(self, start: int, stop: int) -> Samples:
        """Samples [stop - start]."""
        samples = self._noise[np.arange(start, stop) % len(self._noise)]
        for slot in range(start // (SLOT_SECONDS * RATE), stop // (SLOT_SECONDS * RATE) + 1):
            begin, alarm = _alarm(self._seed, slot)
            first, last = max(start, begin), min(stop, begin + len(alarm))
            if first < last:
                samples[first - start : last - start] += alarm[first - begin : last - begin]
        return samples

    def alarms(self, start: float, stop: float) -> Iterator[Alarm]:
        """Those that lie within so many seconds since the beginning."""
        for slot in range(int(start // SLOT_SECONDS), int(stop // SLOT_SECONDS) + 1):
            begin, alarm = _alarm(self._seed, slot)
            found = Alarm(begin / RATE, (begin + len(alarm)) / RATE)
            if start <= found.start and found.end <= stop:
                yield found


@lru_cache(maxsize=8)
def _alarm(seed: int, slot: int) -> tuple[int, Samples]:
    """Where the alarm of a slot begins, and its samples."""
    random = np.random.default_rng((seed, slot))
    begin = slot * SLOT_SECONDS + random.uniform(5, 30)
    alarm = temporal_three(random.uniform(2900, 3300), cycles=int(random.integers(2, 4)))
    return round(begin * RATE), alarm * np.float32(_LOUDNESS)
