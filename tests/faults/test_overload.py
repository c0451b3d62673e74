"""A student that is too slow, for a while: what cannot be analysed is lost in pieces, counted, and then forgotten."""

import tracemalloc
from pathlib import Path

import psutil

from monitor.sources.feed import RING_SECONDS
from tests.faults.parts_sources import Rig, assert_accounted, noise, roar

OVERRUN = 'ssondo_audio_gap_seconds_total{reason="overrun",source="yard"}'
SLOW = 5.0  # seconds for half a second of audio


async def test_a_student_ten_times_too_slow_tells_of_nothing_stale_and_catches_up(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.clock.advance(10)
        rig.worker.seconds = SLOW
        for _ in range(10):
            rig.device.wave = roar
            await rig.clock.advance(20)
            rig.device.wave = noise
            await rig.clock.advance(20)
        assert rig.worker.most == 1
        assert 0.85 < rig.samples()[OVERRUN] / 400 < 0.95
        lag = [at - (event.onset.timestamp() - 1_800_000_000) for at, event in rig.published]
        starts = [seconds for seconds, (_, event) in zip(lag, rig.published, strict=True) if not event.offset]
        assert starts
        assert max(starts) < RING_SECONDS + 3 * SLOW
        rig.worker.seconds = 0.0
        assert await rig.within(SLOW + 2, lambda: rig.ready and rig.available) <= SLOW + 2
        rig.device.wave = noise
        await rig.clock.advance(15)
        rig.device.wave = roar
        begun, before = rig.clock.monotonic(), len(rig.events("started"))
        await rig.within(4, lambda: len(rig.events("started")) > before)
        assert rig.clock.monotonic() - begun < 3
        assert_accounted(rig.samples(), "yard", seconds=rig.clock.monotonic())
        await rig.stop()
        assert_accounted(rig.samples(), "yard", under_way=0)


async def test_resident_memory_does_not_grow_in_ten_minutes_of_overload(tmp_path: Path) -> None:
    taken = []
    async with Rig(tmp_path) as rig:
        rig.worker.seconds = SLOW
        for _ in range(12):
            await rig.clock.advance(60)
            taken.append(psutil.Process().memory_info().rss / 1e6)
        assert rig.samples()[OVERRUN] > 600
    assert max(taken[1:]) - taken[0] < 15, f"{taken}: ten minutes of this audio are 77 MB"


async def test_memory_does_not_grow_while_a_student_is_too_slow(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.worker.seconds = SLOW
        await rig.clock.advance(30)
        tracemalloc.start()
        try:
            await rig.clock.advance(20)
            before, _ = tracemalloc.get_traced_memory()
            await rig.clock.advance(80)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert grown < 500_000
