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
    begun = time.monotonic()
    watched, over = (0.0, begun + 0.01), threading.Event()  # how late so far, and when the next sleep is due

    def watch() -> None:
        nonlocal watched
        while not over.is_set():
            time.sleep(0.01)
            (late, due), now = watched, time.monotonic()
            watched = late + now - due, now + 0.01

    def passed() -> float:
        (late, due), now = watched, time.monotonic()
        return now - begun - late - max(0.0, now - due)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield passed
    finally:
        over.set()
        watcher.join()


@contextmanager
def promised(seconds: float) -> Iterator[None]:
    """What is done here takes less, by the stopwatch; that it comes at all is waited for with patience."""
    with stopwatch() as passed:
        yield
        assert passed() < seconds, f"{passed():g} s instead of {seconds:g} s"
