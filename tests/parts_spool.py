"""A spool on a clock of the test's own, and a disk that fails when told to."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from monitor.spool import Spool
from tests.fakes import FakeClock

NOW = 1_800_000_000.0


def open_spool(path: Path, **settings: object) -> Spool:
    return Spool(path, clock=FakeClock(NOW), **settings)  # type: ignore[arg-type]


def seqs(spool: Spool, reader: str = "mqtt") -> list[int]:
    return [seq for seq, _ in spool.peek(1000, reader=reader)]


class Disk:
    """Opens SQLite connections that fail as a disk would, when told to."""

    def __init__(self) -> None:
        self.connections: list[sqlite3.Connection] = []

    def __call__(self, path: str) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None)
        self.connections.append(connection)
        return connection

    def fill(self) -> None:
        """No page more."""
        (pages,) = self.connections[-1].execute("PRAGMA page_count").fetchone()
        self.connections[-1].execute(f"PRAGMA max_page_count = {pages}")

    def protect(self) -> None:
        """Read-only."""
        self.connections[-1].execute("PRAGMA query_only = 1")

    def vanish(self) -> None:
        """Not even readable."""
        self.connections[-1].close()

    def free(self) -> None:
        self.connections[-1].execute("PRAGMA max_page_count = 1000000")
        self.connections[-1].execute("PRAGMA query_only = 0")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no room on a small disk."""
    with (folder / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(4096))


def protect(folder: Path) -> None:
    """Make a small disk read-only."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def free(folder: Path) -> None:
    """Make a small disk writable and give it room again."""
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    (folder / "ballast").unlink(missing_ok=True)


def exhaust(spool: Spool) -> None:
    while spool.healthy:
        spool.append(bytes(3000))
