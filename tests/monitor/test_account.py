"""The account of every second: whatever a source does, heard and missed are the time that passed, and nothing twice."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.account import KEPT_SECONDS, TOLERANCE_SECONDS, Account
from ssondo_stream.types import AudioBlock
from tests.fakes import FakeClock

RATE = 1_000
STEP = 0.1
TICK = 1.0
MARGIN = 1.0


@dataclass
class Opened:
    """What an account asks of a source."""

    sample_rate: int = RATE
    arrived: int = 0
    waits: bool = False
    gap_reason: str = "lost"


class Ledger:
    """An account, and what it says, of a source whose samples come as a test says."""

    def __init__(self, waits: bool = False, rate: int = RATE) -> None:
        self.clock = FakeClock()
        self.gaps: list[tuple[float, str]] = []
        self.heard: list[AudioBlock] = []
        self.source = Opened(rate, waits=waits)
        self.account = Account(self.clock, lambda seconds, reason: self.gaps.append((seconds, reason)))
        self.account.begin()

    async def wait(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    async def outage(self, seconds: float) -> None:
        """The source is lost, and time passes as the service sees it."""
        self.account.lose()
        self.source.arrived = 0
        while seconds > 0:
            self.account.grow(MARGIN)
            await self.wait(min(TICK, seconds))
            seconds -= TICK

    def come(self, seconds: float, *, unread: float = 0.0) -> None:
        """So much audio is there at once, and is read in blocks."""
        begun = self.source.arrived
        self.source.arrived = begun + round((seconds + unread) * self.source.sample_rate)
        for start in range(begun, begun + round(seconds * self.source.sample_rate), 500):
            size = min(500, begun + round(seconds * self.source.sample_rate) - start)
            placed = self.account.place(AudioBlock(start, np.zeros(size, np.float32)), self.source)
            if placed is not None:
                self.heard.append(placed)

    async def live(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            await self.wait(STEP)
            self.come(STEP)

    @property
    def seconds_heard(self) -> float:
        return sum(len(block.samples) for block in self.heard) / self.source.sample_rate

    @property
    def missed(self) -> float:
        return sum(seconds for seconds, _ in self.gaps)

    @property
    def total(self) -> float:
        return self.seconds_heard + self.missed


async def test_a_burst_after_an_outage_is_not_counted_beside_the_outage() -> None:
    ledger = Ledger()
    await ledger.live(10)
    await ledger.outage(30)
    ledger.come(3)
    assert ledger.total == pytest.approx(40, abs=0.04)
    assert 10 + MARGIN <= ledger.seconds_heard <= 10 + MARGIN + TICK
    await ledger.live(10)
    assert ledger.total == pytest.approx(50, abs=0.05)


@pytest.mark.parametrize("pieces", [2, 10, 30])
async def test_a_burst_that_comes_bit_by_bit_is_counted_once_too(pieces: int) -> None:
    ledger = Ledger()
    await ledger.live(10)
    await ledger.outage(30)
    for _ in range(pieces):
        await ledger.wait(0.01)
        ledger.come(3 / pieces)
    assert ledger.total == pytest.approx(ledger.clock.monotonic(), abs=TOLERANCE_SECONDS)
    await ledger.live(10)
    await ledger.outage(5)
    ledger.account.grow()
    assert ledger.total == pytest.approx(ledger.clock.monotonic(), rel=0.001)


async def test_what_is_heard_after_audio_that_was_left_out_does_not_adjoin_what_was_before() -> None:
    ledger = Ledger()
    await ledger.live(10)
    await ledger.outage(30)
    ledger.come(0.1)
    last = len(ledger.heard) - 1
    ledger.come(3)
    await ledger.live(1)
    assert ledger.heard[last].end == 40_000
    assert ledger.heard[last + 1].start == 40_001


async def test_a_burst_within_a_session_is_audio_that_was_late() -> None:
    ledger = Ledger()
    await ledger.live(10)
    await ledger.wait(2.5)
    ledger.come(2.5)
    await ledger.live(10)
    assert (ledger.seconds_heard, ledger.gaps) == (pytest.approx(22.5), [])


async def test_a_stream_that_begins_with_what_it_kept_has_begun_earlier() -> None:
    ledger = Ledger()
    ledger.come(4)
    await ledger.live(10)
    assert (ledger.seconds_heard, ledger.gaps) == (pytest.approx(14), [])
    await ledger.outage(20)
    ledger.account.grow()
    assert ledger.missed == pytest.approx(20, abs=0.02)


async def test_of_a_source_that_waits_nothing_is_left_out_and_later_outages_pay_for_it() -> None:
    ledger = Ledger(waits=True)
    await ledger.live(10)
    await ledger.outage(30)
    ledger.come(3)
    assert ledger.seconds_heard == pytest.approx(13)
    await ledger.live(10)
    await ledger.outage(10)
    ledger.account.grow()
    assert ledger.total == pytest.approx(60, rel=0.001)


@pytest.mark.parametrize("waits", [False, True])
async def test_a_recording_that_is_played_in_a_moment_owes_no_time(waits: bool) -> None:
    ledger = Ledger(waits=waits)
    await ledger.live(1)
    await ledger.outage(60)
    ledger.come(3600)
    assert ledger.seconds_heard > 3600 - KEPT_SECONDS
    await ledger.outage(100)
    ledger.account.grow()
    assert ledger.gaps[-1][1] == "outage"
    assert sum(seconds for seconds, _ in ledger.gaps) == pytest.approx(160, abs=KEPT_SECONDS)


async def test_another_rate_goes_on_at_the_same_second() -> None:
    ledger = Ledger()
    await ledger.live(10)
    await ledger.outage(5)
    ledger.source.sample_rate = 2_000
    await ledger.wait(0.1)
    ledger.come(0.1)
    assert ledger.heard[-1].start == 2 * 15_000
    assert ledger.missed == pytest.approx(5)


@pytest.mark.parametrize("ppm", [-100, 100])
async def test_a_crystal_that_drifts_for_a_day_does_not_change_what_an_outage_counts(ppm: int) -> None:
    ledger = Ledger()
    ledger.source.sample_rate = 100
    for minute in range(24 * 60):
        await ledger.wait(60)
        ledger.source.arrived = round((minute + 1) * 6_000 * (1 + ppm * 1e-6))
        done = ledger.account.end
        ledger.account.place(AudioBlock(done, np.zeros(ledger.source.arrived - done, np.float32)), ledger.source)
    assert ledger.missed == 0
    await ledger.outage(30)
    ledger.account.grow()
    assert ledger.missed == pytest.approx(30, abs=0.1)


def _moves(waits: bool) -> st.SearchStrategy[list[tuple[str, float]]]:
    seconds = st.floats(0.05, 8).map(lambda x: round(x, 2))
    kinds = ["live", "stall", "stall and lose", "outage", "late start", *([] if waits else ["burst"])]
    return st.lists(st.tuples(st.sampled_from(kinds), seconds), max_size=25)


async def _play(ledger: Ledger, moves: list[tuple[str, float]]) -> None:
    for kind, seconds in moves:
        if kind == "live":
            await ledger.live(seconds)
        elif kind == "stall":
            await ledger.wait(seconds)
            ledger.come(seconds)
        elif kind == "stall and lose":
            await ledger.wait(seconds)
            await ledger.outage(0.3)
        elif kind == "outage":
            await ledger.outage(seconds)
        elif kind == "late start":  # all that was captured since it was opened comes at once
            await ledger.outage(0.5)
            await ledger.wait(seconds)
            ledger.come(seconds)
        else:  # the newest of what a server kept while we were away
            await ledger.outage(seconds)
            ledger.come(min(seconds, 5.0))


@settings(deadline=None, max_examples=150)
@example([("live", 8.0), ("burst", 8.0), ("burst", 8.0)])
@example([("stall and lose", 5.0), ("late start", 4.0), ("burst", 0.5), ("stall", 3.0)])
@given(_moves(waits=False))
async def test_heard_and_missed_are_the_time_that_passed_in_every_order_of_bursts_stalls_and_reopenings(
    moves: list[tuple[str, float]],
) -> None:
    ledger = Ledger()
    await ledger.live(1)
    await _play(ledger, moves)
    await ledger.outage(2)
    ledger.account.grow()
    passed = ledger.clock.monotonic()
    assert ledger.total == pytest.approx(passed, rel=0.001)
    assert ledger.account.end == pytest.approx(ledger.total * RATE, abs=1e-3)
    assert all(before.end <= after.start for before, after in pairwise(ledger.heard))
    assert all(seconds > 0 for seconds, _ in ledger.gaps)
