import asyncio
import builtins
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path

import aiomqtt
import pytest

from monitor.broker import embedded_broker
from monitor.clock import SystemClock
from monitor.config import MqttSettings
from monitor.errors import ConfigError
from monitor.mqtt import MqttSink
from tests.parts import free_port, stopwatch, within
from tests.parts_events import event
from tests.parts_mqtt import subscriber


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of an embedded broker that runs."""
    number = free_port()
    async with embedded_broker(number):
        yield number


def _sink(port: int) -> MqttSink:
    return MqttSink(MqttSettings(embedded_port=port), "pi1", SystemClock())


async def test_events_and_states_reach_a_subscriber(port: int) -> None:
    sink = _sink(port)
    task = asyncio.create_task(sink.run())
    async with subscriber(port) as inbox:
        await sink.ready()
        sink.retain("yard/availability", "online")
        await sink.send(event())
        await inbox.see("ssondo/pi1/yard/availability", b"online")
        await inbox.see("ssondo/pi1/yard/event", event().to_json())
        await sink.close()
        await inbox.see("ssondo/pi1/availability", b"offline")
    await task


async def test_late_subscriber_gets_the_retained_states(port: int) -> None:
    sink = _sink(port)
    task = asyncio.create_task(sink.run())
    await sink.ready()
    sink.retain("yard/label/siren", "ON")
    async with subscriber(port) as early:
        await early.see("ssondo/pi1/yard/label/siren", b"ON")
    async with subscriber(port) as late:
        await late.see("ssondo/pi1/yard/label/siren", b"ON")
        await late.see("ssondo/pi1/availability", b"online")
        assert all(message.retain for message in late.messages)
    await sink.close()
    await task


async def test_last_will_is_said_for_a_client_that_vanishes(port: int) -> None:
    will = aiomqtt.Will("ssondo/other/availability", b"offline", qos=1, retain=True)
    async with subscriber(port) as inbox:
        script = (
            "import asyncio, os, aiomqtt\n"
            "async def main():\n"
            f"    will = aiomqtt.Will({will.topic!r}, {will.payload!r}, 1, True)\n"
            f"    async with aiomqtt.Client('127.0.0.1', {port}, will=will) as client:\n"
            f"        await client.publish({will.topic!r}, b'online', 1, True)\n"
            "        os._exit(0)\n"
            "asyncio.run(main())"
        )
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
        await child.wait()
        await inbox.see("ssondo/other/availability", b"offline")
    async with subscriber(port) as late:
        await late.see("ssondo/other/availability", b"offline")


async def test_port_in_use_is_one_clear_line(port: int) -> None:
    with pytest.raises(ConfigError) as caught:
        async with embedded_broker(port):
            pass

    assert f"[mqtt] embedded_port {port} cannot be used" in str(caught.value)
    assert "in use" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_port_is_free_again_after_the_block() -> None:
    number = free_port()
    for _ in range(2):
        async with embedded_broker(number), subscriber(number):
            pass


async def test_nothing_but_loopback_can_connect(port: int) -> None:
    with pytest.raises(OSError, match="failed"):
        await asyncio.open_connection("127.0.0.2", port)


async def test_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "amqtt"]:
        monkeypatch.delitem(sys.modules, name)
    find = builtins.__import__

    def refuse(name: str, *rest: object) -> object:
        if name.split(".", maxsplit=1)[0] == "amqtt":
            raise ImportError(name)
        return find(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r"pip install 'ssondo-monitor\[broker\]'"):
        async with embedded_broker(free_port()):
            pass


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # amqtt leaves connections that speak no MQTT to gc
async def test_broker_is_quiet_and_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    number = free_port()
    async with embedded_broker(number):
        _, writer = await asyncio.open_connection("127.0.0.1", number)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")  # no MQTT
        writer.close()
        await writer.wait_closed()
        async with subscriber(number) as inbox:
            assert inbox.messages == []

    assert [record.name for record in caplog.records if record.name != "monitor.broker"] == []
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    gc.collect()


async def test_stop_is_bounded_while_clients_are_connected() -> None:
    number = free_port()
    with ExitStack() as stack:
        async with within(10), embedded_broker(number):
            clients = [aiomqtt.Client("127.0.0.1", number, identifier=f"client {n}") for n in range(5)]
            for client in clients:
                await client.__aenter__()
                await client.subscribe("#")
            seconds = stack.enter_context(stopwatch())
        assert seconds() < 3
    for client in clients:
        with suppress(aiomqtt.MqttError):
            await client.__aexit__(None, None, None)
