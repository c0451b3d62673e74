"""The composition root: makes the parts, runs them side by side, and stops them in order.

Whatever fails in a way that no part expects ends the process loudly, for its supervisor to start it again.
"""

import asyncio
import logging
import os
import signal
import sys
import uuid
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from typing import TextIO

from monitor import config, web
from monitor.banner import banner
from monitor.broker import embedded_broker
from monitor.clock import Clock, SystemClock
from monitor.config import DemoSettings, MicrophoneSettings, Settings, SourceSettings
from monitor.events import Event, EventFactory, EventIds
from monitor.exposure import exposures
from monitor.homeassistant import BIRTH
from monitor.metrics import Metrics
from monitor.model import open_student
from monitor.mqtt import MqttSink
from monitor.retained import announcer
from monitor.secret_files import http_token
from monitor.sinks import Sink, StdoutSink, deliver
from monitor.source_task import Shared, SourceTask
from monitor.spool import Spool
from monitor.status import Status
from monitor.systemd import Notifier, Watchdog, watchdog_interval
from ssondo_stream import Student

log = logging.getLogger(__name__)

_DRAIN_SECONDS = 1.0  # that a stop leaves for what is still in the spool
_CLOSE_SECONDS = 1.0  # that a stop leaves for saying goodbye to the broker


