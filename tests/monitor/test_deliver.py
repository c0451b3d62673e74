"""Delivery from the spool to a sink: in order, all of it, and again after failures."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.backoff import Backoff
from monitor.errors import SinkRejected, SinkUnavailable
from monitor.events import Event
from monitor.sinks import deliver
from monitor.spool import Spool
from tests.fakes import FakeClock
from tests.parts_events import EPOCH, LABELS, event

NOW = EPOCH.timestamp() + 1


class Receiver:
    """A sink over a line of one round trip's length, on the test's clock.

    Attributes:
        fate: what becomes of an event, by its label: an error to raise, or None.
    """

    name = "mqtt"

    def __init__(self, clock: FakeClock, round_trip: float = 0.0) -> None:
        self._clock = clock
        self._round_trip = round_trip
        self.fate: Callable[[str], Exception | None] = lambda label: None
        self.up = asyncio.Event()
        self.up.set()
        self.arrived: list[Event] = []
        self.in_flight = 0
        self.most_in_flight = 0

    @property
    def labels(self) -> list[str]:
        return [event.label for event in self.arrived]

    async def ready(self) -> None:
        await self.up.wait()

    async def send(self, event: Event) -> None:
        if not self.up.is_set():
            raise SinkUnavailable("down")
        if error := self.fate(event.label):
            raise error
        self.arrived.append(event)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self._round_trip:
                await self._clock.sleep(self._round_trip)
        finally:
            self.in_flight -= 1


class Watch:
    def __init__(self) -> None:
        self.deliveries: list[str] = []
        self.rejections: list[int] = []

    def delivered(self, event: Event) -> None:
        self.deliveries.append(event.label)

    def rejected(self, seq: int) -> None:
        self.rejections.append(seq)


class Bench:
    """A spool, a receiver and the delivery between them."""

    def __init__(self, folder: Path, round_trip: float = 0.0) -> None:
        self.clock = FakeClock(NOW)
        self.spool = Spool(folder / "spool.sqlite", clock=self.clock)
        self.sink = Receiver(self.clock, round_trip)
        self.wake = asyncio.Event()
        self.watch = Watch()

    def append(self, *labels: str) -> None:
        for label in labels:
            self.spool.append(event(label).to_json())
        self.wake.set()

    @contextmanager
    def delivering(self, in_flight: int = 32) -> Iterator["asyncio.Task[None]"]:
        backoff = Backoff(1.0, 8.0, jitter=lambda: 1.0)
        task = asyncio.create_task(
            deliver(
                self.spool,
                self.sink,
                self.clock,
                wake=self.wake,
                in_flight=in_flight,
                watch=self.watch,
                backoff=backoff,
            )
        )
        try:
            yield task
        finally:
            task.cancel()


async def test_events_arrive_in_order_and_leave_the_spool(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.append(*LABELS)

    with bench.delivering():
        await bench.clock.advance(0)
        assert bench.sink.labels == LABELS
        assert bench.watch.deliveries == LABELS
        assert bench.spool.depth == 0


async def test_event_appended_later_wakes_the_delivery(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with bench.delivering():
        await bench.clock.advance(0)
        bench.append("bark")
        await bench.clock.advance(0)

        assert bench.sink.labels == ["bark"]


async def test_one_wake_serves_several_deliveries(tmp_path: Path) -> None:
    bench, clock = Bench(tmp_path), FakeClock(NOW)
    spool = Spool(tmp_path / "two.sqlite", clock=clock, readers=("mqtt", "stdout"))
    bench.spool = spool
    other = Receiver(clock)
    other.name = "stdout"
    second = asyncio.create_task(deliver(spool, other, clock, wake=bench.wake))
    with bench.delivering():
        await clock.advance(0)
        for label in LABELS:
            bench.append(label)
            await clock.advance(0)
        second.cancel()

    assert bench.sink.labels == other.labels == LABELS
    assert spool.depth == 0


async def test_seq_time_and_lateness_are_stamped_at_sending(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.append("in time")
    with bench.delivering():
        await bench.clock.advance(0)
        bench.sink.up.clear()
        bench.append("kept for an hour")
        await bench.clock.advance(3600)
        bench.sink.up.set()
        await bench.clock.advance(60)

    first, second = bench.sink.arrived
    assert (first.seq, first.late, first.published_at) == (1, False, EPOCH + timedelta(seconds=1))
    assert (second.seq, second.late) == (2, True)
    assert second.published_at is not None
    assert second.published_at >= EPOCH + timedelta(hours=1)


async def test_round_trip_of_50_ms_lets_200_events_a_second_through(tmp_path: Path) -> None:
    bench = Bench(tmp_path, round_trip=0.05)
    bench.append(*LABELS, *LABELS)

    with bench.delivering():
        await bench.clock.advance(1.0)
    assert bench.sink.labels == LABELS + LABELS
    assert bench.sink.most_in_flight == 32
    assert bench.spool.depth == 0


async def test_events_wait_while_the_sink_is_down_and_arrive_in_order_once_it_is_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.sink.up.clear()
    with bench.delivering():
        bench.append(*LABELS)
        await bench.clock.advance(100)
        assert bench.sink.arrived == []

        bench.sink.up.set()
        await bench.clock.advance(0)
        assert bench.sink.labels == LABELS


async def test_sink_that_fails_though_ready_is_tried_less_and_less_often(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    attempts: list[float] = []

    def fail(label: str) -> Exception:
        attempts.append(bench.clock.monotonic())
        return SinkUnavailable("no answer")

    bench.sink.fate = fail
    bench.append("bark")
    with bench.delivering():
        await bench.clock.advance(32)
    assert attempts == [0, 1, 3, 7, 15, 23, 31]  # doubling up to 8 s
    assert bench.spool.depth == 1


async def test_all_are_sent_again_from_the_first_that_failed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    failures = [SinkUnavailable("no answer")]
    bench.sink.fate = lambda label: failures.pop() if label == "c" and failures else None
    bench.append("a", "b", "c", "d", "e")

    with bench.delivering():
        await bench.clock.advance(0)
        assert [seq for seq, _ in bench.spool.peek()] == [3, 4, 5]
        await bench.clock.advance(1)
    assert bench.sink.labels == ["a", "b", "d", "e", "c", "d", "e"]
    assert bench.watch.deliveries == ["a", "b", "c", "d", "e"]


async def test_refused_event_is_given_up_and_the_others_arrive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.sink.fate = lambda label: SinkRejected("too large") if label == "b" else None
    bench.append("a", "b", "c")

    with bench.delivering():
        await bench.clock.advance(0)
    assert bench.sink.labels == ["a", "c"]
    assert (bench.watch.rejections, bench.spool.depth) == ([2], 0)
    assert "given up" in caplog.text


async def test_message_that_is_no_event_does_not_stop_the_others(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.spool.append(b"{}")
    bench.append("a")

    with bench.delivering():
        await bench.clock.advance(0)
    assert (bench.sink.labels, bench.watch.rejections) == (["a"], [1])


async def test_cancelled_delivery_acknowledges_what_was_confirmed_and_no_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    unanswered = asyncio.Event()
    answer = bench.sink.send

    async def send(event: Event) -> None:
        await answer(event)
        if event.label in ("c", "d"):
            await unanswered.wait()

    bench.sink.send = send  # type: ignore[method-assign]
    bench.append("a", "b", "c", "d")
    with bench.delivering() as task:
        await bench.clock.advance(0)
        task.cancel()
        await asyncio.wait({task})

    assert [seq for seq, _ in bench.spool.peek()] == [3, 4]
