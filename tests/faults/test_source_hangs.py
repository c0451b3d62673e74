"""A loop that is blocked and a worker that hangs, in a process of its own: the watchdog starves, and nothing else."""

import asyncio
import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.faulty_monitor import BLOCKED_SECONDS
from tests.parts import PATIENCE, promised
from tests.parts_mqtt import Mosquitto, subscriber
from tests.parts_service import Service, running

PROGRAM = ("-m", "tests.faults.faulty_monitor")
PING_SECONDS = 0.25


class Manager:
    """A service manager's socket."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    def pings(self, seconds: float) -> int:
        """How often it is pinged from now on, for so long."""
        self._drain()
        return sum(message == b"WATCHDOG=1" for message in self._hear(time.monotonic() + seconds))

    def wait(self, message: bytes, seconds: float = 20) -> None:
        assert any(heard == message for heard in self._hear(time.monotonic() + PATIENCE * seconds, message)), message

    def _drain(self) -> None:
        list(self._hear(0.0))

    def _hear(self, until: float, last: bytes | None = None) -> Iterator[bytes]:
        while True:
            self._listener.settimeout(max(0.001, until - time.monotonic()))
            try:
                message = self._listener.recv(4096)
            except TimeoutError:
                return
            yield message
            if message == last:
                return


@contextmanager
def manager(folder: Path) -> Iterator[tuple[Manager, dict[str, str]]]:
    path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        yield Manager(listener), {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(PING_SECONDS * 4e6))}


async def test_a_worker_that_hangs_starves_the_watchdog_and_holds_up_no_end(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path / "broker") as broker, subscriber(broker.port) as inbox:
        to_broker = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        with (
            manager(tmp_path) as (systemd, environ),
            running(tmp_path / "s", to_broker, environ=environ, program=PROGRAM) as service,
        ):
            await inbox.see("ssondo/test/demo/label/smoke_alarm", b"ON", 30)
            assert await asyncio.to_thread(systemd.pings, 1.5) >= 1
            service.process.send_signal(signal.SIGUSR1)
            with promised(10):
                await inbox.see("ssondo/test/demo/availability", b"offline", 10)
            assert await asyncio.to_thread(systemd.pings, 1.5) == 0
            with promised(2):  # the loop goes on
                assert "source demo: no audio was analysed" in (await asyncio.to_thread(service.get, "/ready"))[1]
            with promised(5):
                assert await asyncio.to_thread(service.stop) == 0
        await inbox.see("ssondo/test/availability", b"offline")
        told = [json.loads(payload) for payload in inbox.on("ssondo/test/demo/event")]
        assert [event["event_type"] for event in told] == ["started", "ended"]
        assert told[0]["event_id"] == told[1]["event_id"]
        assert (told[1]["confirmed"], told[1]["offset"] >= told[1]["onset"]) == (None, True)
        assert inbox.on("ssondo/test/demo/label/smoke_alarm")[-1] == b"OFF"


def test_a_blocked_loop_starves_the_watchdog_until_it_goes_on(tmp_path: Path) -> None:
    with (
        manager(tmp_path) as (systemd, environ),
        running(tmp_path / "s", "[mqtt]\nenabled = false\n", environ=environ, program=PROGRAM) as service,
    ):
        service.wait(Service.ready, "readiness")
        service.process.send_signal(signal.SIGUSR2)
        systemd.pings(PING_SECONDS)  # what was under way may still be told
        assert systemd.pings(BLOCKED_SECONDS / 2) == 0
        systemd.wait(b"WATCHDOG=1")
        service.wait(Service.ready, "readiness")
