"""A spool on a clock of the test's own, and a disk that fails when told to."""

import sqlite3
from pathlib import Path

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


def exhaust(spool: Spool) -> None:
    while spool.healthy:
        spool.append(bytes(3000))
