"""From the frames that a device gives to the mono samples that we analyse: one place for channel, gain and repair.

A broken driver or a float stream may carry NaN or infinities, and one of them would poison all that is computed later.
"""

import logging

import numpy as np
from numpy.typing import NDArray

from monitor.config import SourceBase
from monitor.errors import CaptureError
from ssondo_stream.types import Samples

log = logging.getLogger(__name__)

ABSURD = 1e9
"""No sample of sound is a billion times full scale: such values are repaired as infinities are."""


class Shaper:
    """Picks or mixes the channels of one source, repairs its samples and applies its gain.

    Attributes:
        repaired: values that were NaN, infinite or absurd and became 0.
    """

    def __init__(self, settings: SourceBase, channels: int) -> None:
        self._channel = check_channel(settings, channels)
        self._gain = np.float32(10 ** (settings.gain_db / 20))
        self._name = settings.name
        self.repaired = 0

    def __call__(self, frames: NDArray[np.float32]) -> Samples:
        """Shape frames [n, channels] into mono samples [n]."""
        frames = self._repair(frames)
        mono = frames.mean(axis=1) if self._channel is None else frames[:, self._channel]
        return np.ascontiguousarray(mono * self._gain, np.float32)

    def _repair(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        sound = np.abs(frames) <= ABSURD
        if sound.all():
            return frames
        if not self.repaired:
            log.warning("values that are no sound replaced by zero", extra={"fields": {"source": self._name}})
        self.repaired += int(frames.size - np.count_nonzero(sound))
        return np.where(sound, frames, np.float32(0))


def check_channel(settings: SourceBase, channels: int) -> int | None:
    """The index of the channel to pick, or None to mix them all.

    Raises:
        CaptureError: the source has fewer channels than that.
    """
    if settings.channel == "mix":
        return None
    if settings.channel >= channels:
        raise CaptureError(
            f"channel {settings.channel} was asked for, but source {settings.name} has only {channels}, "
            f"counted from 0: set channel to 0..{channels - 1} or to 'mix'"
        )
    return settings.channel
