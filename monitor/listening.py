"""Listens to one source for years: opens it, watches it, opens it again, and accounts for every second.

Nothing heard is not the same as not listening, so a source is up only while its samples arrive, and what was missed
is counted with a reason.
"""

import asyncio
import logging
import random as _random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from monitor.account import Account
from monitor.backoff import Backoff
from monitor.clock import Clock, SampleClock
from monitor.config import DemoSettings, FileSettings, SourceSettings
from monitor.errors import CaptureError
from monitor.flatline import FlatlineWatch
from monitor.sources import AudioSource, open_source
from ssondo_stream.types import AudioBlock

log = logging.getLogger(__name__)

BACKOFF_SECONDS = 0.2
BACKOFF_CAP_SECONDS = 2.5
"""With the time that opening and a first prediction take, a device that returns is ready within five seconds."""
STEADY_SECONDS = 5.0
"""A source that was heard for so long is opened again without delay."""
MARGIN_SECONDS = 1.0
"""What an outage's account leaves open until its end, because what comes first reaches back into it."""


@dataclass(frozen=True, slots=True)
class Interruption:
    """The source was lost: what was going on has ended, as far as we know.

    Attributes:
        reason: one line for people.
    """

    reason: str


class SourceObserver(Protocol):
    """Is told how listening goes."""

    def captured(self, seconds: float) -> None:
        """So much audio was heard."""

    def gap(self, seconds: float, reason: str) -> None:
        """So much was not: `outage`, `lost` by the device, or an `overrun` because we fell behind."""

    def retried(self) -> None:
        """An attempt to hear the source has failed."""

    def restarted(self) -> None:
        """The source was lost and is heard again."""

    def state(self, up: bool, flat: bool, detail: str) -> None:
        """The state has changed: audio arrives, it is constant, and what is wrong."""


class Listener:
    """Blocks of one source for as long as it lasts. State is the account of what was heard, missed and told.

    Time runs on over an outage: the next block starts later by as many samples as were missed, so that the samples
    captured and those in gaps together are the index reached (see `Account`). After an outage the source may come back
    with another sample rate; indices then go on in the new rate. So look at `sample_rate` and `clock` again with the
    first block after an `Interruption`; between interruptions they stay.

    Attributes:
        sample_rate: in Hz, of the block yielded last.
        clock: dates for that block's indices.
    """

    def __init__(
        self,
        settings: SourceSettings,
        clock: Clock,
        observer: SourceObserver,
        *,
        opener: Callable[[SourceSettings, Clock], AudioSource] = open_source,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self.sample_rate = 0
        self.clock = SampleClock(1, clock)
        self._settings = settings
        self._now = clock
        self._observer = observer
        self._opener = opener
        self._backoff = Backoff(BACKOFF_SECONDS, BACKOFF_CAP_SECONDS, random)
        self._account = Account(clock, observer.gap)
        self._heard = 0.0
        self._opened = self._lost = False
        self._flatline = FlatlineWatch()
        self._told: tuple[bool, bool, str] | None = None

    async def blocks(self) -> AsyncGenerator[AudioBlock | Interruption, None]:
        """Yield the source's blocks, of at most half a second, and an `Interruption` each time it is lost.

        Ends only where a source has ended for good, as files do.

        Raises:
            CaptureError: a source that is not live, such as a file, cannot be read.
        """
        source = self._opener(self._settings, self._now)
        self._account.begin()
        try:
            while True:
                try:
                    async with aclosing(self._session(source)) as session:
                        async for block in session:
                            yield block
                    return
                except CaptureError as error:
                    if not source.live:
                        raise
                    reason = str(error)
                if self._give_up(reason):
                    yield Interruption(reason)
                await self._now.sleep(self._backoff.next())
        finally:
            self.tick(0.0)

    def tick(self, margin_seconds: float = MARGIN_SECONDS) -> None:
        """Account for an outage so far; call it about once a second, whatever `blocks` is waiting for."""
        if self._lost:
            self._account.grow(margin_seconds)

    async def _session(self, source: AudioSource) -> AsyncGenerator[AudioBlock, None]:
        """The blocks of one opening, on the listener's own index."""
        self._heard = 0.0
        patience = source.open_seconds + self._settings.silence_seconds
        async with aclosing(source.blocks()) as blocks:
            while (block := await self._next(blocks, source, patience)) is not None:
                if self._heard == 0.0:
                    self._resume(source)
                    patience = self._settings.silence_seconds
                self._heard += len(block.samples) / source.sample_rate
                placed = self._account.place(block, source)
                self.clock.observe(self._account.index(source.arrived))
                if placed is not None:
                    yield self._hear(placed)

    async def _next(
        self, blocks: AsyncGenerator[AudioBlock, None], source: AudioSource, seconds: float
    ) -> AudioBlock | None:
        if not source.live or self._settings.silence_seconds == 0:
            return await anext(blocks, None)
        waiting = asyncio.ensure_future(anext(blocks, None))
        try:
            while await _slept_over(waiting, seconds):
                pass
            if waiting.done():
                return waiting.result()
            reason = f"no samples for {seconds:g} s"
            self._lose(reason)  # closing takes its time
            raise CaptureError(reason)
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    def _resume(self, source: AudioSource) -> None:
        self._take_rate(source.sample_rate)
        if self._opened:
            self._observer.restarted()
        self._opened, self._lost = True, False

    def _take_rate(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        settings = self._settings
        if isinstance(settings, FileSettings | DemoSettings) and not settings.realtime:
            self.clock = SampleClock.fixed(sample_rate, self._now.wall())
        else:
            self.clock = SampleClock(sample_rate, self._now)

    def _hear(self, block: AudioBlock) -> AudioBlock:
        self._observer.captured(len(block.samples) / self.sample_rate)
        limit = self._settings.flatline_seconds
        flat = 0 < limit * self.sample_rate <= self._flatline.push(block.samples)
        self._tell(True, flat, f"the signal has been constant for {limit:g} s; is it muted?" if flat else "")
        return block

    def _give_up(self, reason: str) -> bool:
        """The attempt is over; says whether the source was heard in it."""
        self._lose(reason)
        self._observer.retried()
        if self._heard >= STEADY_SECONDS:
            self._backoff.reset()
        return self._heard > 0

    def _lose(self, reason: str) -> None:
        if not self._lost:
            self._lost = True
            self._account.lose()
            self._flatline.reset()
        self.tick()
        self._tell(False, False, reason)

    def _tell(self, up: bool, flat: bool, detail: str) -> None:
        if (up, flat, detail) == self._told:
            return
        self._told = (up, flat, detail)
        level = logging.INFO if up and not flat else logging.WARNING
        phrase = "source heard" if up and not flat else "source flat" if up else "source lost"
        fields = {"source": self._settings.name} | ({"detail": detail} if detail else {})
        log.log(level, phrase, extra={"fields": fields})
        self._observer.state(up, flat, detail)


async def _slept_over(waiting: asyncio.Future[AudioBlock | None], seconds: float) -> bool:
    """Wait for so long; says whether it is to be waited for again, because we stood still ourselves meanwhile."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await asyncio.wait({waiting}, timeout=seconds)
    return not waiting.done() and loop.time() - begun > 2 * seconds
