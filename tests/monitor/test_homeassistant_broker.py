"""Announcements with a real broker: when they come, when they come again, and what is cleared."""

import json
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from monitor.broker import embedded_broker
from monitor.config import MqttSettings, Settings
from monitor.homeassistant import BIRTH
from tests.parts import free_port
from tests.parts_announcer import CONFIG, ONLINE, sensor, settings
from tests.parts_homeassistant import DISCOVERY
from tests.parts_mqtt import Inbox, Mosquitto, subscriber
from tests.parts_mqtt_sink import broker, until

__all__ = ["broker"]


async def run_once(given: Settings, note: Path) -> None:
    async with sensor(given, note):
        pass


async def retained(port: int) -> dict[str, bytes]:
    """What a newcomer to the broker is told."""
    async with subscriber(port) as inbox, aiomqtt.Client("127.0.0.1", port) as client:
        await client.publish("the/end", b"x", qos=1)
        await inbox.see("the/end", b"x")
        return {str(message.topic): bytes(message.payload) for message in inbox.messages if message.retain}


def components(payload: bytes) -> dict[str, Any]:
    value = json.loads(payload)
    DISCOVERY.validate(value)
    found: dict[str, Any] = value["components"]
    return found


async def test_announcement_comes_after_the_states_and_before_online_and_is_retained(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with subscriber(broker.port) as inbox, sensor(settings(broker.port), tmp_path / "note"):
        await inbox.see(ONLINE, b"online")
    topics = [str(message.topic) for message in inbox.messages]
    states = [topics.index(f"ssondo/pi1/yard/label/{slug}") for slug in ("siren", "dog_bark")]
    assert max(states) < topics.index(CONFIG) < topics.index(ONLINE)
    left = await retained(broker.port)
    assert set(components(left[CONFIG])) == {"event", "level", "label_siren", "label_dog_bark"}


async def test_birth_of_home_assistant_brings_the_announcement_again(broker: Mosquitto, tmp_path: Path) -> None:
    async with (
        subscriber(broker.port) as inbox,
        sensor(settings(broker.port), tmp_path / "note"),
        aiomqtt.Client("127.0.0.1", broker.port) as assistant,
    ):
        await inbox.see(ONLINE, b"online")
        await assistant.publish(CONFIG, b"", qos=1, retain=True)
        await assistant.publish("homeassistant/status", b"offline", qos=1)
        await inbox.see("homeassistant/status", b"offline")
        assert inbox.on(CONFIG)[-1] == b""
        await assistant.publish(BIRTH[0], BIRTH[1], qos=1)
        await inbox.until(lambda inbox: inbox.on(CONFIG)[-1:] not in ([], [b""]))
        assert len(inbox.on(CONFIG)) == 3
        assert components(inbox.on(CONFIG)[-1])


async def test_birth_that_is_only_retained_brings_nothing_twice(broker: Mosquitto, tmp_path: Path) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port) as assistant:
        await assistant.publish(BIRTH[0], BIRTH[1], qos=1, retain=True)
        async with subscriber(broker.port) as inbox:
            async with sensor(settings(broker.port), tmp_path / "note") as sink:
                sink.retain("done", "x")
                await inbox.see("ssondo/pi1/done", b"x")
            await inbox.see(ONLINE, b"offline")
        assert len(inbox.on(CONFIG)) == 1


async def test_broker_that_forgot_is_told_again(broker: Mosquitto, tmp_path: Path) -> None:
    async with sensor(settings(broker.port), tmp_path / "note") as sink:
        broker.kill()
        await until(lambda: not sink.connected)
        await broker.start()
        await until(lambda: sink.connected)
        assert CONFIG in await retained(broker.port)


async def test_source_that_was_removed_while_the_service_stood_still_is_cleared(
    broker: Mosquitto, tmp_path: Path
) -> None:
    await run_once(settings(broker.port, "yard", "hall"), tmp_path / "note")
    assert "ssondo/pi1/hall/label/siren" in await retained(broker.port)
    await run_once(settings(broker.port, "yard"), tmp_path / "note")
    left = await retained(broker.port)
    assert CONFIG in left
    assert [topic for topic in left if "hall" in topic] == []


