"""One source at work: listens, hands blocks to the worker thread, and spools the events that come of them.

It also knows whether the source can be trusted just now: nothing heard is not the same as not listening.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, cast

from monitor.clock import Clock
from monitor.config import DetectionSettings, ModelSettings, SourceSettings
from monitor.detection import Detection
from monitor.errors import CaptureError
from monitor.events import Event, EventFactory
from monitor.level import Level, LevelMeter
from monitor.listening import Interruption, Listener
from monitor.metrics import Metrics, Stage
from monitor.pipeline import Pipeline
from ssondo_stream.engine import Student
from ssondo_stream.types import AudioBlock

log = logging.getLogger(__name__)

STALE_SECONDS = 4.0
"""Without a new prediction for so long after one was due, a source is not analysed."""

_SETTLE = 2.0  # seconds that stopping waits for the worker


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


class SourceTask:
    """Runs one source. State is its pipeline, its level meter, the labels that are on, and its health."""

    def __init__(self, settings: SourceSettings, shared: Shared) -> None:
        self.name = settings.name
        self._settings = settings
        self._shared = shared
        self._observer = _Health(self, shared)
        self._listener = Listener(settings, shared.clock, self._observer)
        self._factory = shared.make_factory(settings.name)
        self._pipeline: Pipeline | None = None
        self._meter: LevelMeter | None = None
        spec = shared.student.spec
        self._hop_seconds = shared.model.hop_columns * spec.column / spec.mel.sample_rate
        self._open: Counter[str] = Counter()
        self._job: asyncio.Future[list[Detection]] | None = None
        self._load = 0.0
        self.up = False
        self.flat = False
        self.detail = "starting"
        self.failure: CaptureError | None = None
        self.analyzed_at: float | None = None
        self.gaps: dict[str, float] = {}

    @property
    def slugs(self) -> Sequence[str]:
        """Labels that are watched for."""
        labels, settings = self._shared.student.spec.labels, self._shared.detection.labels
        return [x.slug for x in labels if x.slug not in settings or settings[x.slug].enabled]

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
        ending = "ended"
        try:
            async with aclosing(self._listener.blocks()) as blocks:
                async for item in blocks:
                    if isinstance(item, Interruption):
                        self._close()
                    else:
                        await self._hear(item)
        except CaptureError as error:  # of a file: nothing would be gained by opening it again
            ending, self.failure = str(error), error
            log.error("source failed", extra={"fields": {"source": self.name, "error": ending}})
        finally:
            await self._worker_done()
            self._close()
            self._observer.state(up=False, flat=False, detail=ending)

    def level(self) -> Level | None:
        """The level since the last call, if there was audio."""
        level = self._meter.read() if self._meter and self.up else None
        if level:
            self._observer.metrics.level(level.dbfs)
        return level

    async def _hear(self, block: AudioBlock) -> None:
        pipeline = self._ready_pipeline()
        begun = time.perf_counter()
        loop = asyncio.get_running_loop()
        self._job = loop.run_in_executor(self._shared.worker, self._analyze, pipeline, block)
        detections = await self._job
        self._note_load(time.perf_counter() - begun, len(block.samples) / pipeline.sample_rate)
        self._publish(detections)

    def _analyze(self, pipeline: Pipeline, block: AudioBlock) -> list[Detection]:
        """In the worker thread."""
        if self._meter:
            self._meter.push(block.samples)
        return pipeline.push(block)

    def _ready_pipeline(self) -> Pipeline:
        rate = self._listener.sample_rate
        if self._pipeline is None or self._pipeline.sample_rate != rate:
            self._close()
            shared = self._shared
            self._meter = LevelMeter(rate, self._settings.calibration_db)
            self._pipeline = Pipeline(
                shared.student,
                rate,
                shared.detection,
                hop_columns=shared.model.hop_columns,
                stage=lambda name: shared.metrics.stage(cast("Stage", name)),
                on_prediction=lambda _: self._observer.predicted(),
                on_analyzed=self._observer.metrics.analyzed,
            )
        return self._pipeline

    def _close(self) -> None:
        if self._pipeline:
            self._publish(self._pipeline.close())

    def _publish(self, detections: Sequence[Detection]) -> None:
        for detection in detections:
            event = self._factory.event(detection, self._utc)
            self._shared.outlet.publish(event)
            self._note(event)
            self._switch(event)

    def _note(self, event: Event) -> None:
        if event.event_type == "started":
            now = datetime.fromtimestamp(self._shared.clock.wall(), UTC)
            self._observer.metrics.event(event.slug)
            self._observer.metrics.latency((now - event.onset).total_seconds())

    def _switch(self, event: Event) -> None:
        """A label is ON while any of its events is open."""
        before = self._open[event.slug] > 0
        self._open[event.slug] += 1 if event.event_type == "started" else -1
        if (after := self._open[event.slug] > 0) != before:
            self._shared.outlet.retain(f"{self.name}/label/{event.slug}", "ON" if after else "OFF")

    def _utc(self, index: int) -> datetime:
        rate = self._listener.sample_rate
        return self._listener.clock.utc(round(index * rate / self._shared.student.spec.mel.sample_rate))

    def _note_load(self, busy: float, heard: float) -> None:
        """Time spent per second of audio, smoothed over some ten seconds."""
        weight = min(1.0, heard / 10)
        self._load += weight * (busy / max(heard, 1e-6) - self._load)
        self._observer.metrics.realtime_factor(self._load)

    async def _worker_done(self) -> None:
        if self._job and not self._job.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(_SETTLE):
                    await asyncio.wait([self._job])


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
        if reason == "outage":
            self._shared.retried()

    def restarted(self) -> None:
        self.metrics.restarted()

    def state(self, up: bool, flat: bool, detail: str) -> None:
        self.metrics.state(up, flat, detail)
        self._task.up, self._task.flat, self._task.detail = up, flat, detail
        if not up:
            self._task.analyzed_at = None

    def predicted(self) -> None:
        self._task.analyzed_at = self._shared.clock.monotonic()
        self._shared.alive()
