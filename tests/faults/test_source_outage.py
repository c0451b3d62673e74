"""A microphone that goes, comes, is absent, muted or stuck, in virtual time: told soon, closed, accounted for."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from ssondo_stream.types import Samples
from tests.faults.parts_sources import Rig, assert_accounted, noise, roar, stuck, zeros

GAP = 'ssondo_audio_gap_seconds_total{reason="outage",source="yard"}'


@pytest.mark.parametrize("seconds", [1.0, 60.0, 600.0])
async def test_an_unplugged_microphone_is_told_its_events_closed_and_heard_again(
    seconds: float, tmp_path: Path
) -> None:
    async with Rig(tmp_path) as rig:
        rig.device.wave = roar
        await rig.clock.advance(15)
        assert (rig.ready, rig.available, len(rig.events("started"))) == (True, True, 1)
        lost_at = rig.clock.wall()
        rig.device.unplug()
        await rig.within(min(seconds, 5), lambda: not rig.ready and not rig.available)
        ended = rig.events("ended")[0]
        assert ended.offset is not None
        assert ended.offset.timestamp() == pytest.approx(lost_at, abs=0.2)
        assert rig.retained.told["yard/label/low_sound"][-1][1] == "OFF"
        await rig.clock.advance(lost_at + seconds - rig.clock.wall())
        rig.device.present = True
        assert await rig.within(5, lambda: rig.ready and rig.available) < 5
        await rig.clock.advance(10)
        found = rig.samples()
        assert found[GAP] == pytest.approx(seconds + 1.5, abs=1.6)
        assert_accounted(found, "yard", seconds=rig.clock.monotonic())
        await rig.stop()
        assert [event.event_type for _, event in rig.published if event.slug == "low_sound"] == ["started", "ended"] * 2
        assert_accounted(rig.samples(), "yard", under_way=0)


async def test_a_microphone_absent_at_start_is_heard_within_five_seconds_of_its_coming(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.device.present = False
        await rig.clock.advance(60)
        assert rig.task.troubles == ["source yard: no such device"]
        assert rig.samples()['ssondo_source_up{source="yard"}'] == 0
        rig.device.present = True
        assert await rig.within(5, lambda: rig.ready and rig.available) < 5
        await rig.clock.advance(10)
        assert rig.samples()[GAP] == pytest.approx(61.5, abs=1.6)
        assert rig.samples()['ssondo_audio_coverage_ratio{source="yard"}'] == pytest.approx(0.13, abs=0.04)
        assert_accounted(rig.samples(), "yard", seconds=rig.clock.monotonic())


@pytest.mark.parametrize("wave", [zeros, stuck])
async def test_a_muted_or_stuck_microphone_is_told_within_thirty_seconds_and_trusted_again(
    wave: Callable[[Samples], Samples], tmp_path: Path
) -> None:
    async with Rig(tmp_path) as rig:
        await rig.clock.advance(10)
        assert rig.ready
        rig.device.wave = wave
        flat = 'ssondo_source_flatline{source="yard"}'
        await rig.within(30, lambda: not rig.ready and not rig.available and rig.samples()[flat] == 1)
        assert rig.task.troubles == ["source yard: the signal is flat, is the microphone muted?"]
        rig.device.wave = noise
        await rig.within(5, lambda: rig.ready and rig.available and rig.samples()[flat] == 0)
        assert_accounted(rig.samples(), "yard", seconds=rig.clock.monotonic())


async def test_a_microphone_that_flaps_is_accounted_for(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        for turn in range(20):
            await rig.clock.advance(0.4 * turn)
            rig.device.unplug()
            await rig.clock.advance(0.3 * turn)
            rig.device.present = True
        await rig.within(5, lambda: rig.ready and rig.available)
        assert_accounted(rig.samples(), "yard", seconds=rig.clock.monotonic())


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
async def test_a_stop_at_any_moment_ends_what_was_open_and_leaves_nothing_unanalysed(
    moment: float, tmp_path: Path
) -> None:
    async with Rig(tmp_path) as rig:
        rig.worker.seconds = 0.08
        await rig.clock.advance(12)
        rig.device.wave = roar
        await rig.clock.advance(1.2 + moment)
        stopping = asyncio.create_task(rig.stop())
        await rig.clock.advance(1)
        await stopping
        events = [event for _, event in rig.published]
        started = [event.event_id for event in events if event.event_type == "started"]
        assert started
        assert sorted(started) == sorted(event.event_id for event in events if event.event_type == "ended")
        assert_accounted(rig.samples(), "yard", under_way=0)
