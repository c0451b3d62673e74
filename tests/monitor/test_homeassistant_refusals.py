"""Brokers that do not want what Home Assistant is told: everything else goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.parts_announcer import CONFIG, ONLINE, sensor, settings
from tests.parts_events import event
from tests.parts_mqtt import Mosquitto, subscriber
from tests.parts_mqtt_sink import EVENTS


async def test_broker_that_allows_no_announcements_hears_everything_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = "user reader\ntopic read #\nuser pi1\ntopic write ssondo/pi1/#\n"
    users = {"pi1": "secret", "reader": "other"}
    async with Mosquitto(tmp_path / "broker", users=users, acl=rules) as strict:
        given = settings(strict.port, username="pi1", password="secret")
        async with (
            subscriber(strict.port, user="reader", password="other") as inbox,
            sensor(given, tmp_path / "note") as sink,
        ):
            await inbox.see(ONLINE, b"online")
            assert inbox.on("homeassistant/#") == []
            assert sink.detail is None, "whoever needs no Home Assistant is ready all the same"
    assert caplog.text.count("home assistant is not told") == 1


async def test_broker_that_lets_nobody_hear_is_announced_to_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with strict_broker() as (port, published), sensor(settings(port), tmp_path / "note") as sink:
        assert sink.detail is None
        assert CONFIG in published
    assert "mqtt broker lets us not hear" in caplog.text


async def test_broker_that_hangs_up_on_announcements_gets_events_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        strict_broker(hangs_up_on="homeassistant/") as (port, published),
        sensor(settings(port), tmp_path / "note") as sink,
    ):
        await sink.send(event())
    assert EVENTS in published
    assert published.count(CONFIG) == 2, "lost twice, it is left out"
    assert "mqtt broker hangs up on announcements" in caplog.text


@asynccontextmanager
async def strict_broker(hangs_up_on: str = "#") -> AsyncIterator[tuple[int, list[str]]]:
    """Of MQTT 5: refuses subscriptions, and may hang up on some topics. Gives its port, and topics as they come."""
    published: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while (answer := _answer(*await _packet(reader), published)) and not (
                published and published[-1].startswith(hangs_up_on)
            ):
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1]), published


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind = (await reader.readexactly(1))[0] >> 4
    length, shift, byte = 0, 0, 0x80
    while byte & 0x80:
        byte = (await reader.readexactly(1))[0]
        length, shift = length | (byte & 0x7F) << shift, shift + 7
    return kind, await reader.readexactly(length)


def _answer(kind: int, body: bytes, published: list[str]) -> bytes:
    """Nothing to a farewell."""
    match kind:
        case 1:
            published.append("")
            return bytes([0x20, 3, 0, 0, 0])
        case 3:
            end = 2 + int.from_bytes(body[:2], "big")
            published.append(body[2:end].decode())
            return bytes([0x40, 2]) + body[end : end + 2]
        case 8:
            return bytes([0x90, 4]) + body[:2] + bytes([0, 0x87])
        case 12:
            return bytes([0xD0, 0])
        case _:
            return b""
