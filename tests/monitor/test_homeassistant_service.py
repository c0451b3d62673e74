"""The whole service, and Home Assistant's entities as its announcement describes them."""

import asyncio
import json
import time
from pathlib import Path

from tests.faults.parts_broker import Gate
from tests.parts_homeassistant import EventEntity
from tests.parts_mqtt import Inbox, Mosquitto
from tests.parts_schema import checked_subscriber
from tests.parts_service import Service, running

CONFIG = "homeassistant/device/test_demo/config"
EVENTS = "ssondo/test/demo/event"


def to_broker(port: int, **extra: object) -> str:
    lines = [f"{key} = {value}" for key, value in extra.items()]
    return "\n".join(["[mqtt]", 'host = "127.0.0.1"', f"port = {port}", "retry_max_seconds = 1", *lines, ""])


def entity(inbox: Inbox) -> EventEntity:
    """As announced, having received every event."""
    made = EventEntity(json.loads(inbox.on(CONFIG)[-1])["components"]["event"], time.time)
    for body in inbox.on(EVENTS):
        made.receive(body)
    return made


async def test_event_fires_and_a_label_that_is_removed_leaves(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path / "broker") as broker:
        async with checked_subscriber(broker.port) as inbox:
            with running(tmp_path / "s", to_broker(broker.port)) as service:
                await inbox.until(lambda inbox: bool(inbox.on(EVENTS)), 60)
                assert [fired["slug"] for fired in entity(inbox).fired] == ["smoke_alarm"]
                service.stop()
        without = "[detection.labels.rooster]\nenabled = false\n"
        async with checked_subscriber(broker.port) as inbox:
            with running(tmp_path / "s", to_broker(broker.port) + without):
                await inbox.until(lambda inbox: b'"label_rooster":{"platform":"binary_sensor"}}' in _last(inbox), 60)
                await inbox.see("ssondo/test/demo/label/rooster", b"")
                await inbox.see("ssondo/test/availability", b"online")


def _last(inbox: Inbox) -> bytes:
    return b"".join(inbox.on(CONFIG)[-1:])


async def test_event_that_could_not_be_delivered_in_time_comes_and_fires_nothing(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path / "broker") as broker,
        checked_subscriber(broker.port) as inbox,
        Gate(broker.port) as gate,
    ):
        gate.shut()
        with running(tmp_path / "s", to_broker(gate.port, late_seconds=2)) as service:
            await asyncio.to_thread(service.wait, _holds_old_event, "an event that waits")
            gate.open()
            await inbox.until(lambda inbox: bool(inbox.on(EVENTS)), 60)
            late = json.loads(inbox.on(EVENTS)[0])
            assert (late["slug"], late["late"]) == ("smoke_alarm", True)
            assert all(fired["event_id"] != late["event_id"] for fired in entity(inbox).fired)


def _holds_old_event(service: Service) -> bool:
    found = service.metrics()
    return found["ssondo_spool_messages"] > 0 and time.time() - found["ssondo_spool_oldest_timestamp_seconds"] > 3
