"""A service that is told to end, whenever and whatever hangs, ends within 5 s and leaves nothing half done."""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.spool import Spool
from tests.parts import stopwatch
from tests.parts_mqtt import Inbox, Mosquitto, subscriber
from tests.parts_mqtt_sink import broker
from tests.parts_service import Service, running

__all__ = ["broker"]

AVAILABILITY = "ssondo/test/availability"
HEARD = 'ssondo_events_total{label="smoke_alarm",source="demo"}'


def to_broker(broker: Mosquitto) -> str:
    return f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'


def _terminate(service: Service) -> tuple[int, float]:
    """Exit code, and how many seconds it took."""
    with stopwatch() as seconds:
        return service.stop(), seconds()


def _left(folder: Path) -> list[dict[str, object]]:
    """What is in the spool of a service that has ended."""
    spool = Spool(folder / "state" / "spool.sqlite", clock=SystemClock(), readers=("mqtt", "stdout"))
    events = [json.loads(body) for _, body in spool.peek(1000)]
    spool.close()
    return events


async def test_open_events_are_ended_and_spooled_though_broker_and_terminal_hang(
    broker: Mosquitto, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while _fill(writer):
        pass
    os.set_blocking(writer, True)  # whoever reads our output has stopped
    with running(tmp_path, to_broker(broker), stdout=writer) as service:
        service.wait(Service.ready, "readiness")
        broker.freeze()
        service.wait(lambda s: s.metrics()[HEARD] > 0, "an event")
        code, seconds = await asyncio.to_thread(_terminate, service)
        log = service.log()
    for end in (reader, writer):
        os.close(end)

    assert (code, "Traceback" in log) == (0, False)
    assert seconds < 5
    kinds = [(event["event_type"], event["event_id"]) for event in _left(tmp_path)]
    assert [kind for kind, _ in kinds] == ["started", "ended"]
    assert kinds[0][1] == kinds[1][1]


def _fill(pipe: int) -> bool:
    try:
        return os.write(pipe, bytes(4096)) > 0
    except BlockingIOError:
        return False


@pytest.mark.parametrize(
    ("moments", "latest"), [(3, 3.0), pytest.param(25, 12.0, marks=pytest.mark.soak)], ids=["starting", "any"]
)
async def test_termination_at_a_random_moment_ends_within_5_s_and_leaves_no_event_open(
    broker: Mosquitto, tmp_path: Path, moments: int, latest: float
) -> None:
    chance, longest, farewells = random.Random(moments), 0.0, 0
    async with subscriber(broker.port) as inbox:
        for number in range(moments):
            with running(tmp_path, to_broker(broker)) as service:
                await asyncio.sleep(chance.uniform(0.0, latest))
                code, seconds = await asyncio.to_thread(_terminate, service)
                log = service.log()
            longest = max(longest, seconds)
            assert code in (0, -15), f"moment {number}: {log}"  # -15 before Python has got as far as the service
            assert "Traceback" not in log
            farewells += "mqtt connected" in log
            await inbox.until(partial(_offline, times=farewells))  # and all that was published before
        assert longest < 5
        told = [json.loads(body) for body in inbox.on("ssondo/test/+/event")]
        ends = Counter(event["event_id"] for event in [*told, *_left(tmp_path)] if event["event_type"] == "ended")
        assert {event["event_id"] for event in told} <= set(ends)
        assert all(state in (b"OFF", b"") for state in dict(_labels(inbox.messages)).values())


def _offline(inbox: Inbox, times: int) -> bool:
    told = inbox.on(AVAILABILITY)
    return told.count(b"offline") >= times and told[-1:] != [b"online"]


def _labels(messages: Sequence[object]) -> list[tuple[str, bytes]]:
    topics = [(str(message.topic), bytes(message.payload)) for message in messages]  # type: ignore[attr-defined]
    return [(topic, payload) for topic, payload in topics if "/label/" in topic]
