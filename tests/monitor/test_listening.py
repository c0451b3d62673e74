"""Supervision of one source: reopening, accounting, flat signals."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np
import pytest

from monitor.clock import SystemClock
from monitor.config import MicrophoneSettings
from monitor.errors import CaptureError
from monitor.listening import Interruption, Listener
from monitor.sources.feed import Feed
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
    opened_at: list[float] = field(default_factory=list)
    closed: int = 0

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        self.opened_at.append(self.clock.monotonic())
        opening = self.script.pop(0) if self.script else Opening()
        self.sample_rate, self.gap_reason = opening.rate, opening.gap_reason
        try:
            for start, length in opening.blocks:
                await self.clock.sleep(length / opening.rate)
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
    states: list[tuple[bool, bool, str]] = field(default_factory=list)
    down: asyncio.Event = field(default_factory=asyncio.Event)

    def captured(self, seconds: float) -> None:
        self.heard += seconds

    def gap(self, seconds: float, reason: str) -> None:
        assert seconds >= 0
        self.gaps.append((seconds, reason))

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
        task = asyncio.create_task(self._collect())
        await self.clock.advance(seconds)
        if task.done():
            await task
        task.cancel()
        await asyncio.wait([task])

    async def _collect(self) -> None:
        async with aclosing(self.listener.blocks()) as items:
            async for item in items:
                self.heard.append(item)


STEADY = [(start, 100) for start in range(0, 1_000, 100)]  # a second


async def test_a_lost_source_is_reported_at_once_and_opened_again() -> None:
    stage = Stage(Opening(STEADY), Opening(STEADY))
    await stage.run(2.5)
    assert [type(item) for item in stage.heard] == [AudioBlock] * 10 + [Interruption] + [AudioBlock] * 10 + [
        Interruption
    ]
    assert stage.heard[10] == Interruption("unplugged")
    assert stage.observed.restarts == 1


async def test_the_index_goes_on_over_an_outage_by_the_time_that_passed() -> None:
    stage = Stage(Opening(STEADY), Opening(), Opening(STEADY))
    await stage.run(3)
    # lost at 1.0 s; tried again after 0.2 s and after 0.4 s more
    assert stage.blocks[10].start == 1_600
    assert stage.observed.missed == pytest.approx(0.6)


@pytest.mark.parametrize(
    "script",
    [
        [Opening(STEADY)],
        [Opening(), Opening(), Opening(STEADY), Opening(), Opening(STEADY)],
        [Opening(STEADY), *[Opening()] * 5, Opening(STEADY), Opening([(500, 100), (700, 50)]), Opening(STEADY)],
        [Opening([(0, 100), (250, 100), (350, 7)], gap_reason="overrun"), Opening([(3, 1)]), Opening(STEADY)],
    ],
)
async def test_captured_and_missed_samples_are_exactly_the_index_reached(script: list[Opening]) -> None:
    stage = Stage(*script)
    await stage.run(60)
    observed = stage.observed
    last = max(index for index, item in enumerate(stage.heard) if isinstance(item, AudioBlock))
    trailing = 60 - stage.listener.clock.monotonic(stage.blocks[-1].end)
    assert isinstance(stage.heard[last + 1], Interruption)
    total = observed.heard + observed.missed
    assert observed.heard * RATE == pytest.approx(sum(len(block.samples) for block in stage.blocks), abs=1e-6)
    assert total * RATE == pytest.approx(stage.blocks[-1].end + _after_last(stage, trailing) * RATE, abs=1e-6)
    starts, ends = [block.start for block in stage.blocks], [block.end for block in stage.blocks]
    assert all(start >= end for start, end in zip(starts[1:], ends, strict=False))


def _after_last(stage: Stage, trailing: float) -> float:
    """Seconds of the last outage, which no block has ended, that were accounted for so far."""
    attempt = stage.source.opened_at[-1]
    return max(0.0, trailing - (60 - attempt) - 0.5)


async def test_jumps_within_a_source_are_gaps_with_its_reason() -> None:
    stage = Stage(Opening([(0, 100), (600, 100)], gap_reason="overrun", hangs=True))
    await stage.run(1)
    assert [block.start for block in stage.blocks] == [0, 600]
    assert stage.observed.gaps == [(0.5, "overrun")]


async def test_opening_is_tried_for_ever_ever_more_rarely_but_every_three_seconds() -> None:
    stage = Stage()
    await stage.run(600)
    waits = np.diff(stage.source.opened_at)
    np.testing.assert_allclose(waits[:6], [0.2, 0.4, 0.8, 1.6, 2.5, 2.5])
    assert waits.max() < 3
    assert stage.heard == []


async def test_waits_are_jittered() -> None:
    stage = Stage(random=0.0)
    await stage.run(1)
    np.testing.assert_allclose(np.diff(stage.source.opened_at)[:2], [0.1, 0.2])


async def test_a_source_that_dies_young_is_not_tried_ever_faster() -> None:
    stage = Stage(*[Opening([(0, 100)])] * 50)
    await stage.run(60)
    assert len(stage.source.opened_at) < 30


async def test_an_outage_is_accounted_for_while_it_lasts() -> None:
    stage = Stage(Opening(STEADY))
    await stage.run(61)
    assert 50 < stage.observed.missed <= 60
    assert {reason for _, reason in stage.observed.gaps} == {"outage"}


async def test_states_are_told_only_when_they_change() -> None:
    stage = Stage(Opening(STEADY), Opening(), Opening(), Opening(STEADY, hangs=True))
    await stage.run(10)
    assert stage.observed.states == [(True, False, ""), (False, False, "unplugged"), (True, False, "")]


async def test_a_constant_signal_is_flat_and_still_flows() -> None:
    stage = Stage(
        Opening([(0, 100), *[(s, 100) for s in range(100, 3_000, 100)]], value=0.0, hangs=True), flatline_seconds=2
    )
    await stage.run(5)
    assert [(up, flat) for up, flat, _ in stage.observed.states] == [(True, False), (True, True)]
    assert stage.observed.heard == pytest.approx(3)


async def test_a_flat_signal_that_moves_again_is_heard_again() -> None:
    stage = Stage(Opening([(s, 100) for s in range(0, 1_000, 100)], value=0.5), Opening(STEADY), flatline_seconds=0.5)
    await stage.run(3)
    assert [(up, flat) for up, flat, _ in stage.observed.states][:4] == [
        (True, False),
        (True, True),
        (False, False),
        (True, False),
    ]


async def test_a_source_that_gives_no_samples_is_closed_and_opened_again() -> None:
    stage = Stage(Opening([(0, 100)], hangs=True), Opening(STEADY), silence_seconds=0.05)
    task = asyncio.create_task(stage._collect())
    await stage.clock.advance(0.1)
    async with asyncio.timeout(5):
        await stage.observed.down.wait()
        await stage.clock.advance(0)
    assert stage.source.closed == 1
    assert isinstance(stage.heard[-1], Interruption)
    await stage.clock.advance(1)
    assert stage.blocks[-1].start > 100
    task.cancel()
    await asyncio.wait([task])


async def test_silence_is_told_before_the_source_is_closed() -> None:
    stage = Stage(Opening([(0, 100)], hangs=True, closes_in=9), silence_seconds=0.05)
    task = asyncio.create_task(stage._collect())
    await stage.clock.advance(0.1)
    async with asyncio.timeout(5):
        await stage.observed.down.wait()
    assert (stage.source.closed, stage.observed.states[-1]) == (0, (False, False, "no samples for 0.05 s"))
    await stage.clock.advance(9)
    assert isinstance(stage.heard[-1], Interruption)
    task.cancel()
    await asyncio.wait([task])


async def test_a_loop_that_was_late_itself_does_not_take_its_source_for_silent() -> None:
    feed = Feed(SystemClock())
    feed.open(RATE)
    stage = Stage(silence_seconds=0.05)
    threading.Timer(0.1, feed.write, [np.ones(RATE, np.float32)]).start()
    waiting = asyncio.create_task(stage.listener._next(feed.blocks(), stage.source, 0.05))
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 - something blocks the loop
    block = await waiting
    assert block is not None
    assert len(block.samples) == RATE // 2


async def test_a_constant_signal_with_pieces_missing_is_flat() -> None:
    pieces = [(start, 100) for start in range(0, 6_000, 200)]
    stage = Stage(Opening(pieces, value=0.25, hangs=True), flatline_seconds=2)
    await stage.run(10)
    assert [(up, flat) for up, flat, _ in stage.observed.states] == [(True, False), (True, True)]


async def test_a_source_that_ends_for_good_ends_the_listening() -> None:
    stage = Stage(Opening(STEADY, error=None), live=False)
    await stage.run(5)
    assert len(stage.heard) == 10
    assert len(stage.source.opened_at) == 1


async def test_a_file_that_cannot_be_read_is_an_error() -> None:
    stage = Stage(Opening(error="no such file"), live=False)
    with pytest.raises(CaptureError, match="no such file"):
        await stage.run(5)


async def test_another_sample_rate_after_an_outage_goes_on_at_the_same_second() -> None:
    stage = Stage(Opening(STEADY), Opening([(0, 100)], rate=2_000, hangs=True))
    await stage.run(1.5)
    assert (stage.listener.sample_rate, stage.listener.clock.sample_rate) == (2_000, 2_000)
    assert stage.blocks[-1].start == 2_400
    assert stage.observed.missed == pytest.approx(0.2)


async def test_a_block_dates_from_when_it_was_heard_before_and_after_an_outage() -> None:
    stage = Stage(Opening(STEADY), *[Opening()] * 4, Opening(STEADY, hangs=True))
    await stage.run(10)
    returned = stage.blocks[10]
    opened = stage.source.opened_at[5]
    assert stage.listener.clock.utc(returned.start).timestamp() == pytest.approx(1_800_000_000 + opened, abs=1e-3)


async def test_stopping_closes_the_source() -> None:
    stage = Stage(Opening(STEADY, hangs=True))
    await stage.run(2)
    assert stage.source.closed == 1
