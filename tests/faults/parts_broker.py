"""Everything between the detector and the broker: a node that publishes from several sources, and a link that fails.

Run as a program, it is a node of its own that can be killed; see `main`.
"""

import argparse
import asyncio
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from monitor.backoff import Backoff
from monitor.clock import Clock, SystemClock
from monitor.config import MqttSettings
from monitor.events import Event, EventFactory, EventIds
from monitor.mqtt import MqttSink
from monitor.sinks import deliver
from monitor.spool import Spool
from tests.fakes import FakeClock
from tests.parts_events import END, START, utc

EVENTS = "ssondo/pi1/+/event"


class Hearing:
    """Makes the events of several sources.

    Attributes:
        sent: `(event_id, event_type)` of each event made, by source, oldest first.
    """

    def __init__(self, publish: Callable[[Event], None], clock: Clock) -> None:
        self.sent: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._publish = publish
        self._ids = EventIds(clock)
        self._factories: dict[str, EventFactory] = {}
        self._keys = itertools.count(1)

    def hear(self, source: str) -> list[tuple[str, str]]:
        """A sound that started and ended: publish both events."""
        factory = self._factories.setdefault(source, factory_of(source, self._ids))
        key = next(self._keys)
        for detection in (replace(START, key=key), replace(END, key=key)):
            event = factory.event(detection, utc)
            self._publish(event)
            self.sent[source].append((event.event_id, event.event_type))
        return self.sent[source][-2:]


def factory_of(source: str, ids: EventIds) -> EventFactory:
    return EventFactory(
        node="pi1",
        source=source,
        boot_id="b00",
        model="default",
        model_sha256="5a",
        sample_rate=32_000,
        new_id=ids,
    )


class Node:
    """Spool, MQTT sink and the delivery between them, fed with events of several sources."""

    def __init__(
        self, path: Path, settings: MqttSettings, clock: Clock, backoff: Backoff | None = None, **spool: Any
    ) -> None:
        self.clock = clock
        self.spool = Spool(path, clock=clock, **spool)
        self.sink = MqttSink(settings, "pi1", clock, backoff=backoff)
        self.wake = asyncio.Event()
        hearing = Hearing(self._publish, clock)
        self.hear, self.sent = hearing.hear, hearing.sent

    def _publish(self, event: Event) -> None:
        self.spool.append(event.to_json())
        self.wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Node"]:
        backoff = Backoff(0.05, 0.2) if isinstance(self.clock, SystemClock) else None
        delivery = asyncio.create_task(deliver(self.spool, self.sink, self.clock, wake=self.wake, backoff=backoff))
        connection = asyncio.create_task(self.sink.run())
        try:
            yield self
        finally:
            delivery.cancel()
            await self.sink.close()
            await asyncio.wait({delivery, connection}, timeout=5)
            self.spool.close()


@dataclass
class Heard:
    """What arrived at a subscriber: numbers, ids and types by source, repeats dropped."""

    seqs: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    events: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    repeats: int = 0

    @classmethod
    def of(cls, payloads: Iterable[bytes]) -> "Heard":
        heard, numbers = cls(), dict[tuple[str, str], int]()
        for event in map(json.loads, payloads):
            key, seq = (event["event_id"], event["event_type"]), event["seq"]
            if key in numbers:
                assert numbers[key] == seq, f"{key} came as {numbers[key]} and as {seq}"
                heard.repeats += 1
                continue
            numbers[key] = seq
            heard.seqs[event["source"]].append(seq)
            heard.events[event["source"]].append(key)
        every = list(numbers.values())
        assert len(every) == len(set(every)), "a number stands for two messages"
        for seqs in heard.seqs.values():
            assert seqs == sorted(seqs), "out of order within a source"
        return heard


class Gate:
    """A TCP relay before a broker, which can be shut and can swallow what it is given. A context manager."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = self.refused = 0
        self.swallow = False

    async def __aenter__(self) -> "Gate":
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.shut()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def shut(self) -> None:
        """Cut every connection, and let none through until `open`."""
        self._open.clear()
        for writer in self._writers:
            writer.transport.abort()

    def open(self) -> None:
        self._open.set()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        mine = {writer}
        self._writers |= mine
        try:
            if not self._open.is_set():
                self.refused += 1
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(far_writer)
            mine.add(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except OSError:
            pass
        finally:
            self._writers -= mine
            self._tasks.discard(task)
            for end in mine:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not self.swallow:
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError


class SteppedClock(FakeClock):
    """A clock for tests that also wait for the world: time stands still while anybody is at work."""

    @property
    def waiting(self) -> int:
        """How many sleep on this clock."""
        return sum(not future.done() for _, _, future in self._sleepers)


async def main(arguments: argparse.Namespace) -> None:
    """Publish for ever as a node of its own, printing each event spooled; or only until the spool is empty."""
    settings = MqttSettings(
        host=arguments.host, port=arguments.port, keepalive_seconds=5, timeout_seconds=arguments.timeout
    )
    node = Node(arguments.folder / "spool.sqlite", settings, SystemClock(), Backoff(0.05, 0.3))
    async with node.running():
        _say("ready")
        watch = asyncio.create_task(_tell_state(node.sink))
        for number in itertools.count():
            if arguments.rate == 0 and node.spool.depth == 0:
                break
            if arguments.rate:
                source = f"source{number % 4}"
                for event_id, kind in node.hear(source):
                    _say(json.dumps([source, event_id, kind]))
            await asyncio.sleep(1 / (arguments.rate or 50))
        watch.cancel()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _tell_state(sink: MqttSink) -> None:
    before = False
    while True:
        if sink.connected != before:
            before = sink.connected
            _say("connected" if before else "lost")
        await asyncio.sleep(0.05)


def command(port: int, folder: Path, rate: float, *, host: str = "127.0.0.1", timeout: float = 10.0) -> list[str]:
    """How to start a node of its own."""
    options = {"--port": port, "--folder": folder, "--rate": rate, "--host": host, "--timeout": timeout}
    return [sys.executable, "-m", __name__, *(str(word) for pair in options.items() for word in pair)]


def spooled(lines: Iterable[bytes]) -> dict[str, list[tuple[str, str]]]:
    """What a node printed of the events that it spooled, by source; a line that was cut off is none."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in lines:
        if line.startswith(b"[") and line.endswith(b"\n"):
            source, event_id, kind = json.loads(line)
            found[source].append((event_id, kind))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--timeout", type=float)
    with suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args()))
