"""Supervision of one source: reopening, accounting, flat signals."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
import pytest

from monitor.clock import SystemClock
from monitor.errors import CaptureError
from monitor.listening import MARGIN_SECONDS, Interruption
from monitor.sources.feed import Feed
from ssondo_stream.types import AudioBlock
from tests.parts import within
from tests.parts_listening import RATE, Opening, Stage

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
    assert stage.observed.gaps[0] == (pytest.approx(0.6), "outage")
    assert stage.observed.heard + stage.observed.missed == pytest.approx(3)


@pytest.mark.parametrize(
    "script",
    [
        [Opening(STEADY)],
        [Opening(), Opening(), Opening(STEADY), Opening(), Opening(STEADY)],
        [Opening(STEADY), *[Opening()] * 5, Opening(STEADY), Opening([(500, 100), (700, 50)]), Opening(STEADY)],
        [Opening([(0, 100), (100, 7), (107, 100)], gap_reason="overrun"), Opening([(3, 1)]), Opening(STEADY)],
    ],
)
async def test_what_was_heard_and_what_was_missed_are_the_time_that_passed(script: list[Opening]) -> None:
    stage = Stage(*script)
    await stage.run(60)
    observed = stage.observed
    assert isinstance(stage.heard[-1], Interruption)
    assert observed.heard * RATE == pytest.approx(sum(len(block.samples) for block in stage.blocks), abs=1e-6)
    assert observed.heard + observed.missed == pytest.approx(60, abs=1e-6)
    starts, ends = [block.start for block in stage.blocks], [block.end for block in stage.blocks]
    assert all(start >= end for start, end in zip(starts[1:], ends, strict=False))


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


@pytest.mark.parametrize("attempt", [Opening(), Opening(hangs=True, closes_in=9), Opening(error="late", closes_in=30)])
async def test_an_outage_is_accounted_for_every_second_whatever_the_attempt_does(attempt: Opening) -> None:
    stage = Stage(Opening(STEADY), *[attempt] * 40)
    task = asyncio.create_task(stage.collect())
    await stage.clock.advance(1)
    for second in range(60):
        stage.listener.tick()
        assert stage.observed.missed == pytest.approx(max(0, second - MARGIN_SECONDS))
        await stage.clock.advance(1)
    assert {reason for _, reason in stage.observed.gaps} == {"outage"}
    task.cancel()
    await stage.clock.advance(30)
    await asyncio.wait([task])
    assert stage.observed.heard + stage.observed.missed >= 61


async def test_what_analyses_too_slowly_does_not_hold_up_the_account_of_an_outage() -> None:
    stage = Stage(Opening(STEADY), Opening(STEADY))
    async with aclosing(stage.listener.blocks()) as items:
        for _ in range(11):
            item = asyncio.ensure_future(anext(items))
            await stage.clock.advance(0.1)
        assert isinstance(await item, Interruption)
        await stage.clock.advance(20)  # nobody asks for more
        stage.listener.tick()
        assert stage.observed.missed == pytest.approx(stage.clock.monotonic() - 1 - MARGIN_SECONDS)


async def test_a_retry_is_told_apart_from_the_account_that_goes_by_time() -> None:
    stage = Stage(Opening(hangs=True, closes_in=60))
    task = asyncio.create_task(stage.collect())
    for _ in range(30):
        await stage.clock.advance(1)
        stage.listener.tick()
    assert stage.observed.retries == 0
    task.cancel()
    await stage.clock.advance(60)
    await asyncio.wait([task])


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
    task = asyncio.create_task(stage.collect())
    await stage.clock.advance(0.1)
    async with within(5):
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
    task = asyncio.create_task(stage.collect())
    await stage.clock.advance(0.1)
    async with within(5):
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


async def test_a_loop_that_was_late_itself_gives_what_was_kept_time_to_come() -> None:
    async def kept() -> AsyncGenerator[AudioBlock, None]:
        time.sleep(0.3)  # noqa: ASYNC251 - something blocks the loop
        for _ in range(10):  # the turns that a thread and its messages take
            await asyncio.sleep(0)
        yield AudioBlock(0, np.ones(RATE, np.float32))

    stage = Stage(silence_seconds=0.05)
    block = await stage.listener._next(kept(), stage.source, 0.05)
    assert block is not None


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


async def test_dates_are_right_when_an_outage_has_taken_off_what_the_source_was_ahead() -> None:
    burst = Opening([(start, 100) for start in range(0, 5_000, 100)], pace=50)
    stage = Stage(Opening(STEADY), burst, *[Opening()] * 4, Opening(STEADY, hangs=True))
    await stage.run(15)
    returned, opened = stage.blocks[-10], stage.source.opened_at[6]
    assert stage.listener.clock.utc(returned.start).timestamp() == pytest.approx(1_800_000_000 + opened, abs=1e-3)


async def test_stopping_closes_the_source() -> None:
    stage = Stage(Opening(STEADY, hangs=True))
    await stage.run(2)
    assert stage.source.closed == 1
