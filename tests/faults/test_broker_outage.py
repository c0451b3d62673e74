"""The broker dies, hangs or cannot be reached while events flow: all of them arrive, in order, and states are right."""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from monitor.backoff import Backoff
from monitor.clock import SystemClock
from monitor.config import MqttSettings
from tests.faults.parts_broker import EVENTS, Gate, Heard, Node, SteppedClock, command, spooled
from tests.parts import free_port, promised, require, stopwatch, within
from tests.parts_mqtt import Inbox, Mosquitto, subscriber
from tests.parts_mqtt_sink import broker, until

__all__ = ["broker"]

SOURCES = [f"source{number}" for number in range(4)]


async def _connect_in_virtual_time(node: Node, clock: SteppedClock, step: float = 0.25) -> float:
    """Let time pass only while the sink waits for its next attempt; how much it took."""
    begun = clock.monotonic()
    async with within(30):
        while not node.sink.connected:
            if clock.waiting:
                await clock.advance(step)
            await asyncio.sleep(0.02)
    return clock.monotonic() - begun


async def test_broker_killed_for_30_s_gets_every_event_in_order_and_states_within_5_s(
    broker: Mosquitto, tmp_path: Path
) -> None:
    clock = SteppedClock(time.time())
    settings = MqttSettings(host="127.0.0.1", port=broker.port)  # as users have it
    node = Node(tmp_path / "spool.sqlite", settings, clock)
    async with node.running():
        node.sink.retain("source0/label/dog_bark", "ON")
        async with subscriber(broker.port, EVENTS, qos=0) as before:
            await _connect_in_virtual_time(node, clock)
            for _ in range(50):
                node.hear(SOURCES[0])
            await before.until(lambda inbox: len(inbox.messages) >= 20)
            for source in SOURCES * 10:  # some of which the broker dies with
                node.hear(source)
            broker.kill()
            async with within(10):
                await before.ended.wait()
            await until(lambda: not node.sink.connected)
        for second in range(30):
            node.hear(SOURCES[second % 4])
            node.sink.retain("source0/label/dog_bark", "OFF")
            await clock.advance(1)
            await asyncio.sleep(0.02)
        await broker.start()
        async with subscriber(broker.port, qos=0) as after:
            assert await _connect_in_virtual_time(node, clock) <= 5
            await after.see("ssondo/pi1/availability", b"online")
            assert after.on("ssondo/pi1/source0/label/dog_bark") == [b"OFF"]
            while node.spool.depth:
                await clock.advance(0.25)
                await asyncio.sleep(0.02)
            total = sum(map(len, node.sent.values()))
            await after.until(lambda _: _count(before, after) >= total)

    heard = Heard.of([*before.on(EVENTS), *after.on(EVENTS)])
    assert heard.events == node.sent


def _count(*inboxes: Inbox) -> int:
    return sum(map(len, Heard.of(body for inbox in inboxes for body in inbox.on(EVENTS)).events.values()))


def _freeze(broker: Mosquitto, gate: Gate) -> Callable[[], None]:
    broker.freeze()
    return broker.thaw


def _swallow(broker: Mosquitto, gate: Gate) -> Callable[[], None]:
    gate.swallow = True
    return lambda: setattr(gate, "swallow", False)


def _cut(broker: Mosquitto, gate: Gate) -> Callable[[], None]:
    gate.shut()
    return gate.open


