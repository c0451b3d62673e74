"""What systemd hears, at a real socket."""

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.systemd import Notifier, Watchdog, watchdog_interval
from tests.fakes import FakeClock


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@notify-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1))
        listener.setblocking(False)
        yield listener, name


def heard(listener: socket.socket) -> list[bytes]:
    messages = []
    try:
        while True:
            messages.append(listener.recv(4096))
    except BlockingIOError:
        return messages


def test_each_state_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.status("2 sources,\nall heard")
    notifier.watchdog()
    notifier.stopping()
    assert heard(listener) == [b"READY=1", b"STATUS=2 sources, all heard", b"WATCHDOG=1", b"STOPPING=1"]


def test_without_a_manager_nothing_happens() -> None:
    Notifier({}).ready()


def test_manager_that_is_gone_is_told_once_and_hurts_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.ready()
    notifier.watchdog()
    assert [record.message for record in caplog.records] == ["service manager does not listen"]


def test_manager_that_does_not_read_does_not_block_us(manager: tuple[socket.socket, str]) -> None:
    _, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    for _ in range(2000):
        notifier.watchdog()


async def test_watchdog_pings_when_fed_but_not_too_often(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    clock = FakeClock()
    watchdog = Watchdog(Notifier({"NOTIFY_SOCKET": name}), clock, interval=5.0)
    watchdog.feed()
    watchdog.feed()
    assert heard(listener) == [b"WATCHDOG=1"]
    await clock.advance(4.9)
    watchdog.feed()
    assert heard(listener) == []
    await clock.advance(0.1)
    watchdog.feed()
    assert heard(listener) == [b"WATCHDOG=1"]


async def test_watchdog_that_is_not_fed_stays_silent(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    clock = FakeClock()
    Watchdog(Notifier({"NOTIFY_SOCKET": name}), clock, interval=5.0)
    await clock.advance(60)
    assert heard(listener) == []


def test_watchdog_without_interval_never_pings(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    Watchdog(Notifier({"NOTIFY_SOCKET": name}), FakeClock(), interval=None).feed()
    assert heard(listener) == []


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "20000000"}, 5.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "42"}, 5.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_interval_is_a_quarter_of_what_systemd_allows(environ: dict[str, str], interval: float | None) -> None:
    assert watchdog_interval(environ, pid=42) == interval
