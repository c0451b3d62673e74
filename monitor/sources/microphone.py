"""A sound device as a source.

Drivers and sound servers fail quietly: callbacks stop, closing hangs, audio vanishes without a flag. So every call is
bounded in time, and what arrives is counted against the clock.
"""

import logging
from collections.abc import AsyncGenerator

import numpy as np
from numpy.typing import NDArray

from monitor.clock import Clock, DelayEnvelope
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
LOSS_SLOTS = 3
LOSS_SECONDS = 0.25
"""Sound servers change their latency by less than this."""

log = logging.getLogger(__name__)


class MicrophoneSource:
    """A device's audio at its own rate; see `AudioSource` for the attributes.

    State is the thread that talks to the sound system, and whether the last opening failed.
    """

    live = True
    open_seconds = 5.0

    def __init__(self, settings: MicrophoneSettings, clock: Clock) -> None:
        self.name = settings.name
        self.sample_rate = settings.sample_rate or 0
        self.arrived = 0
        self.gap_reason = "lost"
        self._settings = settings
        self._clock = clock
        self._hand = Hand(settings.name)
        self._lost_before = False

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        """Yield the device's audio until it is gone.

        Raises:
            CaptureError: there is no such device, it is busy or refuses the rate, or it has stopped.
        """
        feed, meter = Feed(), LossMeter(self._clock)
        opening = _Opening(self._settings, feed, fresh=self._lost_before)
        self._lost_before = True
        stream = await self._hand.call(opening.run, self.open_seconds, InputStream.close)
        try:
            self.sample_rate = feed.sample_rate
            end = 0
            async for block in feed.blocks():
                meter.observe(feed.end, feed.sample_rate)
                self.arrived = feed.end + meter.lost
                self.gap_reason = "overrun" if block.start > end else "lost"
                end = block.end
                yield AudioBlock(block.start + meter.lost, block.samples)
        finally:
            await self._close(stream)

    async def _close(self, stream: InputStream) -> None:
        try:
            await self._hand.call(stream.close, CLOSE_SECONDS)
        except CaptureError:
            leave_behind()
            log.warning("closing a sound device hangs, left behind", extra={"source": self.name})


class LossMeter:
    """Finds audio that a device lost without a word, by counting what arrives against the clock.

    State is the delay at which samples arrive: where even the promptest arrival of three seconds is later than all
    before, it is not jitter, and the samples in between are gone.

    Attributes:
        lost: samples found missing so far.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._delays = DelayEnvelope()
        self.lost = 0

    def observe(self, end: int, sample_rate: int) -> None:
        """Take note that `end` samples have arrived by now."""
        now = self._clock.monotonic()
        self._delays.observe(now, now - (end + self.lost) / sample_rate)
        excess = self._delays.excess(LOSS_SLOTS)
        if excess > LOSS_SECONDS:
            self.lost += round(excess * sample_rate)
            self._delays = DelayEnvelope()


class _Opening:
    """Finds and starts the device, on the thread of the `Hand`."""

    def __init__(self, settings: MicrophoneSettings, feed: Feed, fresh: bool) -> None:
        self._settings = settings
        self._feed = feed
        self._fresh = fresh

    def run(self) -> InputStream:
        if self._fresh:
            refresh()
        device = find_device(self._settings.device)
        channels = _channels(self._settings, device)
        rate = self._settings.sample_rate or device.sample_rate
        shape = Shaper(self._settings, channels)
        self._feed.open(rate)

        def hear(frames: NDArray[np.float32], overflow: bool) -> None:
            self._feed.write(shape(frames))

        gone = CaptureError(f"source {self._settings.name}: {device.name!r} stopped, unplugged or without its server")
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
