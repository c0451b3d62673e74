"""Dates of events where clocks misbehave: a step of the wall clock, summer time, a crystal that drifts."""

import json
import time
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from monitor.clock import SampleClock
from monitor.dating import EventDates
from tests.fakes import FakeClock
from tests.faults.parts_sources import RATE, Rig, assert_accounted, noise, roar
from tests.parts_events import END, START, factory


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_an_event_over_which_the_wall_clock_is_stepped_ends_by_the_clock_of_its_start(
    step: float, tmp_path: Path
) -> None:
    async with Rig(tmp_path) as rig:
        await rig.clock.advance(20)
        for _ in range(2):
            rig.device.wave = roar
            begun = rig.clock.wall()
            await rig.clock.advance(15)
            if not rig.events("ended"):
                rig.clock.step_wall(step)
            await rig.clock.advance(15)
            rig.device.wave = noise
            await rig.clock.advance(20)
            started, ended = rig.events("started")[-1], rig.events("ended")[-1]
            assert started.event_id == ended.event_id
            assert started.onset.timestamp() == pytest.approx(begun, abs=0.6)
            assert ended.onset.timestamp() == pytest.approx(begun, abs=0.6)
            assert ended.offset is not None
            assert ended.offset.timestamp() == pytest.approx(begun + 30, abs=0.6)
            assert ended.duration_s == pytest.approx((ended.offset - ended.onset).total_seconds(), abs=0.002)
        assert_accounted(rig.samples(), "yard", seconds=rig.clock.monotonic())
        told = [event for _, event in rig.published]
        numbered = rig.spool.peek(64, reader="mqtt")
        assert [body for _, body in numbered] == [event.to_json() for event in told]
        assert [seq for seq, _ in numbered] == list(range(1, len(told) + 1))
        starts = [event.event_id for event in told if event.event_type == "started"]
        assert all(one < other for one, other in pairwise(starts))


@pytest.mark.parametrize("change", ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"])
async def test_summer_time_that_begins_or_ends_within_an_event_changes_no_date(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        at = datetime.fromisoformat(change).timestamp()
        async with Rig(tmp_path, wall=at - 20) as rig:
            await rig.clock.advance(10)
            rig.device.wave = roar
            await rig.clock.advance(20)
            rig.device.wave = noise
            await rig.clock.advance(20)
            (ended,) = rig.events("ended")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert ended.offset is not None
    assert ended.onset.timestamp() == pytest.approx(at - 10, abs=0.6)
    assert ended.offset.timestamp() == pytest.approx(at + 10, abs=0.6)
    written = json.loads(ended.to_json())
    assert (written["onset"][-1], written["offset"][-1]) == ("Z", "Z")


@pytest.mark.parametrize("ppm", [-100.0, 100.0])
async def test_times_of_an_event_of_ten_hours_are_right_though_the_crystal_drifts(ppm: float) -> None:
    clock, true_rate = FakeClock(), RATE * (1 + ppm * 1e-6)
    card, dates, make = SampleClock(RATE, clock), EventDates(RATE), factory()

    async def listen(until: float) -> None:
        while clock.monotonic() < until:
            await clock.advance(1)
            card.observe(round(clock.monotonic() * true_rate))

    await listen(3600)
    begun, ended = 3590.0, 39_590.0
    told = replace(START, onset=round(begun * true_rate))
    start = make.event(told, dates.of(told, card.monotonic, card.wall_offset))
    await listen(39_600)
    told = replace(END, onset=told.onset, offset=round(ended * true_rate))
    end = make.event(told, dates.of(told, card.monotonic, card.wall_offset))
    assert end.onset == start.onset
    assert end.offset is not None
    wall = clock.wall() - clock.monotonic()
    assert end.onset.timestamp() - wall == pytest.approx(begun, abs=0.02)
    assert end.offset.timestamp() - wall == pytest.approx(ended, abs=0.02)
    assert end.duration_s == pytest.approx(ended - begun, abs=0.02)


@pytest.mark.parametrize("ppm", [-100.0, 100.0])
async def test_a_crystal_that_drifts_loses_nothing(ppm: float, tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.device.ppm = ppm
        await rig.clock.advance(70)
        rig.device.wave = roar
        begun = rig.clock.wall()
        await rig.clock.advance(5)
        found = rig.samples()
        assert sum(found[name] for name in found if name.startswith("ssondo_audio_gap")) == 0
        assert_accounted(found, "yard", seconds=rig.clock.monotonic())
        assert rig.events("started")[0].onset.timestamp() == pytest.approx(begun, abs=0.6)
