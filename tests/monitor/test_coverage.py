"""The share of the last hour that was analysed: over outages, at starts, where something hangs, and as time passes."""

import pytest

from monitor.coverage import UNDER_WAY_SECONDS, Coverage
from monitor.metrics import Metrics
from tests.fakes import FakeClock

COVERAGE = "ssondo_audio_coverage_ratio"


async def hear(coverage: Coverage, clock: FakeClock, seconds: int, *, missed: bool = False) -> float:
    """So many seconds pass, each analysed or missed."""
    share = 1.0
    for _ in range(seconds):
        await clock.advance(1)
        share = coverage.add(missed=1.0) if missed else coverage.add(analyzed=1.0)
    return share


async def test_all_that_was_analysed_is_covered_from_the_first_second_on() -> None:
    clock = FakeClock()
    coverage = Coverage(clock)
    assert await hear(coverage, clock, 1) == 1
    assert await hear(coverage, clock, 7200) == 1


async def test_an_outage_counts_while_it_lasts_and_is_forgotten_after_an_hour() -> None:
    clock = FakeClock()
    coverage = Coverage(clock)
    await hear(coverage, clock, 3600)
    assert await hear(coverage, clock, 360, missed=True) == pytest.approx(0.9, abs=0.003)
    assert await hear(coverage, clock, 3000) == pytest.approx(0.9, abs=0.003)
    assert await hear(coverage, clock, 660) == 1


async def test_an_outage_of_more_than_an_hour_covers_nothing_and_the_return_is_seen_at_once() -> None:
    clock = FakeClock()
    coverage = Coverage(clock)
    await hear(coverage, clock, 600)
    assert await hear(coverage, clock, 7200, missed=True) == 0
    assert await hear(coverage, clock, 360) == pytest.approx(0.1, abs=0.003)


async def test_a_restart_begins_anew() -> None:
    clock = FakeClock()
    before = Coverage(clock)
    await hear(before, clock, 600, missed=True)
    assert await hear(Coverage(clock), clock, 10) == 1


async def test_what_is_under_way_does_not_count_and_what_hangs_does() -> None:
    clock = FakeClock()
    coverage = Coverage(clock)
    await hear(coverage, clock, 600)
    await clock.advance(UNDER_WAY_SECONDS - 1)
    assert coverage.add() == 1
    await clock.advance(200)
    assert coverage.add() == pytest.approx(0.75, abs=0.01)
    await clock.advance(7200)
    assert coverage.add() == 0


async def test_a_source_that_was_never_told_of_has_no_coverage() -> None:
    metrics = Metrics(clock=FakeClock())
    source = metrics.observer("yard")
    source.tick()
    assert metrics.registry.get_sample_value(COVERAGE, {"source": "yard"}) is None
    source.gap(1.0, "outage")
    assert metrics.registry.get_sample_value(COVERAGE, {"source": "yard"}) == 0
