"""Audio that a source lost before it came to us, found by counting against the clock."""

import fcntl
import os
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from monitor.config import PipeSettings
from monitor.sources.loss import LossMeter
from monitor.sources.pipe import PipeSource
from ssondo_stream.types import AudioBlock
from tests.fakes import FakeClock

RATE = 8_000
TENTH = bytes(RATE // 10 * 2)


async def test_audio_lost_in_a_standstill_of_minutes_is_found() -> None:
    clock = FakeClock()
    meter = LossMeter(clock)
    end = 0
    for second in range(300):
        await clock.advance(1.0)
        if not 100 <= second < 200:
            end += RATE
            meter.observe(end, RATE)
    assert meter.lost == 100 * RATE


async def test_a_backlog_that_takes_long_to_come_in_is_not_taken_for_a_loss() -> None:
    """After 100 s, of which 60 s were kept, they come within 12 s beside what is live: at six times its pace."""
    clock = FakeClock()
    meter = LossMeter(clock)
    end = 0
    for tenth in range(600):
        await clock.advance(100.0 if tenth == 100 else 0.1)
        end += RATE * 6 // 10 if 100 <= tenth < 220 else RATE // 10
        meter.observe(end, RATE)
        assert meter.lost == 0 if tenth < 220 else tenth < 260 or meter.lost == pytest.approx(40 * RATE, rel=0.01)
    assert end + meter.lost == pytest.approx(clock.monotonic() * RATE, rel=0.001)


@pytest.mark.parametrize("dropped", [0.0, 7.0, 90.0])
async def test_what_a_writer_dropped_while_we_stood_still_is_a_gap(dropped: float, tmp_path: Path) -> None:
    clock = FakeClock()
    gaps, end = [], 0
    async with aclosing(_Pipe(tmp_path, clock)) as pipe:
        for turn in range(180):
            if turn == 100:  # two seconds wait in the pipe, and all that came later was dropped
                pipe.write(20)
                await clock.advance(2.0 + dropped)
            else:
                await clock.advance(0.1)
                pipe.write(1)
            for block in await pipe.read():
                gaps += [(block.start - end) / RATE] if block.start > end else []
                end = block.end
    assert gaps == ([pytest.approx(dropped, abs=0.01)] if dropped else [])
    assert end / RATE == pytest.approx(clock.monotonic(), abs=0.01)


async def test_what_a_writer_drops_is_a_gap_within_seconds_while_we_lag_behind(tmp_path: Path) -> None:
    """The pipe is never empty, because we read a second of audio in two, and its writer drops what finds no room."""
    clock, gap, lag = FakeClock(), 0.0, []
    async with aclosing(_Pipe(tmp_path, clock)) as pipe:
        for second in range(120):
            await clock.advance(1.0)
            pipe.write(10)
            if second < 10:
                await pipe.read()
                continue
            block = await pipe.read_one()
            gap = block.end / RATE - pipe.heard
            lag.append(clock.monotonic() - block.end / RATE)
    assert gap > 40
    assert max(lag) < pipe.seconds + 5


class _Pipe:
    """A pipe of ours with its source. Counts the seconds of audio that were read."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        os.mkfifo(folder / "pipe")
        settings = PipeSettings(kind="pipe", name="yard", path=folder / "pipe", sample_rate=RATE)
        self._end = os.open(folder / "pipe", os.O_RDWR | os.O_NONBLOCK)
        self.seconds = fcntl.fcntl(self._end, fcntl.F_GETPIPE_SZ) / 2 / RATE
        self._blocks = PipeSource(settings, clock).blocks()
        self._written = self.heard = 0.0

    def write(self, tenths: int) -> None:
        """As much as there is room for."""
        for _ in range(tenths):
            with suppress(BlockingIOError):
                self._written += os.write(self._end, TENTH) / 2 / RATE

    async def read(self) -> list[AudioBlock]:
        """All that was written."""
        found = []
        while self.heard < self._written - 1e-9:
            found.append(await self.read_one())
        return found

    async def read_one(self) -> AudioBlock:
        block = await anext(self._blocks)
        self.heard += len(block.samples) / RATE
        return block

    async def aclose(self) -> None:
        await self._blocks.aclose()
        os.close(self._end)
