"""The broker's sample configuration as it is shipped, with a real mosquitto and two sensors' credentials."""

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest

from tests.parts import free_port, require, within
from tests.parts_events import event
from tests.parts_mqtt import Authority
from tests.parts_mqtt_sink import authority, connected, first_failure, mqtt_sink

__all__ = ["authority"]

SAMPLES = Path(__file__).parents[2] / "deploy" / "mosquitto"
USERS = {"pi1": "first", "pi2": "second", "reader": "third"}


@asynccontextmanager
async def shipped_broker(folder: Path, authority: Authority) -> AsyncIterator[int]:
    """mosquitto with the shipped files; only their places and the port are others."""
    port = free_port()
    process = start(folder, authority, port)
    try:
        async with within(20):
            while not listens(port):
                assert process.poll() is None, (folder / "log").read_text()
                await asyncio.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


def start(folder: Path, authority: Authority, port: int) -> "subprocess.Popen[bytes]":
    own = authority.issue("server")
    text = (SAMPLES / "mosquitto.conf").read_text()
    places = {
        "listener 8883": f"listener {port} 127.0.0.1",
        "/etc/mosquitto/certs/ca.crt": str(own.authority),
        "/etc/mosquitto/certs/server.crt": str(own.certificate),
        "/etc/mosquitto/certs/server.key": str(own.key),
        "password_file /etc/mosquitto/passwords": f"password_file {folder}/passwords",
        "acl_file /etc/mosquitto/acl": f"acl_file {folder}/acl",
        "/var/lib/mosquitto/": f"{folder}/",
    }
    for shipped, here in places.items():
        assert shipped in text
        text = text.replace(shipped, here)
    (folder / "mosquitto.conf").write_text(text + ("user root\n" if os.geteuid() == 0 else ""))
    (folder / "acl").write_text((SAMPLES / "acl").read_text())
    (folder / "acl").chmod(0o600)
    (folder / "passwords").touch(mode=0o600)
    for user, password in USERS.items():
        command = [require("mosquitto_passwd"), "-b", str(folder / "passwords"), user, password]
        subprocess.run(command, check=True, capture_output=True)
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([require("mosquitto"), "-c", str(folder / "mosquitto.conf")], stderr=log)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def client(port: int, authority: Authority, user: str) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1",
        port,
        username=user,
        password=USERS[user],
        identifier=f"test-{user}",
        tls_params=aiomqtt.TLSParameters(ca_certs=str(authority.file)),
    )


async def test_sensor_writes_its_own_topics_alone_and_reads_none(tmp_path: Path, authority: Authority) -> None:
    async with (
        shipped_broker(tmp_path, authority) as port,
        client(port, authority, "reader") as reader,
        client(port, authority, "pi1") as first,
        client(port, authority, "pi2") as second,
    ):
        await reader.subscribe("ssondo/#", qos=1)
        await second.subscribe("#", qos=1)
        for topic in ["ssondo/pi2/yard/event", "ssondo/pi1x/event", "ssondo/event", "homeassistant/status", "$SYS/x"]:
            await first.publish(topic, b"forged", qos=1)
        await reader.publish("ssondo/pi1/yard/event", b"forged", qos=1)
        await second.publish("ssondo/pi1/availability", b"forged", qos=1, retain=True)
        await first.publish("ssondo/pi1/yard/event", b"own", qos=1)
        await second.publish("ssondo/pi2/yard/event", b"own", qos=1)
        async with within(10):
            heard = [await anext(reader.messages) for _ in range(2)]
        assert {(str(message.topic), message.payload) for message in heard} == {
            ("ssondo/pi1/yard/event", b"own"),
            ("ssondo/pi2/yard/event", b"own"),
        }
        assert len(second.messages) == 0


async def test_our_sink_needs_no_more_than_that(tmp_path: Path, authority: Authority) -> None:
    login = {"username": "pi1", "password": "first", "tls": True, "ca_file": authority.file}
    async with (
        shipped_broker(tmp_path, authority) as port,
        client(port, authority, "reader") as reader,
        connected(port, **login) as sink,
    ):
        await reader.subscribe("ssondo/#", qos=1)
        await sink.send(event())
        async with within(10):
            topics = {str((await anext(reader.messages)).topic) for _ in range(2)}
        assert topics == {"ssondo/pi1/availability", "ssondo/pi1/yard/event"}


@pytest.mark.parametrize("login", [{}, {"username": "pi1", "password": "second"}])
async def test_strangers_are_refused(tmp_path: Path, authority: Authority, login: dict[str, str]) -> None:
    async with shipped_broker(tmp_path, authority) as port:
        detail = await first_failure(mqtt_sink(port, tls=True, ca_file=authority.file, **login))
    assert "refuses user or password" in detail
