"""Our MQTT sink at work, and the brokers and certificates it is tested with."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.backoff import Backoff
from monitor.clock import Clock, SystemClock
from monitor.config import MqttSettings
from monitor.mqtt import MqttSink
from tests.parts import within
from tests.parts_mqtt import Authority, Mosquitto

EVENTS = "ssondo/pi1/yard/event"


def mqtt_settings(**settings: Any) -> MqttSettings:
    return MqttSettings(**{"host": "127.0.0.1", **settings})


def mqtt_sink(port: int, clock: Clock | None = None, **settings: Any) -> MqttSink:
    return MqttSink(mqtt_settings(port=port, **settings), "pi1", clock or SystemClock(), backoff=Backoff(0.02, 0.1))


@asynccontextmanager
async def running(sink: MqttSink) -> AsyncIterator[MqttSink]:
    task = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        await sink.close()
        async with within(5):
            await task


@asynccontextmanager
async def connected(port: int, **settings: Any) -> AsyncIterator[MqttSink]:
    async with running(mqtt_sink(port, **settings)) as sink, within(20):
        await sink.ready()
        yield sink


async def first_failure(sink: MqttSink, seconds: float = 15.0) -> str:
    """Why the first attempt failed."""
    before = sink.detail
    async with running(sink):
        await until(lambda: sink.detail != before, seconds)
        return sink.detail or ""


async def until(done: Callable[[], bool], seconds: float = 15.0) -> None:
    async with within(seconds):
        while not done():  # noqa: ASYNC110  # what is waited for has no event to wait on
            await asyncio.sleep(0.01)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "broker") as mosquitto:
        yield mosquitto


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "another authority")
