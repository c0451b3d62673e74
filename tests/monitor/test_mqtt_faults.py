"""A broker that dies, hangs or cannot be found: nothing is lost, and what is wrong is told."""

import asyncio
import logging
import time
from pathlib import Path

import pytest

from monitor.backoff import Backoff
from monitor.clock import SystemClock
from monitor.config import MqttSettings
from monitor.events import Event
from monitor.mqtt import MqttSink
from monitor.sinks import deliver
from monitor.spool import Spool
from tests.fakes import FakeClock
from tests.parts import free_port
from tests.parts_events import event
from tests.parts_mqtt import Inbox, Mosquitto, subscriber
from tests.parts_mqtt_sink import EVENTS, broker, connected, first_failure, mqtt_sink, running, until

__all__ = ["broker"]


def _seqs(inbox: Inbox) -> list[int]:
    return [Event.from_json(body).seq or 0 for body in inbox.on(EVENTS)]


async def test_broker_killed_while_events_flow_gets_all_of_them_in_order(broker: Mosquitto, tmp_path: Path) -> None:
    clock, wake = FakeClock(time.time()), asyncio.Event()
    spool = Spool(tmp_path / "spool.sqlite", clock=clock)
    sink = mqtt_sink(broker.port, clock)
    delivery = asyncio.create_task(deliver(spool, sink, clock, wake=wake))

    async def flow(count: int) -> None:
        for _ in range(count):
            spool.append(event().to_json())
            wake.set()
            await asyncio.sleep(0.001)

    async with running(sink):
        # QoS 0: what the broker has acknowledged to us and still holds for a slow subscriber dies with it
        async with subscriber(broker.port, EVENTS, qos=0) as before:
            flowing = asyncio.create_task(flow(400))
            await before.until(lambda inbox: len(inbox.messages) >= 100)
            broker.kill()
            await until(lambda: not sink.connected)
        await flowing
        await broker.start()
        async with subscriber(broker.port, EVENTS, qos=0) as after:
            while not sink.connected:
                await clock.advance(1)
                await asyncio.sleep(0.01)
            await clock.advance(60)
            await after.until(lambda inbox: b'"seq":400,' in b"".join(inbox.on(EVENTS)[-1:]))
    delivery.cancel()

    heard = list(dict.fromkeys(_seqs(before) + _seqs(after)))
    assert heard == list(range(1, 401))
    await until(lambda: spool.depth == 0)


async def test_retained_states_are_right_again_within_5_s_of_a_broker_that_forgot_them(broker: Mosquitto) -> None:
    settings = MqttSettings(host="127.0.0.1", port=broker.port)
    async with running(MqttSink(settings, "pi1", SystemClock())) as sink:
        await sink.ready()
        sink.retain("yard/label/siren", "ON")
        broker.kill()
        await until(lambda: not sink.connected)
        sink.retain("yard/label/siren", "OFF")
        await broker.start()
        async with subscriber(broker.port) as inbox:
            await inbox.see("ssondo/pi1/availability", b"online", seconds=5)
            assert inbox.on("ssondo/pi1/yard/label/siren") == [b"OFF"]


async def test_half_open_link_is_noticed_by_a_missing_acknowledgement_and_renewed(
    broker: Mosquitto, tmp_path: Path
) -> None:
    clock, wake = SystemClock(), asyncio.Event()
    spool = Spool(tmp_path / "spool.sqlite", clock=clock)
    async with connected(broker.port, timeout_seconds=0.5) as sink:
        delivery = asyncio.create_task(deliver(spool, sink, clock, wake=wake, backoff=Backoff(0.05, 0.1)))
        broker.freeze()
        spool.append(event().to_json())
        wake.set()
        await until(lambda: not sink.connected, seconds=3)
        assert "acknowledged nothing for 0.5 s" in (sink.detail or "") or "does not answer" in (sink.detail or "")
        assert spool.depth == 1

        broker.thaw()
        await until(lambda: spool.depth == 0)
        async with subscriber(broker.port) as inbox:
            await inbox.see("ssondo/pi1/availability", b"online")
        delivery.cancel()


async def test_half_open_link_is_noticed_without_any_event(broker: Mosquitto) -> None:
    async with connected(broker.port, keepalive_seconds=5) as sink:
        broker.freeze()
        await until(lambda: not sink.connected, seconds=14)
        broker.thaw()
        await until(lambda: sink.connected)


async def test_broker_that_is_stopped_is_noticed_at_once_and_told_in_one_line(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "monitor")
    async with connected(broker.port) as sink:
        broker.stop()
        await until(lambda: (sink.detail or "").startswith("nothing listens"), seconds=3)
        for _ in range(20):
            await asyncio.sleep(0.02)  # several attempts

    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines == [("INFO", "mqtt connected"), *[("WARNING", "mqtt unavailable, events wait in the spool")] * 2]


async def test_nothing_that_listens_is_told(tmp_path: Path) -> None:
    assert "nothing listens at 127.0.0.1" in await first_failure(mqtt_sink(free_port()))


async def test_host_that_has_no_address_is_told() -> None:
    assert "'no.such.host.invalid' has no address" in await first_failure(mqtt_sink(1883, host="no.such.host.invalid"))


async def test_host_that_can_be_no_name_is_told() -> None:
    assert "is no host name: check [mqtt] host" in await first_failure(mqtt_sink(1883, host=f"{'a' * 70}.org"))


async def test_broker_that_does_not_answer_is_told(broker: Mosquitto) -> None:
    broker.freeze()

    assert "does not answer" in await first_failure(mqtt_sink(broker.port, timeout_seconds=0.3))
