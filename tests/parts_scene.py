"""A sound scene in which a smoke alarm begins."""

import numpy as np

from ssondo_stream.types import Samples
from training.alarms import temporal_three

RATE = 32_000


def alarm_scene(before: float = 3.0, after: float = 14.0, cycles: int = 2) -> Samples:
    """Faint noise with a smoke alarm that begins after so many seconds."""
    alarm = temporal_three(3100.0, cycles=cycles) * 0.1
    audio = np.random.default_rng(0).normal(0, 0.003, int((before + after) * RATE) + len(alarm)).astype(np.float32)
    audio[int(before * RATE) :][: len(alarm)] += alarm
    return audio
