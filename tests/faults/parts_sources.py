"""Faulty sound in virtual time: a device, all that lies between it and the events, and the account of every second."""

import asyncio
import heapq
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from monitor.clock import Clock
from monitor.config import DetectionSettings, MicrophoneSettings, ModelSettings, MqttSettings, SourceSettings
from monitor.errors import CaptureError
from monitor.events import Event, EventFactory, EventIds
from monitor.metrics import Metrics
from monitor.mqtt import MqttSink
from monitor.source_task import Shared, SourceTask
from monitor.sources.feed import Feed
from monitor.spool import Spool
from monitor.status import Status
from monitor.systemd import Notifier
from ssondo_stream.types import AudioBlock, Samples
from tests.fakes import FakeClock, LoudnessStudent

RATE = 32_000
TICK = 0.1  # seconds between the device's callbacks
UNDER_WAY = 1.5  # seconds of audio at most that were captured and are not analysed yet

P = ParamSpec("P")
T = TypeVar("T")


def assert_accounted(
    found: Mapping[str, float], source: str, *, seconds: float | None = None, under_way: float = UNDER_WAY
) -> None:
    """Audio captured is audio analysed and audio in gaps, to 0.1 %, but for what is under way.

    Args:
        found: the samples of /metrics, by name and labels.
        source: its name.
        seconds: how long was listened to it, if known; that is then what must have been captured, or missed.
        under_way: seconds captured that need not be analysed yet.
    """
    series = f'{{source="{source}"}}'
    captured = found[f"ssondo_audio_captured_seconds_total{series}"]
    analyzed = found[f"ssondo_audio_analyzed_seconds_total{series}"]
    gaps = {name: found[name] for name in found if name.startswith("ssondo_audio_gap") and f'"{source}"' in name}
    rest = captured - analyzed - sum(gaps.values())
    allowed = 0.001 * captured
    assert -allowed <= rest <= allowed + under_way, f"{captured=} {analyzed=} {gaps=}"
    if seconds is not None:
        assert abs(captured - seconds) <= 0.001 * seconds + under_way, f"{captured=} of {seconds=} {gaps=}"


class Device:
    """A sound card in virtual time. What it gives follows `wave`; it may be gone, or stall as it is told.

    Attributes:
        present: whether it can be opened.
        ppm: by how much its crystal is too fast.
        late: it holds back what it hears, and gives it in a burst when it is late no more.
        lossy: it hears nothing, and does not tell.
        wave: samples for the indices [n] of the card.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.present = True
        self.ppm = 0.0
        self.late = self.lossy = False
        self.wave: Callable[[Samples], Samples] = noise
        self.feed: Feed | None = None
        self._clock = clock
        self._at = 0
        self._held: list[Samples] = []

    def unplug(self) -> None:
        self.present = False
        self._held = []
        if self.feed is not None:
            self.feed.fail(CaptureError("unplugged"))
            self.feed = None

    async def run(self) -> None:
        due = 0.0
        for tick in count(1):
            await self._clock.sleep(tick * TICK - self._clock.monotonic())
            due += TICK * RATE * (1 + self.ppm * 1e-6)
            indices = np.arange(self._at, round(due))
            self._at = round(due)
            if self.feed is not None and not self.lossy:
                self._held.append(self.wave(indices.astype(np.float32)))
            while self.feed is not None and self._held and not self.late:
                self.feed.write(self._held.pop(0))


def noise(indices: Samples) -> Samples:
    """Faint noise."""
    return np.random.default_rng(len(indices)).normal(0, 0.001, len(indices)).astype(np.float32)


def roar(indices: Samples) -> Samples:
    """What a `LoudnessStudent` takes for a sound."""
    return 300 * noise(indices)


def zeros(indices: Samples) -> Samples:
    """What a muted microphone gives."""
    return np.zeros(len(indices), np.float32)


def stuck(indices: Samples) -> Samples:
    """What a broken converter gives."""
    return np.full(len(indices), 0.25, np.float32)


class VirtualMicrophone:
    """The device, through the very feed of a microphone; see `AudioSource` for the attributes."""

    live = True
    waits = False
    open_seconds = 5.0

    def __init__(self, settings: SourceSettings, clock: Clock, device: Device) -> None:
        self.name = settings.name
        self.sample_rate = RATE
        self.arrived = 0
        self.gap_reason = "lost"
        self._clock = clock
        self._device = device

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        if not self._device.present:
            raise CaptureError("no such device")
        feed = self._device.feed = Feed(self._clock)
        feed.open(RATE)
        async for block in feed.blocks():
            self.arrived, self.gap_reason = feed.arrived, feed.gap_reason
            yield block


class VirtualWorker(Executor):
    """One worker whose calls take virtual time, one after the other.

    Attributes:
        seconds: that each call takes.
        most: calls that were under way at once.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.seconds = 0.0
        self.most = 0
        self._clock = clock
        self._free = 0.0
        self._waiting: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        future: Future[T] = Future()
        self._free = max(self._free, self._clock.monotonic()) + self.seconds
        heapq.heappush(self._waiting, self._free)
        self.most = max(self.most, len(self._waiting))

        async def work(due: float) -> None:
            if due > self._clock.monotonic():
                await self._clock.sleep(due - self._clock.monotonic())
            heapq.heappop(self._waiting)
            future.set_result(function(*args, **kwargs))

        task = asyncio.get_running_loop().create_task(work(self._free))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return future


