"""A broker that is not there, or does not want us: the service waits within its bounds, says why once, and goes on."""

import asyncio
import gc
import logging
import resource
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from monitor.backoff import Backoff
from monitor.clock import SystemClock
from monitor.config import MqttSettings
from tests.faults.parts_broker import EVENTS, Heard, Node
from tests.parts_mqtt import Authority, Mosquitto, subscriber
from tests.parts_mqtt_sink import authority, stranger, until

__all__ = ["authority", "stranger"]

USERS = {"pi": "right", "reader": "r"}
ALLOWED = "user pi\ntopic readwrite ssondo/pi1/#\nuser reader\ntopic read #\n"
DENIED = "user pi\ntopic readwrite ssondo/another/#\nuser reader\ntopic read #\n"


@dataclass
class Trouble:
    """A broker that does not serve, how to connect to it, what must be told, and how it is put right."""

    broker: Mosquitto
    settings: dict[str, Any]
    told: str
    mend: Callable[[], Awaitable[None]]
    reader: dict[str, Any]


Begin = Callable[[Path, Authority, Authority, AsyncExitStack], Awaitable[Trouble]]


async def down(folder: Path, authority: Authority, stranger: Authority, stack: AsyncExitStack) -> Trouble:
    broker = Mosquitto(folder)
    stack.callback(broker.kill)
    return Trouble(broker, {}, "nothing listens", broker.start, {"port": broker.port})


async def wrong_password(folder: Path, authority: Authority, stranger: Authority, stack: AsyncExitStack) -> Trouble:
    broker = await stack.enter_async_context(Mosquitto(folder, users=USERS))
    file = folder / "password"
    file.write_text("wrong")
    file.chmod(0o600)
    settings = {"username": "pi", "password_file": file}

    async def mend() -> None:
        file.write_text("right")

    return Trouble(broker, settings, "refuses user or password", mend, _reader(broker))


async def wrong_certificate(folder: Path, authority: Authority, stranger: Authority, stack: AsyncExitStack) -> Trouble:
    broker = await stack.enter_async_context(Mosquitto(folder, tls=stranger.issue("server")))
    right = Mosquitto(folder / "right", tls=authority.issue("server"), port=broker.port, plain=True)
    stack.callback(right.kill)

    async def mend() -> None:
        broker.kill()
        await right.start()

    settings = {"tls": True, "ca_file": authority.file}
    return Trouble(right, settings, "certificate that does not hold", mend, {"port": right.plain_port})


async def denial(folder: Path, authority: Authority, stranger: Authority, stack: AsyncExitStack) -> Trouble:
    broker = await stack.enter_async_context(Mosquitto(folder, users=USERS, acl=DENIED))
    settings = {"username": "pi", "password": "right"}

    async def mend() -> None:
        (folder / "acl").write_text(ALLOWED)
        broker.reload()

    return Trouble(broker, settings, "Not authorized; check its access rules", mend, _reader(broker))


async def full(folder: Path, authority: Authority, stranger: Authority, stack: AsyncExitStack) -> Trouble:
    """It has no file descriptors left."""
    broker = await stack.enter_async_context(Mosquitto(folder))
    limits = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (_descriptors(broker.pid), limits[1]))

    async def mend() -> None:
        resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, limits)

    return Trouble(broker, {}, "ended the connection at once", mend, {"port": broker.port})


def _reader(broker: Mosquitto) -> dict[str, Any]:
    return {"port": broker.port, "user": "reader", "password": "r"}


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class HeldClock(SystemClock):
    """A clock whose sleepers can be held, so that nobody tries anything meanwhile.

    Attributes:
        sleeps: how often somebody waited to try again.
        held: how many do now, though their time has come.
    """

    def __init__(self) -> None:
        self.sleeps = self.held = 0
        self._free = asyncio.Event()
        self._free.set()

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        await super().sleep(seconds)
        self.held += 1
        await self._free.wait()
        self.held -= 1

    async def hold(self) -> None:
        """Return once nobody is trying."""
        self._free.clear()
        await until(lambda: self.held > 0)

    def free(self) -> None:
        self._free.set()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the library leaves a failed handshake's socket to gc
@pytest.mark.parametrize("begin", [down, wrong_password, wrong_certificate, denial, full])
async def test_spool_grows_to_its_bound_the_trouble_is_told_once_and_events_flow_when_it_is_mended(
    begin: Begin, tmp_path: Path, authority: Authority, stranger: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "monitor")
    clock = HeldClock()
    async with AsyncExitStack() as stack:
        trouble = await begin(tmp_path / "broker", authority, stranger, stack)
        settings = MqttSettings(**{"host": "127.0.0.1", "port": trouble.broker.port, **trouble.settings})
        node = Node(tmp_path / "spool.sqlite", settings, clock, Backoff(0.02, 0.1), max_messages=100)
        await stack.enter_async_context(node.running())
        for number in range(75):
            node.hear(f"source{number % 4}")
        await until(lambda: clock.sleeps >= 5)
        await clock.hold()
        assert (node.spool.depth, node.spool.dropped) == (100, 50)
        assert [trouble.told in reason for reason in _reasons(caplog)] == [True]
        assert trouble.told in (node.sink.detail or "")

        await trouble.mend()
        inbox = await stack.enter_async_context(subscriber(**trouble.reader, topic=EVENTS))
        clock.free()
        await until(lambda: node.spool.depth == 0 and node.sink.detail is None)
        await until(lambda: sum(map(len, Heard.of(inbox.on(EVENTS)).events.values())) == 100)
        for source, events in Heard.of(inbox.on(EVENTS)).events.items():
            assert events == node.sent[source][-len(events) :], "not the newest, or not in order"
    assert len(caplog.records) == 1
    gc.collect()  # the library's sockets, while their warnings are expected


def _reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(getattr(record, "fields", {})["reason"]) for record in caplog.records]


async def test_broker_that_fails_in_turns_in_two_ways_is_told_of_each_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "monitor")
    async with Mosquitto(tmp_path / "broker", users=USERS) as broker:
        settings = MqttSettings(host="127.0.0.1", port=broker.port, username="pi", password="wrong")
        node = Node(tmp_path / "spool.sqlite", settings, SystemClock(), Backoff(0.01, 0.02))
        async with node.running():
            for _ in range(3):
                await until(lambda: "refuses user" in (node.sink.detail or ""))
                broker.kill()
                await until(lambda: "nothing listens" in (node.sink.detail or ""))
                await broker.start()
    reasons = [reason for reason in _reasons(caplog) if "refuses" in reason or "nothing listens" in reason]
    assert len(reasons) == 2
    assert len(caplog.records) <= 4
