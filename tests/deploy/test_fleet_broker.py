"""A fleet's certificates, passwords and access rules at a real mosquitto with the shipped configuration."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest

from monitor.backoff import Backoff
from monitor.clock import SystemClock
from monitor.homeassistant import object_id
from monitor.mqtt import MqttSink
from tests.deploy.parts_fleet import BROKER, Fleet, broker_of, fleet
from tests.parts import within
from tests.parts_events import event
from tests.parts_mqtt_sink import first_failure, running, until


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    of = Fleet(tmp_path_factory.mktemp("fleet"))
    of.enrol("pi1", "pi2", "gone")
    fleet("password", of.folder, "pi3")
    return of


def sink(of: Fleet, name: str, **settings: object) -> MqttSink:
    return MqttSink(of.by_certificate(name, **settings), name, SystemClock(), backoff=Backoff(0.02, 0.1))


@asynccontextmanager
async def online(of: Fleet, name: str, **settings: object) -> AsyncIterator[MqttSink]:
    async with running(sink(of, name, **settings)) as up, within(30):
        await up.ready()
        yield up


def client(of: Fleet, name: str, identifier: str) -> aiomqtt.Client:
    """Anyone with a sensor's certificate."""
    files = of.sensor(name)
    context = ssl.create_default_context(cafile=str(files / "ca.crt"))
    context.load_cert_chain(files / "sensor.crt", files / "secrets" / "sensor.key")
    version = aiomqtt.ProtocolVersion.V5
    return aiomqtt.Client(BROKER, of.sensors_port, identifier=identifier, tls_context=context, protocol=version)


async def test_a_sensor_publishes_by_its_certificate_alone(made: Fleet) -> None:
    async with broker_of(made), made.reader() as reader, online(made, "pi1") as first:
        await reader.subscribe("ssondo/#", qos=1)
        await first.send(event())
        async with within(20):
            heard = [await anext(reader.messages) for _ in range(2)]
    assert {str(message.topic) for message in heard} == {"ssondo/pi1/availability", "ssondo/pi1/yard/event"}


async def test_another_sensors_topics_are_denied_and_it_is_told(made: Fleet) -> None:
    async with broker_of(made), client(made, "pi2", "x") as second, made.reader() as reader:
        await reader.subscribe("ssondo/#", qos=1)
        await second.publish("ssondo/pi1/yard/event", b"forged", qos=1)
        await second.publish("ssondo/pi2/yard/event", b"own", qos=1)
        async with within(20):
            message = await anext(reader.messages)
    assert (str(message.topic), message.payload) == ("ssondo/pi2/yard/event", b"own")


async def test_no_sensor_takes_the_connection_of_another(made: Fleet) -> None:
    """A broker ends the older of two connections with one id."""
    async with broker_of(made), online(made, "pi1") as first, client(made, "pi2", "ssondo-pi1") as second:
        await second.publish("ssondo/pi2/yard/event", b"own", qos=1)
        await first.send(event())
        assert (first.connected, first.acked) == (True, 1)


async def test_without_a_certificate_of_the_fleet_nobody_comes_in(made: Fleet, tmp_path: Path) -> None:
    other = Fleet(tmp_path / "other")
    other.enrol("pi1")
    stranger = {
        key: other.sensor("pi1") / file
        for key, file in (("cert_file", "sensor.crt"), ("key_file", "secrets/sensor.key"))
    }
    async with broker_of(made) as process:
        for settings in ({"cert_file": None, "key_file": None}, stranger):
            assert await first_failure(sink(made, "pi1", **settings))
        assert process.poll() is None
        async with online(made, "pi1"):
            pass


async def test_a_password_serves_where_there_is_no_certificate(made: Fleet) -> None:
    async with broker_of(made), made.reader() as reader, made.reader("pi3") as third:
        await reader.subscribe("ssondo/#", qos=1)
        await third.publish("ssondo/pi1/yard/event", b"forged", qos=1)
        await third.publish("ssondo/pi3/yard/event", b"own", qos=1)
        async with within(20):
            assert str((await anext(reader.messages)).topic) == "ssondo/pi3/yard/event"


async def test_a_revoked_certificate_opens_nothing_after_the_brokers_restart(made: Fleet, tmp_path: Path) -> None:
    kept = shutil.copytree(made.sensor("gone"), tmp_path / "kept")
    mine = {"ca_file": kept / "ca.crt", "cert_file": kept / "sensor.crt", "key_file": kept / "secrets" / "sensor.key"}
    async with broker_of(made), online(made, "gone", **mine):
        pass
    fleet("revoke", made.folder, "gone")
    assert not made.sensor("gone").exists()
    async with broker_of(made):
        assert await first_failure(sink(made, "gone", **mine))
        async with online(made, "pi1"):
            pass


async def test_an_announcement_is_allowed_for_the_sources_that_were_named(made: Fleet) -> None:
    fleet("announce", made.folder, "pi1", "yard", "street.west")
    with (made.folder / "broker" / "acl").open("a") as rules:
        rules.write("user pi3\ntopic read homeassistant/#\n")
    async with broker_of(made), made.reader("pi3") as home, client(made, "pi1", "x") as first:
        await home.subscribe("homeassistant/#", qos=1)
        for source in ("elsewhere", "yard", "street.west"):
            await first.publish(f"homeassistant/device/{object_id('pi1', source)}/config", b"{}", qos=1)
        async with within(20):
            topics = [str((await anext(home.messages)).topic) for _ in range(2)]
    assert topics == ["homeassistant/device/pi1_yard/config", "homeassistant/device/pi1_street-west/config"]


async def test_consumers_that_share_a_subscription_share_the_events(made: Fleet) -> None:
    """As many consumers as a stream store needs, each event to one of them."""
    count = 20
    async with (
        broker_of(made),
        made.reader(identifier="first") as first,
        made.reader(identifier="second") as second,
        online(made, "pi1") as sensor,
    ):
        inboxes: list[list[bytes]] = [[], []]
        jobs = []
        for consumer, inbox in zip((first, second), inboxes, strict=True):
            await consumer.subscribe("$share/store/ssondo/+/+/event", qos=1)
            jobs.append(asyncio.create_task(_collect(consumer, inbox)))
        for number in range(count):
            await sensor.send(event(f"sound {number}"))
        await until(lambda: sum(map(len, inboxes)) == count, 20)
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs)
    assert len(set(inboxes[0] + inboxes[1])) == count
    assert all(inboxes)


async def _collect(consumer: aiomqtt.Client, inbox: list[bytes]) -> None:
    async for message in consumer.messages:
        inbox.append(bytes(message.payload))