class Retained(MqttSink):
    """Keeps what would be retained, by topic below the node's: payloads, and when they came."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(MqttSettings(), "test", clock)
        self.told: dict[str, list[tuple[float, str]]] = {}

    def retain(self, subtopic: str, payload: str | bytes) -> None:
        told = self.told.setdefault(subtopic, [])
        if not told or told[-1][1] != payload:
            told.append((self._clock.monotonic(), str(payload)))


class Rig(AbstractAsyncContextManager["Rig"]):
    """One source of the service in virtual time, from a device to the spool, with the status that watches it."""

    def __init__(self, folder: Path, wall: float = 1_800_000_000.0, **settings: object) -> None:
        self.clock = FakeClock(wall)
        self.device = Device(self.clock)
        self.metrics = Metrics(clock=self.clock)
        self.worker = VirtualWorker(self.clock)
        self.retained = Retained(self.clock)
        self.spool = Spool(folder / "spool.sqlite", 1000, clock=self.clock, readers=["mqtt"])
        self.published: list[tuple[float, Event]] = []
        self.pings: list[float] = []
        student, self._ids = LoudnessStudent(), EventIds(self.clock)
        self.task = SourceTask(
            MicrophoneSettings.model_validate({"name": "yard", "kind": "microphone", **settings}),
            Shared(
                student=student,
                model=ModelSettings(),
                detection=DetectionSettings.model_validate(
                    {"threshold": 0.5, "off": 0.4, "early": 0.6, "hold_seconds": 0}
                ),
                clock=self.clock,
                metrics=self.metrics,
                worker=self.worker,
                outlet=self,
                make_factory=self._factory,
                alive=lambda: self.pings.append(self.clock.monotonic()),
                retried=lambda: None,
                opener=lambda settings, clock: VirtualMicrophone(settings, clock, self.device),
            ),
        )
        self.status = Status(
            spec=student.spec,
            boot_id="b00",
            sources=[self.task],
            spool=self.spool,
            mqtt=self.retained,
            metrics=self.metrics,
            notifier=Notifier({}),
            wake=asyncio.Event(),
        )
        self._running: list[asyncio.Task[None]] = []

    def publish(self, event: Event) -> None:
        self.published.append((self.clock.monotonic(), event))
        self.spool.append(event.to_json())

    def retain(self, topic: str, payload: str) -> None:
        self.retained.retain(topic, payload)

    @property
    def ready(self) -> bool:
        return not self.task.troubles

    @property
    def available(self) -> bool:
        return self.retained.told["yard/availability"][-1][1] == "online"

    def events(self, kind: str) -> list[Event]:
        return [event for _, event in self.published if event.event_type == kind and event.slug == "low_sound"]

    def samples(self) -> dict[str, float]:
        lines = self.metrics.exposition().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    async def within(self, seconds: float, condition: Callable[[], bool]) -> float:
        """Let time pass until a condition holds; the seconds that it took."""
        begun = self.clock.monotonic()
        while not condition():
            assert self.clock.monotonic() - begun < seconds, f"not within {seconds:g} s: {self.task.troubles}"
            await self.clock.advance(TICK)
        return self.clock.monotonic() - begun

    async def stop(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def __aenter__(self) -> "Rig":
        self.status.begin()
        jobs = (self.device.run(), self.task.run(), self.status.watch(self.clock))
        self._running = [asyncio.create_task(job) for job in jobs]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self.spool.close()

    def _factory(self, source: str) -> EventFactory:
        return EventFactory(
            node="test",
            source=source,
            boot_id="b00",
            model="loudness",
            model_sha256="5a",
            sample_rate=RATE,
            new_id=self._ids,
        )
