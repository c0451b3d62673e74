"""A broker that dies, hangs or cannot be found: nothing is lost, and what is wrong is told."""

import asyncio
import logging
from pathlib import Path

import pytest

from monitor.backoff import Backoff
from monitor.clock import SystemClock
from monitor.config import MqttSettings
from monitor.mqtt import MqttSink
from monitor.sinks import deliver
from monitor.spool import Spool
from tests.parts import free_port, promised
from tests.parts_events import event
from tests.parts_mqtt import Mosquitto, subscriber
from tests.parts_mqtt_sink import broker, connected, first_failure, mqtt_sink, running, until

__all__ = ["broker"]


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
            with promised(5):
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
        with promised(3):
            await until(lambda: not sink.connected, seconds=3)
        assert "acknowledged nothing for 0.5 s" in (sink.detail or "") or "does not answer" in (sink.detail or "")
        assert spool.depth == 1

        broker.thaw()
        await until(lambda: spool.depth == 0)
        async with subscriber(broker.port) as inbox:
            await inbox.see("ssondo/pi1/availability", b"online")
        delivery.cancel()


async def test_broker_that_is_stopped_is_noticed_at_once_and_told_in_one_line(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "monitor")
    async with connected(broker.port) as sink:
        broker.stop()
        with promised(3):
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
