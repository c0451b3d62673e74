"""Two hundred events a second from many sources, through the whole service with one that is analysed beside them."""

import asyncio
import io
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from monitor.clock import SystemClock
from monitor.config import DemoSettings, HttpSettings, LogSettings, MqttSettings, NodeSettings, Settings
from monitor.model import open_student
from monitor.service import Service
from tests.faults.parts_broker import Heard, Hearing
from tests.parts import free_port, require, stopwatch
from tests.parts_mqtt import Mosquitto
from tests.parts_mqtt_sink import broker, until

__all__ = ["broker"]

SOURCES = 40
RATE = 200


@asynccontextmanager
async def _service(broker: Mosquitto, folder: Path) -> AsyncIterator[Service]:
    settings = Settings(
        node=NodeSettings(name="pi1", state_dir=folder),
        source=(DemoSettings(kind="demo", name="demo"),),
        mqtt=MqttSettings(host="127.0.0.1", port=broker.port),
        http=HttpSettings(port=free_port()),
        log=LogSettings(events=True),
    )
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        service = await Service.assemble(settings, SystemClock(), io.StringIO(), stack, open_student(settings.model))
        running = asyncio.create_task(service.run(stop))
        await until(lambda: service.status.troubles() == [], 30)
        yield service
        stop.set()
        await running


async def _measure_lag(lags: list[float], busy: list[float]) -> None:
    """How much later than asked for the loop comes back though a thread would have, and how long it has computed."""
    with stopwatch() as seconds:
        while True:
            due, computed = seconds() + 0.01, time.thread_time()
            await asyncio.sleep(0.01)
            lags.append(seconds() - due)
            busy.append(time.thread_time() - computed)


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.soak)])
async def test_200_events_a_second_from_many_sources_all_arrive_and_the_loop_stays_free(
    broker: Mosquitto, tmp_path: Path, seconds: int
) -> None:
    arrived = tmp_path / "arrived"
    command = [require("mosquitto_sub"), "-p", str(broker.port), "-q", "1", "-t", "ssondo/pi1/+/event"]
    lags: list[float] = []
    busy: list[float] = []
    async with _service(broker, tmp_path / "state") as service:
        with arrived.open("wb") as out:
            listener = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=subprocess.DEVNULL)
        await until(lambda: "ssondo/pi1/+/event" in broker.log.read_text())
        hearing = Hearing(service.publish, SystemClock())
        probe = asyncio.create_task(_measure_lag(lags, busy))
        begun = time.monotonic()
        for number in range(seconds * RATE // 2):
            hearing.hear(f"source{number % SOURCES}")
            await asyncio.sleep(max(0.0, begun + 2 * (number + 1) / RATE - time.monotonic()))
        probe.cancel()
        await until(lambda: service._spool.depth == 0, 30)
        total = sum(map(len, hearing.sent.values()))
        await until(lambda: arrived.read_bytes().count(b"\n") >= total, 30)
        listener.kill()
        await listener.wait()

    heard = Heard.of(arrived.read_bytes().splitlines())
    assert total == seconds * RATE
    assert {source: events for source, events in heard.events.items() if source != "demo"} == hearing.sent
    for told in (lags, busy):
        assert np.percentile(told, 99) <= 0.05, f"median {np.median(told):.4f} s, most {max(told):.4f} s"
