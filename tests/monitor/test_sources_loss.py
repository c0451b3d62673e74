"""Audio that a source lost before it came to us, found by counting against the clock."""

import os
from contextlib import aclosing
from pathlib import Path

import pytest

from monitor.config import PipeSettings
from monitor.sources.loss import LossMeter
from monitor.sources.pipe import PipeSource
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


@pytest.mark.parametrize("dropped", [0.0, 7.0, 90.0])
async def test_what_a_writer_dropped_while_we_stood_still_is_a_gap(dropped: float, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    clock = FakeClock()
    settings = PipeSettings(kind="pipe", name="yard", path=tmp_path / "pipe", sample_rate=RATE)
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    gaps, end = [], 0
    async with aclosing(PipeSource(settings, clock).blocks()) as blocks:
        for turn in range(200):
            if turn == 100:  # two seconds wait in the pipe, and all that came later was dropped
                os.write(writer, 20 * TENTH)
                await clock.advance(2.0 + dropped)
            elif not 100 < turn < 120:
                await clock.advance(0.1)
                os.write(writer, TENTH)
            block = await anext(blocks)
            gaps += [(block.start - end) / RATE] if block.start > end else []
            end = block.end
    os.close(writer)
    assert gaps == ([pytest.approx(dropped, abs=0.01)] if dropped else [])
    assert end / RATE == pytest.approx(clock.monotonic(), abs=0.01)
