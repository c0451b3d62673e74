"""Real programs for tests: whether they are there, a free port for them, and time on a machine that is shared."""

import asyncio
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

PATIENCE = 4.0
"""What must come is waited for so many times as long as it takes: a machine that is busy is slow, and not wrong."""


def require(program: str) -> str:
    """Path of a system program; without it the test fails in CI and is skipped elsewhere."""
    path = shutil.which(program)
    if path is None:
        tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        tell(f"needs the system program {program}")
    return path


def within(seconds: float) -> asyncio.Timeout:
    """`asyncio.timeout` for what takes so long on a machine that is free."""
    return asyncio.timeout(PATIENCE * seconds)


def free_port() -> int:
    """A TCP port on loopback that nothing listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Tells the seconds so far, without those that the machine was taken from us: by which a short sleep came late."""
    begun, late, over = time.monotonic(), [0.0], threading.Event()

    def watch() -> None:
        while not over.is_set():
            due = time.monotonic() + 0.01
            time.sleep(0.01)
            late[0] += time.monotonic() - due

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: time.monotonic() - begun - late[0]
    finally:
        over.set()
        watcher.join()
