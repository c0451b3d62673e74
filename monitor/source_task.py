"""One source at work: listens, has what it hears analysed, and spools the events that come of it.

It also knows whether the source can be trusted just now: nothing heard is not the same as not listening.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, cast

from monitor.analysis import Analysis
from monitor.clock import Clock
from monitor.config import DetectionSettings, ModelSettings, SourceSettings
from monitor.dating import EventDates
from monitor.detection import Detection, cut_off
from monitor.errors import CaptureError
from monitor.events import Event, EventFactory
from monitor.level import Level, LevelMeter
from monitor.listening import Interruption, Listener
from monitor.metrics import Metrics, Stage
from monitor.pipeline import Pipeline
from monitor.rules import watched
from monitor.sources import AudioSource, open_source
from ssondo_stream.engine import Student
from ssondo_stream.types import AudioBlock

log = logging.getLogger(__name__)

STALE_SECONDS = 4.0
"""Without a new prediction for so long after one was due, a source is not analysed."""

_SETTLE_SECONDS = 1.0  # that stopping leaves to the worker


class Outlet(Protocol):
    """Where a source's results go."""

    def publish(self, event: Event) -> None:
        """Spool an event."""

    def retain(self, topic: str, payload: str) -> None:
        """Publish a retained state, `topic` being relative to the node's."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all sources share.

    Attributes:
        worker: the thread that analyses.
        make_factory: event factory of a source.
        alive: called when something was analysed.
        retried: called when a lost source was tried again in vain.
        opener: makes a source of its settings.
    """

    student: Student
    model: ModelSettings
    detection: DetectionSettings
    clock: Clock
    metrics: Metrics
    worker: Executor
    outlet: Outlet
    make_factory: Callable[[str], EventFactory]
    alive: Callable[[], None]
    retried: Callable[[], None]
    opener: Callable[[SourceSettings, Clock], AudioSource] = open_source


