"""Who receives events: what a sink is, the loop that brings it the spool's messages, and the terminal.

Delivery is at least once and in order: a message leaves the spool after the sink has confirmed it and all before it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from itertools import takewhile
from typing import Protocol, TextIO

from monitor.backoff import Backoff
from monitor.clock import Clock
from monitor.errors import SinkRejected, SinkUnavailable
from monitor.events import Event
from monitor.spool import Spool

log = logging.getLogger(__name__)


class Sink(Protocol):
    """A receiver of events."""

    @property
    def name(self) -> str:
        """Its name as a reader of the spool."""

    async def ready(self) -> None:
        """Return once sending is worth a try."""

    async def send(self, event: Event) -> None:
        """Deliver an event; several may be under way, and they arrive in the order of the calls.

        Raises:
            SinkUnavailable: not now; send it again.
            SinkRejected: never; drop it.
        """


class DeliveryWatch(Protocol):
    """What may be counted."""

    def delivered(self, event: Event) -> None:
        """A sink confirmed an event."""

    def rejected(self, seq: int) -> None:
        """A message was given up."""


class StdoutSink:
    """Shows events on a terminal, one line each: JSON, or for people.

    Lines are written in a thread, since a paused terminal or a full pipe may block; one whose reader has gone is
    written no more.
    """

    name = "stdout"

    def __init__(self, stream: TextIO, *, as_json: bool = False, zone: tzinfo | None = None) -> None:
        """Write to a stream, with local times, or those of `zone`."""
        self._stream: TextIO | None = stream
        self._as_json = as_json
        self._zone = zone
        self._turn = asyncio.Lock()

    async def ready(self) -> None:
        """Return at once."""

    async def send(self, event: Event) -> None:
        """Write the event's line."""
        line = event.to_json().decode() if self._as_json else describe(event, self._zone)
        async with self._turn:
            await asyncio.to_thread(self._write, line)

    def _write(self, line: str) -> None:
        if self._stream is None:
            return
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: closed on our side
            log.warning("standard output is gone, events are shown no more", extra={"fields": {"error": error}})
            self._stream = None


def describe(event: Event, zone: tzinfo | None = None) -> str:
    """An event in one line for people: time, ▶ or ■, label, score, source, and how long it was."""
    time = (event.offset or event.onset).astimezone(zone).strftime("%H:%M:%S")
    sign = "▶" if event.event_type == "started" else "■"
    line = f"{time} {sign} {event.label:<24} {event.score:.2f}  {event.source}"
    if event.duration_s is not None:
        line += f"  {event.duration_s:.1f} s"
    if event.confirmed is False:
        line += "  (refuted)"
    return line


async def deliver(
    spool: Spool,
    sink: Sink,
    clock: Clock,
    *,
    wake: asyncio.Event,
    late_seconds: float = 30.0,
    settle_seconds: float = 10.0,
    in_flight: int = 32,
    watch: DeliveryWatch | None = None,
    backoff: Backoff | None = None,
) -> None:
    """Bring a sink every message of the spool, for ever.

    Args:
        spool: read under the sink's name.
        sink: receives.
        clock: tells when an event is sent, and lets the waits between attempts pass.
        wake: set by whoever appends; may be shared by several deliveries.
        late_seconds: see `Event.stamped`, as for `settle_seconds`.
        settle_seconds: by how much an `ended` comes after its offset by design.
        in_flight: most messages sent and not yet confirmed.
        watch: hears of each message's end.
        backoff: waits after the sink was unavailable.
    """

    def stamp(seq: int, body: bytes) -> Event:
        now = datetime.fromtimestamp(clock.wall(), UTC)
        return Event.from_json(body).stamped(seq, now, late_seconds, settle_seconds)

    backoff = backoff or Backoff(1.0, 30.0)
    while True:
        await sink.ready()
        batch = spool.peek(in_flight, reader=sink.name)
        if not batch:
            await wake.wait()
            wake.clear()
            continue
        try:
            await _deliver_batch(spool, sink, batch, stamp, watch)
            backoff.reset()
        except SinkUnavailable as error:
            log.debug("sink unavailable, events wait", extra={"fields": {"sink": sink.name, "reason": error}})
            await clock.sleep(backoff.next())


async def _deliver_batch(
    spool: Spool,
    sink: Sink,
    batch: Sequence[tuple[int, bytes]],
    stamp: Callable[[int, bytes], Event],
    watch: DeliveryWatch | None,
) -> None:
    """Send all at once, and acknowledge as far as none failed, also when cut off.

    From the first that failed all are sent again, so that the order holds for whoever drops duplicates.
    """
    tasks = [asyncio.create_task(_send(sink, seq, body, stamp), name=f"send {seq}") for seq, body in batch]
    try:
        for task in tasks:
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        done = list(takewhile(_succeeded, zip(batch, tasks, strict=True)))
        if done:
            spool.ack(done[-1][0][0], reader=sink.name)
        for (seq, _), task in done:
            event = task.result()
            if watch is not None:
                watch.rejected(seq) if event is None else watch.delivered(event)


def _succeeded(sent: tuple[tuple[int, bytes], asyncio.Task[Event | None]]) -> bool:
    return not sent[1].cancelled() and sent[1].exception() is None


async def _send(sink: Sink, seq: int, body: bytes, stamp: Callable[[int, bytes], Event]) -> Event | None:
    """The event that was delivered, None if it never will be."""
    try:
        event = stamp(seq, body)
    except ValueError as error:
        log.error("spooled message is no event", extra=_fields(sink, seq, error))
        return None
    try:
        await sink.send(event)
    except SinkRejected as error:
        log.error("event given up", extra=_fields(sink, seq, error))
        return None
    return event


def _fields(sink: Sink, seq: int, reason: Exception) -> dict[str, object]:
    return {"fields": {"sink": sink.name, "seq": seq, "reason": reason}}
