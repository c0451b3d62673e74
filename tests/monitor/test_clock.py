"""Dates of samples, from arrivals that are late, bunched and drifting."""

from datetime import UTC, datetime

import numpy as np
import pytest

from monitor.clock import DelayEnvelope, SampleClock
from tests.fakes import FakeClock

RATE = 32_000
WALL = 1_800_000_000.0


async def arrivals(
    clock: FakeClock, dates: SampleClock, seconds: float, *, ppm: float = 0.0, jitter: float = 0.0, seed: int = 0
) -> int:
    """Blocks of 0.1 s, each up to `jitter` late, from a crystal that is `ppm` too fast; the index reached."""
    random, start = np.random.default_rng(seed), clock.monotonic()
    end = 0
    while clock.monotonic() < start + seconds:
        end += RATE // 10
        due = start + end / (RATE * (1 + ppm * 1e-6)) + float(random.uniform(0, jitter))
        await clock.advance(max(0.0, due - clock.monotonic()))
        dates.observe(end)
    return end


def error_seconds(dates: SampleClock, index: int, true_wall: float) -> float:
    return dates.utc(index).timestamp() - true_wall


async def test_dates_are_aware_and_in_utc() -> None:
    clock = FakeClock()
    assert SampleClock(RATE, clock).utc(0) == datetime.fromtimestamp(WALL, UTC)


async def test_jitter_does_not_move_the_mapping() -> None:
    clock = FakeClock()
    dates = SampleClock(RATE, clock)
    end = await arrivals(clock, dates, 30, jitter=0.5)
    assert error_seconds(dates, end, WALL + end / RATE) == pytest.approx(0, abs=0.02)


async def test_a_burst_after_a_stall_does_not_move_the_mapping() -> None:
    clock = FakeClock()
    dates = SampleClock(RATE, clock)
    end = await arrivals(clock, dates, 10)
    await clock.advance(5)
    for index in range(end, end + 5 * RATE, RATE // 10):
        dates.observe(index)
    assert error_seconds(dates, end, WALL + end / RATE) == pytest.approx(0, abs=0.001)


async def test_a_backlog_after_a_standstill_of_minutes_is_dated_as_it_was_heard() -> None:
    clock = FakeClock()
    dates = SampleClock(RATE, clock)
    end = await arrivals(clock, dates, 10)
    await clock.advance(120)
    for index in range(end, end + 120 * RATE, RATE):
        dates.observe(index)
        assert error_seconds(dates, index, WALL + index / RATE) == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("ppm", [-100.0, 100.0])
async def test_drift_of_the_crystal_is_followed(ppm: float) -> None:
    clock = FakeClock()
    dates = SampleClock(RATE, clock)
    end = await arrivals(clock, dates, 600, ppm=ppm, jitter=0.05)
    assert error_seconds(dates, end, WALL + end / (RATE * (1 + ppm * 1e-6))) == pytest.approx(0, abs=0.02)


async def test_a_step_of_the_wall_clock_changes_later_dates_only() -> None:
    clock = FakeClock()
    dates = SampleClock(RATE, clock)
    await arrivals(clock, dates, 5)
    before = dates.utc(RATE)
    clock.step_wall(3600)
    assert before.timestamp() == pytest.approx(WALL + 1)
    assert dates.utc(RATE).timestamp() == pytest.approx(WALL + 3601)


async def test_a_fixed_clock_counts_from_the_start_whenever_samples_arrive() -> None:
    dates = SampleClock.fixed(RATE, WALL)
    dates.observe(10 * RATE)
    assert dates.utc(2 * RATE) == datetime.fromtimestamp(WALL + 2, UTC)


async def test_dates_stay_exact_after_years() -> None:
    clock = FakeClock()
    dates = SampleClock(RATE, clock)
    await clock.advance(1e8)
    dates.observe(RATE * 10**8)
    assert dates.utc(RATE * 10**8).timestamp() == pytest.approx(WALL + 1e8, abs=1e-3)


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="got 0"):
        SampleClock(0, FakeClock())


def test_an_envelope_forgets_what_is_older_than_its_window() -> None:
    delays = DelayEnvelope(window_seconds=60)
    for second in range(60):
        delays.observe(second, 0.3 if second else 0.1)
    assert delays.smallest == 0.1
    delays.observe(60.0, 0.4)
    assert delays.smallest == 0.3