class SourceTask:
    """Runs one source. State is its analysis, the events that are open and their dates, and its health."""

    def __init__(self, settings: SourceSettings, shared: Shared) -> None:
        self.name = settings.name
        self._settings = settings
        self._shared = shared
        self._observer = _Health(self, shared)
        self._listener = Listener(settings, shared.clock, self._observer, opener=shared.opener)
        self._factory = shared.make_factory(settings.name)
        self._analysis = Analysis(shared.worker, self._make_parts)
        spec = shared.student.spec
        self._hop_seconds = shared.model.hop_columns * spec.column / spec.mel.sample_rate
        self._dates = EventDates(spec.mel.sample_rate)
        self._open: dict[int, Detection] = {}
        self._reached = 0
        self._load = 0.0
        self._running = False
        self.up = False
        self.flat = False
        self.detail = "starting"
        self.failure: CaptureError | None = None
        self.analyzed_at: float | None = None
        self.gaps: dict[str, float] = {}

    @property
    def slugs(self) -> Sequence[str]:
        """Labels that are watched for."""
        return [label.slug for label in watched(self._shared.student.spec.labels, self._shared.detection)]

    @property
    def troubles(self) -> Sequence[str]:
        """Why the source cannot be trusted now; nothing if it can."""
        if not self.up:
            return [f"source {self.name}: {self.detail or 'no audio'}"]
        if self.flat:
            return [f"source {self.name}: the signal is flat, is the microphone muted?"]
        now = self._shared.clock.monotonic()
        patience = STALE_SECONDS + self._hop_seconds
        if self.analyzed_at is None or now - self.analyzed_at > patience:
            return [f"source {self.name}: no audio was analysed for {patience:.1f} s"]
        return []

    async def run(self) -> None:
        """Listen until the source ends or the task is cancelled; open events are ended either way."""
        ending, self._running = "ended", True
        try:
            async with aclosing(self._listener.blocks()) as blocks:
                async for item in blocks:
                    if isinstance(item, Interruption):
                        self._publish(await self._analysis.close())
                    else:
                        await self._hear(item)
        except CaptureError as error:  # of a file: nothing would be gained by opening it again
            ending, self.failure = str(error), error
            log.error("source failed", extra={"fields": {"source": self.name, "error": ending}})
        finally:
            self._running = False
            await self._end()
            self._observer.state(up=False, flat=False, detail=ending)

    def tick(self) -> None:
        """Once a second: account for an outage so far, and for what hangs."""
        if self._running:
            self._listener.tick()
            self._observer.metrics.tick()

    def level(self) -> Level | None:
        """The level since the last call, if there was audio."""
        level = self._analysis.level() if self.up else None
        if level:
            self._observer.metrics.level(level.dbfs)
        return level

    async def _hear(self, block: AudioBlock) -> None:
        begun, rate = time.perf_counter(), self._listener.sample_rate
        detections = await self._analysis.push(block, rate)
        self._reached = round(block.end * self._shared.student.spec.mel.sample_rate / rate)
        self._note_load(time.perf_counter() - begun, len(block.samples) / rate)
        self._publish(detections)

    async def _end(self) -> None:
        """End what is open, in bounded time whatever the worker does."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                self._publish(await self._analysis.collect())
                self._publish(await self._analysis.close())
        if self._open:
            log.warning("analysis hangs, events ended where it was", extra={"fields": {"source": self.name}})
            self._publish([cut_off(start, self._reached) for start in self._open.values()])

    def _make_parts(self, rate: int) -> tuple[Pipeline, LevelMeter]:
        shared = self._shared
        pipeline = Pipeline(
            shared.student,
            rate,
            shared.detection,
            hop_columns=shared.model.hop_columns,
            stage=lambda name: shared.metrics.stage(cast("Stage", name)),
            on_prediction=lambda _: self._observer.predicted(),
            on_analyzed=self._observer.metrics.analyzed,
        )
        return pipeline, LevelMeter(rate, self._settings.calibration_db)

    def _publish(self, detections: Sequence[Detection]) -> None:
        clock = self._listener.clock
        for detection in detections:
            event = self._factory.event(detection, self._dates.of(detection, self._heard_at, clock.wall_offset))
            self._shared.outlet.publish(event)
            self._note(event)
            self._switch(detection)

    def _note(self, event: Event) -> None:
        if event.event_type == "started":
            now = datetime.fromtimestamp(self._shared.clock.wall(), UTC)
            self._observer.metrics.event(event.slug)
            self._observer.metrics.latency((now - event.onset).total_seconds())
        else:
            self._observer.metrics.settled(event.slug, event.confirmed, event.score_peak - event.threshold)

    def _switch(self, detection: Detection) -> None:
        """A label is ON while any of its events is open."""
        slug, before = detection.slug, self._is_on(detection.slug)
        if detection.kind == "started":
            self._open[detection.key] = detection
        else:
            self._open.pop(detection.key, None)
        if (after := self._is_on(slug)) != before:
            self._shared.outlet.retain(f"{self.name}/label/{slug}", "ON" if after else "OFF")

    def _is_on(self, slug: str) -> bool:
        return any(start.slug == slug for start in self._open.values())

    def _heard_at(self, index: int) -> float:
        """Monotonic time of a sample at the student's rate."""
        rate = self._listener.sample_rate
        return self._listener.clock.monotonic(round(index * rate / self._shared.student.spec.mel.sample_rate))

    def _note_load(self, busy: float, heard: float) -> None:
        """Time spent per second of audio, smoothed over some ten seconds."""
        weight = min(1.0, heard / 10)
        self._load += weight * (busy / max(heard, 1e-6) - self._load)
        self._observer.metrics.realtime_factor(self._load)


class _Health:
    """Notes what the listener and the pipeline say of the source, for metrics, health and availability."""

    def __init__(self, task: SourceTask, shared: Shared) -> None:
        self._task = task
        self._shared = shared
        self.metrics = shared.metrics.observer(task.name)

    def captured(self, seconds: float) -> None:
        self.metrics.captured(seconds)

    def gap(self, seconds: float, reason: str) -> None:
        self.metrics.gap(seconds, reason)
        self._task.gaps[reason] = self._task.gaps.get(reason, 0.0) + seconds

    def retried(self) -> None:
        self._shared.retried()

    def restarted(self) -> None:
        self.metrics.restarted()

    def state(self, up: bool, flat: bool, detail: str) -> None:
        self.metrics.state(up, flat, detail)
        self._task.up, self._task.flat, self._task.detail = up, flat, detail
        if not up:
            self._task.analyzed_at = None

    def predicted(self) -> None:
        if self._task.up:  # what is analysed after a loss is old
            self._task.analyzed_at = self._shared.clock.monotonic()
        self._shared.alive()