async def run(
    settings: Settings, *, clock: Clock | None = None, out: TextIO | None = None, student: Student | None = None
) -> None:
    """Run the service until SIGTERM or SIGINT, or until every source is a file that ended.

    Args:
        settings: of everything.
        clock: the machine's by default.
        out: where events are shown, standard output by default.
        student: the configured one by default.

    Raises:
        MonitorError, StreamError: something that was configured cannot be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        clock, out = clock or SystemClock(), out or sys.stdout
        service = await Service.assemble(settings, clock, out, stack, student or open_student(settings.model))
        await service.run(stop)


def choose_sources(settings: Settings) -> tuple[tuple[SourceSettings, ...], bool]:
    """The configured sources, else the default microphone, else the demonstration (then the second value is true)."""
    from monitor.sources.devices import has_microphone  # noqa: PLC0415  # opens the sound library

    if settings.source:
        return settings.source, False
    if has_microphone():
        return (MicrophoneSettings(kind="microphone", name="microphone"),), False
    return (DemoSettings(kind="demo", name="demo"),), True


class Service:
    """All parts of a running monitor. State is theirs."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        student: Student,
        sources: Sequence[SourceSettings],
        spool: Spool,
        mqtt: MqttSink | None,
        sinks: Sequence[Sink],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self.metrics = Metrics(clock=clock)
        self.metrics.position(settings.node.latitude, settings.node.longitude)
        self._spool = spool
        self._mqtt = mqtt
        self._sinks = sinks
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._notifier = Notifier(os.environ)
        self._watchdog = Watchdog(self._notifier, clock, watchdog_interval(os.environ, os.getpid()))
        self._worker = ThreadPoolExecutor(1, "analysis")
        self._boot_id = uuid.uuid4().hex
        self._new_id = EventIds(clock)
        self._student = student
        shared = Shared(
            student=student,
            model=settings.model,
            detection=settings.detection,
            clock=clock,
            metrics=self.metrics,
            worker=self._worker,
            outlet=self,
            make_factory=self._factory,
            alive=self._watchdog.feed,
            retried=self._retried,
        )
        self.sources = [SourceTask(source, shared) for source in sources]
        self.status = Status(
            spec=student.spec,
            boot_id=self._boot_id,
            sources=self.sources,
            spool=spool,
            mqtt=mqtt,
            metrics=self.metrics,
            notifier=self._notifier,
            wake=self._wake,
            exposed=exposures(settings),
        )

    @classmethod
    async def assemble(
        cls, settings: Settings, clock: Clock, out: TextIO, stack: AsyncExitStack, student: Student
    ) -> "Service":
        """Make the parts and open what they need; the stack closes it.

        Raises:
            MonitorError, StreamError: something that was configured cannot be used.
        """
        sources, demo = await asyncio.to_thread(choose_sources, settings)
        embedded = settings.mqtt.enabled and settings.mqtt.host is None
        if embedded:
            await stack.enter_async_context(embedded_broker(settings.mqtt.embedded_port))
        path = settings.spool.path or config.state_dir(settings, os.environ) / "spool.sqlite"
        mqtt = None
        if settings.mqtt.enabled:
            own = announcer(settings, sources, student.spec, path.with_name(path.name + ".retained"))
            node = settings.node.name
            mqtt = MqttSink(settings.mqtt, node, clock, on_connect=own.publish, again_on=BIRTH)
        sinks: list[Sink] = [mqtt] if mqtt else []
        if settings.log.events or not mqtt:
            sinks.append(StdoutSink(out))
        spool = Spool(path, settings.spool.max_messages, clock=clock, readers=[sink.name for sink in sinks])
        stack.callback(spool.close)
        service = cls(settings, clock, student=student, sources=sources, spool=spool, mqtt=mqtt, sinks=sinks)
        stack.callback(service._worker.shutdown, wait=False, cancel_futures=True)
        if settings.http.enabled:
            await stack.enter_async_context(
                web.serve(
                    settings.http.host,
                    settings.http.port,
                    service.metrics,
                    service.status.troubles,
                    http_token(settings.http),
                )
            )
        await _show(out, banner(settings, sources, demo=demo))
        return service

    async def run(self, stop: asyncio.Event) -> None:
        """Run all parts until told to stop or every source has ended; then stop them in order.

        Raises:
            CaptureError: a file could not be read.
        """
        self.status.begin()
        try:
            async with asyncio.TaskGroup() as group:
                background = [group.create_task(job, name=name) for name, job in self._background().items()]
                sources = [group.create_task(source.run(), name=f"source {source.name}") for source in self.sources]
                self._notifier.ready()
                await _first_of(stop, sources)
                log.info("stopping", extra={"fields": {"sources": len(sources)}})
                self._notifier.stopping()
                await _cancel(sources)
                await self._goodbye()
                await _cancel(background)
        finally:
            log.info("stopped")
        failure = next((source.failure for source in self.sources if source.failure), None)
        if failure:
            raise failure

    def publish(self, event: Event) -> None:
        """Spool an event and wake the sinks."""
        self._spool.append(event.to_json())
        self._wake.set()

    def retain(self, topic: str, payload: str) -> None:
        """Publish a retained state below the node's topic."""
        if self._mqtt:
            self._mqtt.retain(topic, payload)

    def delivered(self, event: Event) -> None:
        """A sink confirmed an event."""
        self._progress.set()

    def rejected(self, seq: int) -> None:
        """A sink will never take a message."""
        self._progress.set()

    def _retried(self) -> None:
        """While no source is heard, trying them again is the work; else only what is analysed proves life."""
        if not any(source.up for source in self.sources):
            self._watchdog.feed()

    def _factory(self, source: str) -> EventFactory:
        spec = self._student.spec
        return EventFactory(
            node=self._settings.node.name,
            source=source,
            boot_id=self._boot_id,
            model=spec.name,
            model_sha256=spec.network_sha256,
            sample_rate=spec.mel.sample_rate,
            new_id=self._new_id,
        )

    def _background(self) -> dict[str, Coroutine[object, object, None]]:
        jobs: dict[str, Coroutine[object, object, None]] = {"status": self.status.watch(self._clock)}
        for sink in self._sinks:
            jobs[f"deliver {sink.name}"] = deliver(
                self._spool,
                sink,
                self._clock,
                wake=self._wake,
                late_seconds=self._settings.mqtt.late_seconds,
                settle_seconds=self._settings.detection.settle_seconds,
                watch=self,
            )
        if self._mqtt:
            jobs["mqtt"] = self._mqtt.run()
        return jobs

    async def _goodbye(self) -> None:
        """Give the sinks a moment for the last events, then tell the broker that nobody listens."""
        self.status.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._spool.depth:
                    self._progress.clear()
                    await self._progress.wait()
        if self._mqtt:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._mqtt.close()


async def _show(out: TextIO, text: str) -> None:
    """Write in a thread, which a paused terminal or a full pipe may hold up for ever."""

    def write() -> None:
        out.write(text)
        out.flush()

    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await asyncio.to_thread(write)


async def _first_of(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for the event, or for all tasks to end."""
    stopped = asyncio.create_task(stop.wait(), name="stop")
    ended = asyncio.create_task(_all_done(tasks), name="all sources ended")
    try:
        await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel([stopped, ended])


async def _all_done(tasks: Sequence[asyncio.Task[None]]) -> bool:
    await asyncio.wait(tasks)
    return True


async def _cancel(tasks: Sequence[asyncio.Task[None]] | Sequence[asyncio.Task[bool]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
