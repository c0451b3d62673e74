"""What sources share: shaping, the hand-over from threads, the count of losses, flat signals, calls that hang."""

import asyncio
import threading

import numpy as np
import pytest

from monitor.config import DemoSettings
from monitor.errors import CaptureError
from monitor.flatline import FlatlineWatch
from monitor.sources.daemon import Hand
from monitor.sources.feed import Feed
from monitor.sources.loss import LossMeter
from monitor.sources.shaping import Shaper
from tests.fakes import FakeClock
from tests.parts import PATIENCE

RATE = 8_000


def settings(**fields: object) -> DemoSettings:
    return DemoSettings.model_validate({"name": "yard", "kind": "demo", **fields})


def frames(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, [0.5, -0.5]),
        ({"channel": "mix"}, [0.5, -0.5]),
        ({"channel": 0}, [1.0, -1.0]),
        ({"channel": 1}, [0.0, 0.0]),
        ({"channel": 0, "gain_db": -20.0}, [0.1, -0.1]),
    ],
)
def test_channels_are_picked_or_mixed_and_amplified(fields: dict[str, object], expected: list[float]) -> None:
    shaped = Shaper(settings(**fields), 2)(frames([1.0, 0.0], [-1.0, 0.0]))
    assert shaped.dtype == np.float32
    np.testing.assert_allclose(shaped, expected, rtol=1e-6)


def test_values_that_are_no_sound_become_zero_and_are_counted() -> None:
    shape = Shaper(settings(gain_db=120), 1)
    shaped = shape(frames([np.nan], [np.inf], [-np.inf], [3e38], [1e-6]))
    np.testing.assert_allclose(shaped, [0, 0, 0, 0, 1], rtol=1e-5)
    assert shape.repaired == 4


def test_a_channel_that_is_not_there_is_refused_with_both_numbers() -> None:
    with pytest.raises(CaptureError, match=r"channel 7 .* only 2\b.*0\.\.1"):
        Shaper(settings(channel=7), 2)


async def test_a_feed_hands_over_what_its_thread_writes_and_then_its_failure() -> None:
    feed = Feed(FakeClock())

    def capture() -> None:
        feed.open(RATE)
        for value in range(100):
            feed.write(np.full(100, value, np.float32))
        feed.fail(CaptureError("unplugged"))

    threading.Thread(target=capture).start()
    heard: list[np.ndarray] = []
    with pytest.raises(CaptureError, match="unplugged"):
        async for block in feed.blocks():
            assert block.start == sum(map(len, heard))
            heard.append(block.samples)
    np.testing.assert_array_equal(np.concatenate(heard), np.repeat(np.arange(100, dtype=np.float32), 100))


async def test_a_reader_that_falls_behind_by_more_than_the_ring_goes_on_with_the_newest() -> None:
    feed = Feed(FakeClock())
    feed.open(RATE)
    blocks = feed.blocks()
    feed.write(np.zeros(RATE, np.float32))
    first = await anext(blocks)
    for _ in range(40):
        feed.write(np.zeros(RATE, np.float32))
    second = await anext(blocks)
    feed.write(np.zeros(RATE, np.float32))
    third = await anext(blocks)
    assert (first.start, second.start, third.start) == (0, 41 * RATE - RATE // 2, second.end)
    assert feed.gap_reason == "overrun"
    assert feed.arrived == 42 * RATE


async def test_audio_that_vanished_on_the_way_is_found_by_the_clock() -> None:
    clock = FakeClock()
    meter = LossMeter(clock)
    end = 0
    for second in range(30):
        await clock.advance(1.0)
        end += 0 if 10 <= second < 12 else RATE
        meter.observe(end, RATE)
    assert meter.lost == 2 * RATE


async def test_audio_that_comes_late_in_a_burst_is_not_taken_for_lost() -> None:
    clock = FakeClock()
    meter = LossMeter(clock)
    end = 0
    for second in range(30):
        await clock.advance(1.0)
        if not 10 <= second < 20:
            end = (second + 1) * RATE
            meter.observe(end, RATE)
    assert meter.lost == 0


@pytest.mark.parametrize("ppm", [-100, 100])
async def test_a_crystal_that_drifts_is_not_taken_for_loss(ppm: int) -> None:
    clock = FakeClock()
    meter = LossMeter(clock)
    for second in range(1, 1200):
        await clock.advance(1.0)
        meter.observe(round(second * RATE * (1 + ppm * 1e-6)), RATE)
    assert meter.lost == 0


@pytest.mark.parametrize("cut", [1, 3, 10])
def test_a_flat_signal_is_counted_however_it_is_cut(cut: int) -> None:
    watch = FlatlineWatch()
    signal = np.array([0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3], np.float32)
    for start in range(0, 10, cut):
        watch.push(signal[start : start + cut])
    assert watch.run == 8


def test_any_change_ends_a_flat_signal() -> None:
    watch = FlatlineWatch()
    watch.push(np.zeros(100, np.float32))
    assert watch.push(np.array([1e-6], np.float32)) == 1


async def test_a_call_that_hangs_is_left_behind_and_the_next_one_refused_until_it_returns() -> None:
    left = threading.Event()
    hand, hanging, disposed = Hand("yard", left.set), threading.Event(), threading.Event()

    def hang() -> str:
        hanging.wait(PATIENCE * 10)
        return "late"

    with pytest.raises(CaptureError, match="no answer"):
        await hand.call(hang, 0.02, lambda _: disposed.set())
    assert left.is_set()
    with pytest.raises(CaptureError, match="hangs"):
        await hand.call(lambda: "next", 1)
    hanging.set()
    assert await asyncio.to_thread(disposed.wait, 5)


async def test_a_call_may_follow_at_once_on_one_that_has_returned() -> None:
    hand = Hand("yard", lambda: None)
    assert [await hand.call(lambda: 42, 10) for _ in range(300)] == [42] * 300


async def test_a_feed_that_is_closed_keeps_no_samples_whoever_holds_it() -> None:
    feed = Feed(FakeClock())
    feed.open(RATE)
    feed.write(np.ones(30 * RATE, np.float32))
    held = feed._ring.capacity
    feed.close()
    feed.write(np.ones(100, np.float32))  # a thread that was about to
    assert (held, feed._ring.capacity) == (30 * RATE, 1)


async def test_a_call_gives_what_the_function_returns_or_raises() -> None:
    def refuse() -> None:
        raise CaptureError("busy")

    hand = Hand("yard", lambda: None)
    assert await hand.call(lambda: 42, 1) == 42
    with pytest.raises(CaptureError, match="busy"):
        await Hand("yard", lambda: None).call(refuse, 1)


@pytest.mark.parametrize(("seconds_ahead", "waits"), [(29.0, True), (5.0, False), (-60.0, False)])
async def test_only_a_recording_waits_for_a_reader_that_is_behind(seconds_ahead: float, waits: bool) -> None:
    clock = FakeClock()
    feed = Feed(clock)
    feed.open(RATE)
    await clock.advance(29.0 - seconds_ahead)
    feed.write(np.zeros(29 * RATE, np.float32))
    assert feed.crowded is waits