async def test_label_that_was_removed_loses_its_entity_and_its_state(broker: Mosquitto, tmp_path: Path) -> None:
    await run_once(settings(broker.port), tmp_path / "note")
    async with sensor(settings(broker.port, without=("siren",)), tmp_path / "note"):
        left = await retained(broker.port)
        assert components(left[CONFIG])["label_siren"] == {"platform": "binary_sensor"}
        assert "ssondo/pi1/yard/label/siren" not in left
        assert "ssondo/pi1/yard/label/dog_bark" in left
    await run_once(settings(broker.port, without=("siren",)), tmp_path / "note")
    assert set(components((await retained(broker.port))[CONFIG])) == {"event", "level", "label_dog_bark"}


async def test_label_that_comes_back_is_a_whole_entity_again(broker: Mosquitto, tmp_path: Path) -> None:
    for without in ((), ("siren",), ()):
        await run_once(settings(broker.port, without=without), tmp_path / "note")
    assert "unique_id" in components((await retained(broker.port))[CONFIG])["label_siren"]


async def test_switch_off_takes_back_what_was_announced_and_nothing_else(broker: Mosquitto, tmp_path: Path) -> None:
    await run_once(settings(broker.port), tmp_path / "note")
    await run_once(settings(broker.port, discovery=False), tmp_path / "note")
    left = await retained(broker.port)
    assert CONFIG not in left
    assert "ssondo/pi1/yard/label/siren" in left


async def test_node_that_was_renamed_leaves_nothing_behind(broker: Mosquitto, tmp_path: Path) -> None:
    await run_once(settings(broker.port), tmp_path / "note")
    await run_once(settings(broker.port, node="porch"), tmp_path / "note")
    assert [topic for topic in await retained(broker.port) if "pi1" in topic] == []


async def test_what_is_cleared_once_may_be_anothers_later(broker: Mosquitto, tmp_path: Path) -> None:
    await run_once(settings(broker.port), tmp_path / "porch")
    async with sensor(settings(broker.port, node="porch"), tmp_path / "porch") as porch:
        async with sensor(settings(broker.port), tmp_path / "pi1"):
            broker.kill()
            await until(lambda: not porch.connected)
            await broker.start()
            await until(lambda: porch.connected)
            await until_retained(broker.port, CONFIG)
        await run_once(settings(broker.port, node="porch"), tmp_path / "porch")
        assert CONFIG in await retained(broker.port)


async def until_retained(port: int, topic: str) -> None:
    async with subscriber(port) as inbox:
        await inbox.until(lambda inbox: bool(inbox.on(topic)))


async def test_note_that_cannot_be_read_or_written_costs_nothing_but_memory(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "note").write_text('{"retained": [')
    await run_once(settings(broker.port), tmp_path / "note")
    assert CONFIG in (await retained(broker.port))
    await run_once(settings(broker.port, "hall"), tmp_path / "no" / "such" / "folder")
    assert "homeassistant/device/pi1_hall/config" in await retained(broker.port)
    assert "cannot note what the broker retains" in caplog.text


async def test_sample_rules_with_their_lines_for_home_assistant_allow_it(tmp_path: Path) -> None:
    sample = Path(__file__).parents[2] / "deploy" / "mosquitto" / "acl"
    rules = sample.read_text().replace("# user", "user").replace("# topic", "topic")
    users = {"pi1": "secret", "reader": "other"}
    async with Mosquitto(tmp_path / "broker", users=users, acl=rules + "topic readwrite homeassistant/#\n") as strict:
        given = settings(strict.port, username="pi1", password="secret")
        assistant = aiomqtt.Client("127.0.0.1", strict.port, username="reader", password="other")
        async with subscriber(strict.port, user="reader", password="other") as inbox, sensor(given, tmp_path / "note"):
            await inbox.see(ONLINE, b"online")
            async with assistant:
                await assistant.publish(BIRTH[0], BIRTH[1], qos=1)
            await inbox.until(_announced_twice)


async def test_embedded_broker_is_told_and_asked_as_well(tmp_path: Path) -> None:
    port = free_port()
    async with embedded_broker(port), subscriber(port) as inbox:
        given = settings(port).model_copy(update={"mqtt": MqttSettings(embedded_port=port)})
        async with sensor(given, tmp_path / "note"), aiomqtt.Client("127.0.0.1", port) as assistant:
            await inbox.see(ONLINE, b"online")
            await assistant.publish(BIRTH[0], BIRTH[1], qos=1)
            await inbox.until(_announced_twice)


def _announced_twice(inbox: Inbox) -> bool:
    return len(inbox.on(CONFIG)) == 2
