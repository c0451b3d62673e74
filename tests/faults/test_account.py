"""The account of every second through the whole of a source in virtual time, whatever its device does, in any order."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.faults.parts_sources import Rig, assert_accounted

COVERAGE = 'ssondo_audio_coverage_ratio{source="yard"}'
GAP = 'ssondo_audio_gap_seconds_total{{reason="{}",source="yard"}}'
SECONDS = st.floats(0.1, 9).map(lambda seconds: round(seconds, 1))
FAULTS = ["heard", "unplugged", "late", "lossy", "slow"]


async def _suffer(rig: Rig, fault: str, seconds: float) -> None:
    """One fault, for so long."""
    device = rig.device
    if fault == "unplugged":
        device.unplug()
    device.late, device.lossy = fault == "late", fault == "lossy"
    rig.worker.seconds = 5.0 if fault == "slow" else 0.0
    await rig.clock.advance(seconds)
    device.present, device.late, device.lossy, rig.worker.seconds = True, False, False, 0.0


@settings(deadline=None, max_examples=12, database=None)
@example(faults=[("unplugged", 9.0), ("late", 2.5), ("unplugged", 0.3), ("lossy", 2.0), ("slow", 9.0)])
@example(faults=[("late", 2.9), ("unplugged", 1.0), ("slow", 5.0), ("late", 2.0)])
@example(faults=[("unplugged", 1.0), ("late", 9.0), ("late", 9.0)])
@given(st.lists(st.tuples(st.sampled_from(FAULTS), SECONDS), max_size=8))
async def test_captured_is_analysed_and_gaps_in_every_order_of_faults(faults: list[tuple[str, float]]) -> None:
    with TemporaryDirectory() as folder:
        async with Rig(Path(folder)) as rig:
            await rig.clock.advance(2)
            for fault, seconds in faults:
                await _suffer(rig, fault, seconds)
            await rig.clock.advance(40)
            assert rig.ready
            assert_accounted(rig.samples(), "yard", seconds=rig.clock.monotonic())
            await rig.stop()
            assert_accounted(rig.samples(), "yard", under_way=0)


async def test_gaps_and_coverage_are_live_in_an_outage(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.clock.advance(30)
        rig.device.unplug()
        before = rig.samples()
        assert before[COVERAGE] == 1
        await rig.clock.advance(3)
        for second in range(3, 60):
            found = rig.samples()
            assert found[GAP.format("outage")] == pytest.approx(second, abs=2.2)
            assert found[GAP.format("outage")] > before[GAP.format("outage")]
            assert found[COVERAGE] < before[COVERAGE]
            before = found
            await rig.clock.advance(1)
        rig.device.present = True
        await rig.within(5, lambda: rig.ready)
        await rig.clock.advance(30)
        found = rig.samples()
        assert found[COVERAGE] == pytest.approx(1 - found[GAP.format("outage")] / rig.clock.monotonic(), abs=0.02)


async def test_a_worker_that_hangs_is_not_covered(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.clock.advance(30)
        rig.worker.seconds = 1e6
        await rig.clock.advance(65)
        assert rig.samples()[COVERAGE] == pytest.approx(30 / 90, abs=0.03)
        stopping = asyncio.create_task(rig.stop())
        await rig.clock.advance(1e6)
        await stopping
