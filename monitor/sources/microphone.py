"""A sound device as a source.

Drivers and sound servers fail quietly: callbacks stop, closing hangs, audio vanishes without a flag. So every call is
bounded in time, and what arrives is counted against the clock.
"""

import logging
from collections.abc import AsyncGenerator

import numpy as np
from numpy.typing import NDArray

from monitor.clock import Clock
from monitor.config import MicrophoneSettings
from monitor.errors import CaptureError
from monitor.sources.daemon import Hand
from monitor.sources.devices import Device, InputStream, find_device, leave_behind, refresh
from monitor.sources.feed import Feed
from monitor.sources.shaping import Shaper, check_channel
from ssondo_stream.types import AudioBlock

CLOSE_SECONDS = 1.0
VIRTUAL_CHANNELS = 16
"""Devices that claim more are sound servers, which mix down by themselves when asked for one channel."""

log = logging.getLogger(__name__)


class MicrophoneSource:
    """A device's audio at its own rate; see `AudioSource` for the attributes.

    State is the thread that talks to the sound system, and whether the device was ever opened.
    """

    live = True
    waits = False
    open_seconds = 5.0

    def __init__(self, settings: MicrophoneSettings, clock: Clock) -> None:
        self.name = settings.name
        self.sample_rate = settings.sample_rate or 0
        self.arrived = 0
        self.gap_reason = "lost"
        self._settings = settings
        self._clock = clock
        self._hand = Hand(settings.name, leave_behind)
        self._opened = False

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        """Yield the device's audio until it is gone.

        Raises:
            CaptureError: there is no such device, it is busy or refuses the rate, or it has stopped.
        """
        feed = Feed(self._clock)
        opening = _Opening(self._settings, feed, again=self._opened)
        self._opened = True
        stream = await self._hand.call(opening.run, self.open_seconds, InputStream.close)
        try:
            async for block in feed.blocks():
                self.sample_rate, self.arrived, self.gap_reason = feed.sample_rate, feed.arrived, feed.gap_reason
                yield block
        finally:
            if opening.overflows:
                log.warning(
                    "sound device overflowed", extra={"fields": {"source": self.name, "times": opening.overflows}}
                )
            feed.close()
            await self._close(stream)

    async def _close(self, stream: InputStream) -> None:
        try:
            await self._hand.call(stream.close, CLOSE_SECONDS)
        except CaptureError:
            log.warning("closing a sound device hangs, left behind", extra={"fields": {"source": self.name}})


class _Opening:
    """Finds and starts the device, on the thread of the `Hand`."""

    def __init__(self, settings: MicrophoneSettings, feed: Feed, again: bool) -> None:
        self._settings = settings
        self._feed = feed
        self._again = again
        self.overflows = 0

    def run(self) -> InputStream:
        if self._again:
            refresh()
        device = find_device(self._settings.device)
        channels = _channels(self._settings, device)
        rate = self._settings.sample_rate or device.sample_rate
        shape = Shaper(self._settings, channels)
        self._feed.open(rate)

        def hear(frames: NDArray[np.float32], overflow: bool) -> None:
            self._feed.write(shape(frames))
            self.overflows += overflow

        gone = CaptureError(f"sound device {device.name!r} has stopped: it was unplugged, or its server ended")
        return InputStream(
            device,
            channels=channels,
            sample_rate=rate,
            latency_seconds=self._settings.latency_seconds,
            on_frames=hear,
            on_stop=lambda: self._feed.fail(gone),
        )


def _channels(settings: MicrophoneSettings, device: Device) -> int:
    picked = check_channel(settings, device.channels)
    if picked is not None:
        return picked + 1
    return device.channels if device.channels <= VIRTUAL_CHANNELS else 1
