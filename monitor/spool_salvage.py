"""What is left of a corrupt spool: the messages that can still be read, and how far each reader had come.

A damaged page hides what lies on it. So messages are read from either end as far as the damage, and nothing is
believed that the spool could not have written.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """A message: its number, when it was appended (seconds since 1970), what it says."""

    seq: int
    at: float
    body: bytes


def intact_messages(path: Path, highest: int) -> Iterator[Row]:
    """The messages of a corrupt file that can be read, each once; no number above `highest` was ever used."""
    with _reading(path) as database:
        low, high = 0, highest + 1
        for row in _readable(database, "SELECT seq, at, body FROM message ORDER BY seq"):
            if not low < row.seq < high:
                break
            low = row.seq
            yield row
        for row in _readable(database, "SELECT seq, at, body FROM message ORDER BY seq DESC"):
            if not low < row.seq < high:
                break
            high = row.seq
            yield row


def intact_positions(path: Path, readers: Iterable[str], highest: int) -> dict[str, int]:
    """How far each reader had come; 0, so that it reads all again, where that can be read no more."""
    found: dict[str, object] = {}
    with _reading(path) as database, suppress(sqlite3.DatabaseError):
        found.update(database.execute("SELECT name, seq FROM position"))
    known = {name: seq for name, seq in found.items() if isinstance(seq, int) and 0 <= seq <= highest}
    return {name: known.get(name, 0) for name in readers}


def _reading(path: Path) -> "closing[sqlite3.Connection]":
    database = sqlite3.connect(path, timeout=1.0, isolation_level=None)
    with suppress(sqlite3.DatabaseError):
        database.execute("PRAGMA locking_mode = EXCLUSIVE")  # spares the -shm file
        database.execute("PRAGMA cell_size_check = ON")
    return closing(database)


def _readable(database: sqlite3.Connection, query: str) -> Iterator[Row]:
    """Rows as far as they can be read and are of the right types."""
    with suppress(sqlite3.DatabaseError):
        for seq, at, body in database.execute(query):
            if not (isinstance(seq, int) and isinstance(at, float) and isinstance(body, bytes)):
                return
            yield Row(seq, at, body)
