"""A scripted source, and a listener over it that is run in virtual time."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np

from monitor.config import MicrophoneSettings
from monitor.errors import CaptureError
from monitor.listening import Interruption, Listener
from ssondo_stream.types import AudioBlock
from tests.fakes import FakeClock

RATE = 1_000
Heard = AudioBlock | Interruption


@dataclass
class Opening:
    """What one opening of the scripted source does: it waits, gives blocks, and ends somehow."""

    blocks: Sequence[tuple[int, int]] = ()  # start, length
    rate: int = RATE
    error: str | None = "unplugged"
    value: float | None = None
    hangs: bool = False
    closes_in: float = 0.0
    pace: float = 1.0
    gap_reason: str = "lost"


@dataclass
class Scripted:
    """A source that does as its script says, then fails for ever."""

    clock: FakeClock
    script: list[Opening]
    live: bool = True
    name: str = "yard"
    sample_rate: int = 0
    open_seconds: float = 0.0
    arrived: int = 0
    gap_reason: str = "lost"
    waits: bool = False
    opened_at: list[float] = field(default_factory=list)
    closed: int = 0

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        self.opened_at.append(self.clock.monotonic())
        opening = self.script.pop(0) if self.script else Opening()
        self.sample_rate, self.gap_reason = opening.rate, opening.gap_reason
        try:
            for start, length in opening.blocks:
                await self.clock.sleep(length / opening.rate / opening.pace)
                self.arrived = start + length
                wave = np.random.default_rng(start).uniform(-1, 1, length) if opening.value is None else opening.value
                yield AudioBlock(start, np.full(length, wave, np.float32))
            if opening.hangs:
                await asyncio.Event().wait()
            if opening.error:
                raise CaptureError(opening.error)
        finally:
            if opening.closes_in:
                await self.clock.sleep(opening.closes_in)
            self.closed += 1


@dataclass
class Observed:
    """Keeps what the observer is told."""

    heard: float = 0.0
    gaps: list[tuple[float, str]] = field(default_factory=list)
    restarts: int = 0
    retries: int = 0
    states: list[tuple[bool, bool, str]] = field(default_factory=list)
    down: asyncio.Event = field(default_factory=asyncio.Event)

    def captured(self, seconds: float) -> None:
        self.heard += seconds

    def gap(self, seconds: float, reason: str) -> None:
        assert seconds >= 0
        self.gaps.append((seconds, reason))

    def retried(self) -> None:
        self.retries += 1

    def restarted(self) -> None:
        self.restarts += 1

    def state(self, up: bool, flat: bool, detail: str) -> None:
        self.states.append((up, flat, detail))
        if not up:
            self.down.set()

    @property
    def missed(self) -> float:
        return sum(seconds for seconds, _ in self.gaps)


class Stage:
    """A listener over a scripted source, run for so much virtual time."""

    def __init__(self, *script: Opening, live: bool = True, random: float = 1.0, **settings: object) -> None:
        self.clock = FakeClock()
        self.source = Scripted(self.clock, list(script), live)
        self.observed = Observed()
        self.heard: list[Heard] = []
        configured = MicrophoneSettings.model_validate({"name": "yard", "kind": "microphone", **settings})
        self.listener = Listener(
            configured, self.clock, self.observed, opener=lambda *_: self.source, random=lambda: random
        )

    @property
    def blocks(self) -> list[AudioBlock]:
        return [item for item in self.heard if isinstance(item, AudioBlock)]

    async def run(self, seconds: float) -> None:
        task = asyncio.create_task(self.collect())
        await self.clock.advance(seconds)
        if task.done():
            await task
        task.cancel()
        await asyncio.wait([task])

    async def collect(self) -> None:
        async with aclosing(self.listener.blocks()) as items:
            async for item in items:
                self.heard.append(item)
