"""A sensor that announces itself, with labels of its own and no audio."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from monitor.backoff import Backoff
from monitor.clock import SystemClock
from monitor.config import Settings
from monitor.homeassistant import BIRTH
from monitor.mqtt import MqttSink
from monitor.retained import announcer
from ssondo_stream.bundle import Label, StudentSpec
from tests.parts_mqtt_sink import running, until

CONFIG = "homeassistant/device/pi1_yard/config"
ONLINE = "ssondo/pi1/availability"
SPEC = StudentSpec("tiny", (Label("Siren"), Label("Dog bark")), 4)


def settings(port: int, *sources: str, without: tuple[str, ...] = (), node: str = "pi1", **mqtt: Any) -> Settings:
    return Settings.model_validate(
        {
            "node": {"name": node},
            "source": [{"kind": "demo", "name": name} for name in sources or ("yard",)],
            "detection": {"labels": {slug: {"enabled": False} for slug in without}},
            "mqtt": {"host": "127.0.0.1", "port": port, **mqtt},
        }
    )


@asynccontextmanager
async def sensor(given: Settings, note: Path) -> AsyncIterator[MqttSink]:
    """A connected sensor whose labels are all off."""
    own = announcer(given, given.source, SPEC, note)
    sink = MqttSink(
        given.mqtt, given.node.name, SystemClock(), on_connect=own.publish, again_on=BIRTH, backoff=Backoff(0.02, 0.1)
    )
    for source in given.source:
        sink.retain(f"{source.name}/availability", "offline")
        for label in SPEC.labels:
            if label.slug not in given.detection.labels:
                sink.retain(f"{source.name}/label/{label.slug}", "OFF")
    sink.retain("status", "{}")
    async with running(sink):
        await until(lambda: sink.connected)
        yield sink
