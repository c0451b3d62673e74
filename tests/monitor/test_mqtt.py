"""What the MQTT sink publishes: topics, retained states, levels and events."""

import json
from dataclasses import replace

import pytest

from monitor.clock import SystemClock
from monitor.config import MqttSettings
from monitor.errors import SinkRejected, SinkUnavailable
from monitor.mqtt import MqttSink, Publish
from monitor.mqtt_link import Message
from tests.parts import free_port
from tests.parts_events import event
from tests.parts_mqtt import Mosquitto, subscriber
from tests.parts_mqtt_sink import EVENTS, broker, connected, mqtt_sink, running

__all__ = ["broker"]


async def test_topics_qos_and_payloads_are_those_of_the_contract(broker: Mosquitto) -> None:
    made = event()
    async with subscriber(broker.port) as inbox:
        async with connected(broker.port) as sink:
            sink.retain("yard/availability", "online")
            sink.retain("yard/label/dog_bark", "ON")
            sink.retain("status", json.dumps({"version": "0.1.0"}))
            sink.level("yard", -31.24, 52.06)
            await sink.send(made)
            assert (sink.published, sink.acked) == (1, 1)
        await inbox.see("ssondo/pi1/availability", b"offline")

    heard = {str(message.topic): (message.payload, message.qos) for message in inbox.messages}
    assert heard == {
        "ssondo/pi1/availability": (b"offline", 1),
        "ssondo/pi1/yard/availability": (b"online", 1),
        "ssondo/pi1/yard/label/dog_bark": (b"ON", 1),
        "ssondo/pi1/status": (b'{"version": "0.1.0"}', 1),
        "ssondo/pi1/yard/level": (b'{"dbfs": -31.2, "laeq_dba": 52.1}', 0),
        EVENTS: (made.to_json(), 1),
    }


async def test_states_are_retained_and_events_and_levels_are_not(broker: Mosquitto) -> None:
    async with connected(broker.port) as sink:
        sink.retain("yard/availability", "online")
        sink.level("yard", -30.0, None)
        await sink.send(event())
    async with subscriber(broker.port) as inbox:
        await inbox.until(lambda inbox: len(inbox.messages) >= 2)
        assert {str(message.topic): message.payload for message in inbox.messages} == {
            "ssondo/pi1/availability": b"offline",
            "ssondo/pi1/yard/availability": b"online",
        }
        assert all(message.retain for message in inbox.messages)


async def test_on_connect_states_come_first_then_the_announcements_then_online(broker: Mosquitto) -> None:
    async def announce(publish: Publish) -> None:
        await publish(Message("homeassistant/device/pi1_yard/config", b"{}", retain=True))

    settings = MqttSettings(host="127.0.0.1", port=broker.port)
    sink = MqttSink(settings, "pi1", SystemClock(), on_connect=announce)
    for number in range(40):
        sink.retain(f"yard/label/sound_{number}", "OFF")
    async with subscriber(broker.port) as inbox, running(sink):
        await inbox.see("ssondo/pi1/availability", b"online")

    topics = [str(message.topic) for message in inbox.messages[:42]]
    assert topics == [
        *(f"ssondo/pi1/yard/label/sound_{number}" for number in range(40)),
        "homeassistant/device/pi1_yard/config",
        "ssondo/pi1/availability",
    ]


async def test_unchanged_state_is_not_published_again_and_an_empty_one_is_cleared(broker: Mosquitto) -> None:
    async with subscriber(broker.port, "ssondo/pi1/yard/#") as inbox, connected(broker.port) as sink:
        for payload in ("ON", "ON", "OFF", "OFF", ""):
            sink.retain("yard/label/siren", payload)
            sink.retain("yard/done", payload)
            await inbox.see("ssondo/pi1/yard/done", payload.encode())
    assert inbox.on("ssondo/pi1/yard/label/siren") == [b"ON", b"OFF", b""]
    async with subscriber(broker.port) as late:
        await late.see("ssondo/pi1/availability", b"offline")
        assert late.on("ssondo/pi1/yard/#") == []


async def test_levels_are_dropped_without_a_connection_and_the_latest_state_is_kept(broker: Mosquitto) -> None:
    sink = mqtt_sink(broker.port)
    sink.level("yard", -30.0, None)
    for payload in ("ON", "OFF", "ON"):
        sink.retain("yard/label/siren", payload)
    async with subscriber(broker.port) as inbox, running(sink):
        await inbox.see("ssondo/pi1/availability", b"online")

    assert inbox.on("ssondo/pi1/yard/+/siren") == [b"ON"]
    assert inbox.on("ssondo/pi1/yard/level") == []


async def test_digital_silence_has_a_level_that_json_can_say(broker: Mosquitto) -> None:
    async with subscriber(broker.port) as inbox, connected(broker.port) as sink:
        sink.level("yard", float("-inf"), float("-inf"))
        await inbox.see("ssondo/pi1/yard/level", b'{"dbfs": -200.0, "laeq_dba": -200.0}')


async def test_sending_without_a_connection_is_unavailable_and_says_why() -> None:
    with pytest.raises(SinkUnavailable, match="not connected"):
        await mqtt_sink(free_port()).send(event())


async def test_event_that_no_broker_takes_is_rejected(broker: Mosquitto) -> None:
    async with connected(broker.port) as sink:
        with pytest.raises(SinkRejected, match="cannot be published"):
            await sink.send(replace(event(), source="a/#"))
        await sink.send(event())
