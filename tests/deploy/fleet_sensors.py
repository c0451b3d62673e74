"""Simulated sensors, many in a process: the real MQTT sink each, publishing recorded events as a sensor does.

`python -m tests.deploy.fleet_sensors` reads what to do as JSON from standard input, and writes what happened as JSON to
standard output; `tests.deploy.fleet_load` starts as many of these as the machine has cores to spare.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from monitor.clock import SystemClock
from monitor.config import MqttSettings
from monitor.errors import SinkUnavailable
from monitor.events import Event, EventIds
from monitor.mqtt import MqttSink

CONNECTING = 8
"""Sensors of one process that connect at the same time."""


@dataclass
class Happened:
    """What a process' sensors did.

    Attributes:
        connecting_seconds: from the first attempt until all were online.
        sent: monotonic second at which each event was handed to the sink, by node and number.
        acked: seconds until the broker's acknowledgement, of each event.
        levels: messages of QoS 0.
        lost: events that were not acknowledged.
    """

    connecting_seconds: float = 0.0
    sent: dict[str, float] = field(default_factory=dict)
    acked: list[float] = field(default_factory=list)
    levels: int = 0
    lost: int = 0


class Sensors:
    """Some sensors of a fleet. State is what happened so far."""

    def __init__(self, settings: dict[str, MqttSettings], events: Sequence[Event], events_per_minute: float) -> None:
        clock = SystemClock()
        self.happened = Happened()
        self._sinks = {name: MqttSink(connection, name, clock) for name, connection in settings.items()}
        self._events = events
        self._pause = 60 / events_per_minute
        self._new_id = EventIds(clock)
        self._random = random.Random(len(settings))

    async def connect(self) -> list[asyncio.Task[None]]:
        """Bring all online, a few at a time; returns the tasks that keep them so."""
        began = time.monotonic()
        turns = asyncio.Semaphore(CONNECTING)
        tasks = await asyncio.gather(*(self._join(sink, turns) for sink in self._sinks.values()))
        self.happened.connecting_seconds = time.monotonic() - began
        return list(tasks)

    async def _join(self, sink: MqttSink, turns: asyncio.Semaphore) -> asyncio.Task[None]:
        async with turns:
            task = asyncio.create_task(sink.run())
            await sink.ready()
            return task

    async def publish(self, seconds: float) -> None:
        """Levels each second, and events at their rate, each sensor at a time of its own."""
        stop = time.monotonic() + seconds
        jobs = [job(name, sink, stop) for name, sink in self._sinks.items() for job in (self._level, self._hear)]
        await asyncio.gather(*jobs)

    async def _level(self, _: str, sink: MqttSink, stop: float) -> None:
        await asyncio.sleep(self._random.random())
        while time.monotonic() < stop:
            sink.level("yard", -42.0 + self._random.random(), None)
            self.happened.levels += 1
            await asyncio.sleep(1.0)

    async def _hear(self, name: str, sink: MqttSink, stop: float) -> None:
        """An event and the label's state, as the service publishes them."""
        number = self._random.randrange(len(self._events))
        await asyncio.sleep(self._random.random() * self._pause)
        while time.monotonic() < stop:
            number += 1
            recorded = self._events[number % len(self._events)]
            event = replace(recorded, event_id=self._new_id(), node=name, source="yard", seq=number)
            sink.retain(f"yard/label/{event.slug}", "ON" if number % 2 else "OFF")
            await self._send(name, sink, event)
            await asyncio.sleep(min(self._pause, max(0.0, stop - time.monotonic())))

    async def _send(self, name: str, sink: MqttSink, event: Event) -> None:
        began = time.monotonic()
        self.happened.sent[event.event_id] = began
        try:
            await sink.send(event)
            self.happened.acked.append(time.monotonic() - began)
        except SinkUnavailable as error:
            sys.stderr.write(f"{name}: {error}\n")
            self.happened.lost += 1

    async def close(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Take all offline."""
        await asyncio.gather(*(sink.close() for sink in self._sinks.values()))
        await asyncio.gather(*tasks)


async def work(task: dict[str, Any], events: Sequence[Event]) -> None:
    """Connect, wait for the word to begin, publish, tell."""
    settings = {name: MqttSettings.model_validate(connection) for name, connection in task["sensors"].items()}
    sensors = Sensors(settings, events, task["events_per_minute"])
    tasks = await sensors.connect()
    tell({"online": len(settings)})
    await asyncio.to_thread(sys.stdin.readline)
    await sensors.publish(task["seconds"])
    tell(vars(sensors.happened))
    await asyncio.to_thread(sys.stdin.readline)
    await sensors.close(tasks)


def tell(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the task and do it."""
    task = json.loads(sys.stdin.readline())
    lines = Path(task["events"]).read_bytes().splitlines()
    asyncio.run(work(task, [Event.from_json(line) for line in lines]))


if __name__ == "__main__":
    main()
