"""Brokers that speak another version of MQTT, take little at once, or refuse one topic among several."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from monitor.clock import SystemClock
from monitor.config import MqttSettings
from tests.faults.parts_broker import EVENTS, Heard, Node
from tests.parts_mqtt import Mosquitto, subscriber
from tests.parts_mqtt_sink import connected, until

CONNECT, PUBLISH = 1, 3


class TinyBroker:
    """As much of a broker as a publisher needs; it shows what a publisher does to it.

    Attributes:
        levels: protocol versions that were asked for; 4 is 3.1.1.
        most_unanswered: most publications that waited for an answer at once.
    """

    def __init__(self, *, speaks: int, takes: int = 65_535) -> None:
        self._speaks = speaks
        self._takes = takes
        self.levels: list[int] = []
        self.answered = self.most_unanswered = 0
        self._waiting: list[bytes] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                kind, body = await _packet(reader)
                if kind == CONNECT:
                    self.levels.append(body[6])
                    writer.write(self._connack(body[6]))
                elif kind == PUBLISH:
                    end = 2 + int.from_bytes(body[:2], "big")
                    self._waiting.append(body[end : end + 2])
                    self.most_unanswered = max(self.most_unanswered, len(self._waiting))
                    asyncio.get_running_loop().call_later(0.02, self._answer, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _connack(self, level: int) -> bytes:
        if level != self._speaks:
            return bytes([0x20, 2, 0, 1])  # unacceptable protocol version
        if level == 4:
            return bytes([0x20, 2, 0, 0])
        return bytes([0x20, 6, 0, 0, 3, 0x21, *self._takes.to_bytes(2, "big")])  # Receive Maximum

    def _answer(self, writer: asyncio.StreamWriter) -> None:
        self.answered += 1
        writer.write(bytes([0x40, 2]) + self._waiting.pop(0))


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Kind and body of the next packet."""
    (first,), length, shift = await reader.readexactly(1), 0, 0
    while True:
        (digit,) = await reader.readexactly(1)
        length += (digit & 127) << shift
        shift += 7
        if digit < 128:
            return first >> 4, await reader.readexactly(length)


async def test_broker_that_speaks_only_3_1_1_is_asked_again_in_that(tmp_path: Path) -> None:
    broker = TinyBroker(speaks=4)
    async with broker.listening() as port, connected(port) as sink:
        assert sink.detail is None
    assert broker.levels == [5, 4]


async def test_configured_version_is_asked_for_at_once() -> None:
    broker = TinyBroker(speaks=4)
    async with broker.listening() as port, connected(port, version="3.1.1"):
        pass
    assert broker.levels == [4]


async def test_broker_is_sent_no_more_at_once_than_it_said_it_takes(tmp_path: Path) -> None:
    broker = TinyBroker(speaks=5, takes=5)
    async with broker.listening() as port:
        node = Node(tmp_path / "spool.sqlite", MqttSettings(host="127.0.0.1", port=port), SystemClock())
        async with node.running():
            for number in range(50):
                node.hear(f"source{number % 4}")
            await until(lambda: node.spool.depth == 0)
    assert broker.most_unanswered == 5
    assert broker.answered >= 100


async def test_refused_state_holds_up_neither_events_nor_other_states(tmp_path: Path) -> None:
    acl = "user pi\ntopic write ssondo/pi1/+/event\ntopic write ssondo/pi1/availability\nuser reader\ntopic read #\n"
    async with Mosquitto(tmp_path / "broker", users={"pi": "p", "reader": "r"}, acl=acl) as broker:
        settings = MqttSettings(host="127.0.0.1", port=broker.port, username="pi", password="p")
        node = Node(tmp_path / "spool.sqlite", settings, SystemClock())
        async with subscriber(broker.port, user="reader", password="r") as inbox, node.running():
            node.sink.retain("status", "{}")
            await node.sink.ready()
            node.sink.retain("source0/label/dog_bark", "ON")
            node.hear("source0")
            await until(lambda: Heard.of(inbox.on(EVENTS)).events == node.sent)
            assert "ssondo/pi1/status: Not authorized" in (node.sink.detail or "")
            await inbox.see("ssondo/pi1/availability", b"online")

            (tmp_path / "broker" / "acl").write_text("user pi\ntopic write ssondo/pi1/#\nuser reader\ntopic read #\n")
            broker.reload()
            await until(lambda: "Reloading config" in broker.log.read_text())
            node.sink.retain("status", '{"version":"1"}')
            await inbox.see("ssondo/pi1/status", b'{"version":"1"}')
            await inbox.see("ssondo/pi1/source0/label/dog_bark", b"ON")
            await until(lambda: node.sink.detail is None)
