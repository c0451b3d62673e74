"""How the MQTT sink ends: it says offline, in bounded time."""

import asyncio
import signal
import subprocess
import sys

import pytest

from tests.parts import free_port, promised, within
from tests.parts_mqtt import Mosquitto, subscriber
from tests.parts_mqtt_sink import broker, mqtt_sink

__all__ = ["broker"]

CHILD = """
import asyncio, sys
from monitor.clock import SystemClock
from monitor.config import MqttSettings
from monitor.mqtt import MqttSink

async def main():
    sink = MqttSink(MqttSettings(host="127.0.0.1", port=int(sys.argv[1])), "pi1", SystemClock())
    task = asyncio.create_task(sink.run())
    await sink.ready()
    print("ready", flush=True)
    await task

asyncio.run(main())
"""


async def test_broker_says_offline_for_a_process_that_was_killed(broker: Mosquitto) -> None:
    async with subscriber(broker.port) as inbox:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(broker.port), stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        async with within(20):
            assert await child.stdout.readline() == b"ready\n"
        await inbox.see("ssondo/pi1/availability", b"online")
        child.send_signal(signal.SIGKILL)
        await child.wait()
        await inbox.see("ssondo/pi1/availability", b"offline")


async def test_cancelling_says_offline_after_the_states_that_changed(broker: Mosquitto) -> None:
    async with subscriber(broker.port) as inbox:
        sink = mqtt_sink(broker.port)
        task = asyncio.create_task(sink.run())
        await sink.ready()
        sink.retain("yard/availability", "offline")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await inbox.see("ssondo/pi1/availability", b"offline")

    assert [str(message.topic) for message in inbox.messages[-2:]] == [
        "ssondo/pi1/yard/availability",
        "ssondo/pi1/availability",
    ]


@pytest.mark.parametrize("backlog", [0, 64_000_000], ids=["idle", "full of unsent bytes"])
@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_ending_is_bounded_when_the_broker_hangs(broker: Mosquitto, backlog: int, way: str) -> None:
    sink = mqtt_sink(broker.port)
    task = asyncio.create_task(sink.run())
    await sink.ready()
    broker.freeze()
    if backlog:
        sink.retain("large", bytes(backlog))
        await asyncio.sleep(0.2)  # the kernel takes what it can
    with promised(4):
        async with within(4):
            if way == "close":
                await sink.close()
            else:
                task.cancel()
            await asyncio.wait({task})


async def test_closing_before_a_connection_ends_the_run() -> None:
    sink = mqtt_sink(free_port())
    task = asyncio.create_task(sink.run())
    await asyncio.sleep(0)
    with promised(3):
        async with within(3):
            await sink.close()
            await task