async def _survive(folder: Path, fault: Callable[[Mosquitto, Gate], Callable[[], None]], busy: bool) -> float:
    """How many seconds it takes to notice a fault of the link; all events arrive once it is over."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Mosquitto(folder / "broker"))
        gate = await stack.enter_async_context(Gate(broker.port))
        settings = MqttSettings(host="127.0.0.1", port=gate.port, keepalive_seconds=5, timeout_seconds=4)
        node = await stack.enter_async_context(Node(folder / "spool.sqlite", settings, SystemClock()).running())
        inbox = await stack.enter_async_context(subscriber(broker.port, EVENTS))
        async with within(20):
            await node.sink.ready()
        node.hear("source0")
        await inbox.until(lambda inbox: len(inbox.messages) == 2)
        await until(lambda: node.spool.depth == 0)
        end_fault = fault(broker, gate)
        with stopwatch() as seconds:
            if busy:
                node.hear("source1")
            await until(lambda: not node.sink.connected)
            noticed = seconds()
        for source in SOURCES:
            node.hear(source)
        end_fault()
        await until(lambda: node.spool.depth == 0, 30)
        await until(lambda: Heard.of(inbox.on(EVENTS)).events == node.sent)
        return noticed


async def test_half_open_link_is_noticed_within_two_keepalives_and_replaced(tmp_path: Path) -> None:
    faults = [(_freeze, False), (_swallow, False), (_swallow, True), (_cut, True)]
    cases = [_survive(tmp_path / str(number), *case) for number, case in enumerate(faults)]
    idle, swallowed, busy, cut = await asyncio.gather(*cases)

    assert max(idle, swallowed) <= 2 * 5
    assert busy < 6, "an acknowledgement that does not come tells sooner"
    assert cut < 2


async def test_connection_killed_by_the_kernel_is_noticed_at_once_and_replaced(
    broker: Mosquitto, tmp_path: Path
) -> None:
    settings = MqttSettings(host="127.0.0.1", port=broker.port)
    node = Node(tmp_path / "spool.sqlite", settings, SystemClock())
    async with AsyncExitStack() as stack, within(30):
        inbox = await stack.enter_async_context(subscriber(broker.port, EVENTS))
        others = _own_ports(broker.port)
        await stack.enter_async_context(node.running())
        await node.sink.ready()
        link = node.sink._link
        node.hear("source0")
        await until(lambda: node.spool.depth == 0)
        (port,) = _own_ports(broker.port) - others
        _kill_connection(port)
        with promised(3):
            await until(lambda: node.sink._link is not link, 3)
        node.hear("source1")
        await until(lambda: Heard.of(inbox.on(EVENTS)).events == node.sent)


async def test_connections_that_are_cut_at_once_raise_nothing_in_the_event_loop(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Gate(broker.port) as gate:
        gate.shut()
        settings = MqttSettings(host="127.0.0.1", port=gate.port)
        node = Node(tmp_path / "spool.sqlite", settings, SystemClock(), Backoff(0.001, 0.002))
        async with node.running():
            await until(lambda: gate.refused >= 150, 30)
            gate.open()
            await until(lambda: node.sink.connected)
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def _kill_connection(port: int) -> None:
    kill = [require("ss"), "-K", "-t", "src", "127.0.0.1", "sport", "=", f":{port}"]
    done = subprocess.run(kill, check=True, capture_output=True, text=True)
    assert "ESTAB" in done.stdout, done.stderr


def _own_ports(broker_port: int) -> set[int]:
    """The local ports of this process's connections to the broker."""
    shown = subprocess.run(
        [require("ss"), "-tnpH", "state", "established", "dport", "=", f":{broker_port}"],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [line.split() for line in shown.stdout.splitlines() if f"pid={os.getpid()}," in line]
    return {int(line[2].rsplit(":", 1)[1]) for line in lines}


class Wire:
    """Two ends of a wire, one of them in a network namespace of its own. A context manager."""

    host, far = "10.213.77.1", "10.213.77.2"

    def __init__(self) -> None:
        tag = f"sm{os.getpid() % 100_000}"
        self.space, self._near, self._end = f"{tag}n", f"{tag}a", f"{tag}b"

    def __enter__(self) -> "Wire":
        require("ip")
        made = subprocess.run(["ip", "netns", "add", self.space], check=False, capture_output=True)
        if os.geteuid() != 0 or made.returncode != 0:
            pytest.skip("needs the right to make network namespaces")
        self._ip(f"link add {self._near} type veth peer name {self._end} netns {self.space}")
        self._ip(f"addr add {self.host}/30 dev {self._near}")
        self._ip(f"link set {self._near} up")
        self._ip(f"-n {self.space} addr add {self.far}/30 dev {self._end}")
        self._ip(f"-n {self.space} link set {self._end} up")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "del", self.space], check=True)  # the wire goes with it

    def drop(self) -> None:
        """Lose every packet in silence: each side sends to a station that is not there."""
        self._ip(f"neigh replace {self.far} lladdr 02:00:00:00:00:99 dev {self._near} nud permanent")
        self._ip(f"-n {self.space} neigh replace {self.host} lladdr 02:00:00:00:00:98 dev {self._end} nud permanent")

    def mend(self) -> None:
        self._ip(f"neigh del {self.far} dev {self._near}")
        self._ip(f"-n {self.space} neigh del {self.host} dev {self._end}")

    @staticmethod
    def _ip(arguments: str) -> None:
        subprocess.run(["ip", *arguments.split()], check=True)


@pytest.mark.soak
async def test_packets_that_are_dropped_are_noticed_within_two_keepalives(tmp_path: Path) -> None:
    port = free_port()
    with Wire() as wire:
        async with Mosquitto(tmp_path / "broker", address=wire.host, port=port) as broker:
            node = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", wire.space),
                *command(broker.port, tmp_path, 5.0, host=wire.host, timeout=30),
                stdout=subprocess.PIPE,
            )
            assert node.stdout
            lines: list[bytes] = []

            async def told(state: bytes) -> None:
                async with within(60):
                    while not lines or lines[-1] != state + b"\n":
                        lines.append(await node.stdout.readline())

            async with subscriber(broker.port, EVENTS, host=wire.host) as inbox:
                await told(b"connected")
                await inbox.until(lambda inbox: len(inbox.messages) > 20)
                wire.drop()
                begun = time.monotonic()
                await told(b"lost")
                noticed = time.monotonic() - begun
                wire.mend()
                await told(b"connected")
                known = spooled(lines)
                await inbox.until(lambda _: all(_holds(inbox, known, source) for source in known), 30)
            node.kill()
            await node.wait()
            assert noticed <= 10


def _holds(inbox: Inbox, known: dict[str, list[tuple[str, str]]], source: str) -> bool:
    return set(known[source]) <= set(Heard.of(inbox.on(EVENTS)).events[source])
