"""The hand-over from a thread that captures to the loop that reads.

The thread may be a sound library's callback, so it only copies into a ring and wakes the loop; whatever the reader
does, it neither waits nor grows. What arrives is counted against the clock, because devices lose audio in silence.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from monitor.clock import Clock
from monitor.errors import CaptureError
from monitor.ring import RingBuffer
from monitor.sources.loss import LossMeter
from ssondo_stream.types import AudioBlock, Samples

RING_SECONDS = 30
MIN_BLOCK_SECONDS = 0.05
MAX_BLOCK_SECONDS = 0.5
AHEAD_SECONDS = 10.0
"""A stream that is further ahead of the clock is a recording; live ones send what they have, and then go with it."""


class Feed:
    """One opening of a source: samples from one thread, blocks to one coroutine.

    The thread calls `open`, then `write` any number of times, then `fail`.

    Attributes:
        sample_rate: in Hz, from `open` on.
        gap_reason: why the newest block that began late did so: an `overrun`, or audio `lost` before it came here.
    """

    def __init__(self, clock: Clock) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._failure: CaptureError | None = None
        self._ring = RingBuffer(1)
        self._cursor = 0
        self._losses = LossMeter(clock)
        self._clock = clock
        self._opened_at = 0.0
        self.sample_rate = 0
        self.gap_reason = "lost"

    @property
    def arrived(self) -> int:
        """Index one past the newest sample, read or not."""
        return self._ring.end + self._losses.lost

    @property
    def crowded(self) -> bool:
        """Whether a thread that can wait should: the reader is far behind, and nothing is lost by waiting.

        A live stream must not wait, or its backlog grows at the other end.
        """
        elapsed = self._clock.monotonic() - self._opened_at
        ahead = self._ring.end > (elapsed + AHEAD_SECONDS) * self.sample_rate
        return ahead and self._ring.end - self._cursor > self._ring.capacity // 2

    def open(self, sample_rate: int) -> None:
        """From the thread: audio of this rate will follow."""
        self._ring = RingBuffer(RING_SECONDS * sample_rate)
        self._opened_at = self._clock.monotonic()
        self.sample_rate = sample_rate

    def close(self) -> None:
        """Nobody reads any more: let go of the samples, though a library may hold on to the feed for a while."""
        self._ring = RingBuffer(1)

    def write(self, samples: Samples) -> None:
        """From the thread: append samples [n]."""
        self._ring.write(samples)
        self._poke()

    def fail(self, failure: CaptureError) -> None:
        """From the thread: no more audio will come; the first failure counts."""
        self._failure = self._failure or failure
        self._poke()

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        """Yield what was written, in blocks of 0.05 to 0.5 s.

        A reader that fell behind by more than the ring goes on with the newest: it loses all in one piece, rather
        than a little at every block, and does not tell of what is long past.

        Raises:
            CaptureError: as given to `fail`, after all that was written before it.
        """
        while True:
            await self._enough()
            block = self._ring.read(self._cursor, self._cursor + int(MAX_BLOCK_SECONDS * self.sample_rate))
            if block.start > self._cursor:
                self._cursor = self._ring.end - int(MAX_BLOCK_SECONDS * self.sample_rate)
                self.gap_reason = "overrun"
                continue
            self._cursor = block.end
            if self._losses.observe(self._ring.end, self.sample_rate):
                self.gap_reason = "lost"
            yield AudioBlock(block.start + self._losses.lost, block.samples)

    async def _enough(self) -> None:
        while True:
            self._wake.clear()
            failure = self._failure
            unread = self._ring.end - self._cursor
            if unread and (failure or unread >= MIN_BLOCK_SECONDS * self.sample_rate):
                return
            if failure:
                raise failure
            await self._wake.wait()

    def _poke(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._wake.set)
