"""What a broker sends: the first byte tells the version, and whether it accepts us; the others are packets of any kind.

The service subscribes to nothing, so no payload is ever meant for it; a broker may send what it likes all the same.
"""

import asyncio
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from monitor.errors import MonitorError
from monitor.mqtt_link import Message, connect
from monitor.mqtt_parameters import Parameters
from tests.fuzz import Case

_ACCEPTED: dict[Literal["5", "3.1.1"], bytes] = {"5": bytes([0x20, 3, 0, 0, 0]), "3.1.1": bytes([0x20, 2, 0, 0])}
_WILL = Message("ssondo/pi1/availability", b"offline", retain=True)
_EVENT = Message("ssondo/pi1/yard/event", b"{}")
_OLD, _ACCEPTS = 1, 2


def seeds() -> list[bytes]:
    acknowledged = bytes([0x40, 2, 0, 1])
    old = [_publish(topic, payload, qos, b"") for qos in (0, 1, 2) for topic, payload in _MESSAGES]
    new = [_publish(topic, payload, qos, _PROPERTIES) for qos in (0, 1) for topic, payload in _MESSAGES]
    rest = [bytes([0x90, 3, 0, 1, 0]), bytes([0xB0, 2, 0, 1]), bytes([0xD0, 0]), bytes([0x50, 2, 0, 1])]
    ends = [bytes([0xE0, 2, 0x8E, 0]), bytes([0xF0, 2, 0x18, 0]), bytes([0x40, 4, 0, 1, 0x87, 0])]
    refused = [bytes([_OLD, 0x20, 2, 0, 5]), bytes([0, 0x20, 3, 0, 0x87, 0])]
    accepted = [bytes([_ACCEPTS]) + packet + acknowledged for packet in [*new, *ends, *rest]]
    return [*refused, *accepted, *(bytes([_ACCEPTS | _OLD]) + packet + acknowledged for packet in [b"", *old, *rest])]


_MESSAGES = [("homeassistant/status", b"online"), ("ssondo/pi1/yard/event", b'{"v":1}'), ("$SYS/x", b"\xff")]
_PROPERTIES = bytes([9, 0x26, 0, 1, 0x61, 0, 1, 0x62, 0x01, 1])


def _publish(topic: str, payload: bytes, qos: int, properties: bytes) -> bytes:
    name = topic.encode()
    body = struct.pack(">H", len(name)) + name + (b"\0\7" if qos else b"") + properties + payload
    return bytes([0x30 | qos << 1, len(body)]) + body


@contextmanager
def opened() -> Iterator[Case]:
    """Gives a function that connects: the link works or is lost, its socket closed, and the loop hears of no error."""
    with asyncio.Runner() as runner:
        broker = _Broker()
        port = runner.run(broker.start())

        def case(data: bytes) -> None:
            broker.old = bool(data[:1] and data[0] & _OLD)
            broker.accepts = bool(data[:1] and data[0] & _ACCEPTS)
            broker.says = data[1:]
            runner.get_loop().run_until_complete(_talk(_parameters(port, broker.version), broker))

        yield case
        runner.run(broker.stop())


def _parameters(port: int, version: Literal["5", "3.1.1"]) -> Parameters:
    return Parameters("127.0.0.1", port, "pi1", keepalive_seconds=15, timeout_seconds=0.05, version=version)


class _Broker:
    """Answers each connection with the input, and hangs up once it was sent an event or has nothing to wait for."""

    def __init__(self) -> None:
        self.old, self.accepts, self.says = False, False, b""
        self.idle = asyncio.Event()
        self._open = 0
        self._server: asyncio.Server | None = None

    @property
    def version(self) -> Literal["5", "3.1.1"]:
        return "3.1.1" if self.old else "5"

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self.idle.clear()
        with suppress(OSError):
            await reader.read(1024)
            writer.write((_ACCEPTED[self.version] if self.accepts else b"") + self.says)
            await writer.drain()
            if self.accepts:
                await reader.read(1024)
            writer.write_eof()
            while await reader.read(1024):
                pass
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self._open -= 1
        if not self._open:
            self.idle.set()


async def _talk(parameters: Parameters, broker: _Broker) -> None:
    troubles: list[dict[str, object]] = []

    def note(_: object, context: dict[str, object]) -> None:
        if not isinstance(context.get("exception"), asyncio.CancelledError):  # aiomqtt, of a wait that has just ended
            troubles.append(context)

    asyncio.get_running_loop().set_exception_handler(note)
    with suppress(MonitorError):
        async with connect(parameters, _WILL) as link:
            await link.publish(_EVENT)
    async with asyncio.timeout(5):
        await broker.idle.wait()
    await asyncio.sleep(0)
    assert not troubles, troubles
