"""The spool's file: an SQLite database, and beside it a note of the numbers that may have been used.

SQLite in WAL mode with `synchronous=NORMAL`: a commit is one write to the log and no fsync, so that it takes far below
a millisecond and survives the death of the process. A power cut may take what the kernel had not yet written, at most
the last commits since a checkpoint; the file stays sound. So that numbers already published are not used again then,
the note holds a ceiling, synced to disk before a number below it is used: after a power cut, or when the file had to be
replaced, numbering goes on above the ceiling, and the hole tells subscribers that something may be missing.
"""

import errno
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from monitor.errors import SpoolError

log = logging.getLogger(__name__)

Connect: TypeAlias = Callable[[str], sqlite3.Connection]


class Row(NamedTuple):
    """A message: its number, when it was appended (seconds since 1970), what it says."""

    seq: int
    at: float
    body: bytes


class SpoolFile:
    """Messages on disk, and how far each reader has come. State is the open database and the ceiling of numbers.

    Every method but `close` and `distrust` raises SpoolError.

    Attributes:
        last_seq: number given last.
        depth: messages in the file.
        positions: how far each reader had come when the file was opened.
        broken: the file cannot even be read; opening it anew may help.
    """

    def __init__(
        self, path: Path, readers: Sequence[str], now: float, *, last_seq: int = 0, connect: Connect | None = None
    ) -> None:
        """Open the file, or begin one whose numbers lie above `last_seq` and all used before; `now` is wall time."""
        self.path = path
        self.last_seq = 0
        self.depth = 0
        self.positions: dict[str, int] = {}
        self.broken = False
        self._note = path.with_name(path.name + ".seq")
        self._connect = connect or _connect
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path.parent, os.W_OK):  # SQLite would only speak of an I/O error
                raise PermissionError(errno.EACCES, "its folder cannot be written")
            existed = path.exists() and path.stat().st_size > 0
            self._database, same = self._open(now)
            floor = self._floor(existed=existed, same=existed and same, now=now)
            self._begin(readers, max(floor, last_seq))

    def append(self, rows: Sequence[Row], limit: int) -> int:
        """Add messages, then drop the oldest above `limit`; returns how many."""
        if not rows:
            return 0
        with self._errors():
            self._reserve(rows[-1].seq)
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany("INSERT OR REPLACE INTO message VALUES (?, ?, ?)", rows)
                self._database.execute("UPDATE position SET seq = ? WHERE name = ?", (rows[-1].seq, _WRITER))
                dropped = self._drop_oldest(self.depth + len(rows) - limit)
        self.last_seq = rows[-1].seq
        self.depth += len(rows) - dropped
        return dropped

    def read(self, after: int, count: int) -> list[tuple[int, bytes]]:
        """The oldest messages numbered above `after`."""
        query = "SELECT seq, body FROM message WHERE seq > ? ORDER BY seq LIMIT ?"
        with self._errors():
            return [(int(seq), bytes(body)) for seq, body in self._database.execute(query, (after, count))]

    def save(self, positions: Mapping[str, int], last_seq: int) -> None:
        """Remember how far the readers and the numbers have come, and delete what all have read."""
        rows = [(seq, name) for name, seq in {**positions, _WRITER: last_seq}.items()]
        with self._errors(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("UPDATE position SET seq = ? WHERE name = ?", rows)
            deleted = self._database.execute("DELETE FROM message WHERE seq <= ?", (min(positions.values()),)).rowcount
        self.last_seq = last_seq
        self.depth -= deleted

    def oldest(self) -> float | None:
        """When the oldest message was appended."""
        with self._errors():
            row = self._database.execute("SELECT at FROM message ORDER BY seq LIMIT 1").fetchone()
        return None if row is None else float(row[0])

    def tidy(self) -> None:
        """Move the log into the database and cut it off, which may make room on a full disk."""
        with self._errors():
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def distrust(self, last_seq: int) -> None:
        """Note that numbers above those in the file are in use, as far as the disk still takes a note."""
        try:
            self._write_note(last_seq + _BLOCK, boot="")
        except OSError:
            with suppress(OSError):
                self._note.unlink()
        self._ceiling = 0  # so that the next append that works makes a new note

    def close(self, last_seq: int) -> None:
        """Leave one complete file, and a note that the numbers above the last are free."""
        self.broken = True
        with suppress(sqlite3.Error):
            self._database.close()  # checkpoints the log
        with suppress(OSError):
            self._write_note(last_seq, boot="")

    def _open(self, now: float) -> tuple[sqlite3.Connection, bool]:
        """The database, and whether it is the one that was there."""
        try:
            return self._checked(), True
        except sqlite3.DatabaseError as error:
            if _code(error) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            aside = self._set_aside(now)
            log.error(
                "spool file is corrupt, set aside and begun anew", extra={"fields": {"path": self.path, "as": aside}}
            )
            return self._checked(), False

    def _checked(self) -> sqlite3.Connection:
        database = self._connect(str(self.path))
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")  # one service per spool; also spares the -shm file
            database.execute("PRAGMA journal_mode = WAL").fetchone()
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
            database.execute(f"PRAGMA journal_size_limit = {_LOG_PAGES * 4096}")
            verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise _corrupt(str(verdict))
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise SpoolError(f"spool {self.path}: written by a newer version; upgrade, or set [spool] path")
            with database:
                database.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA:
                    database.execute(statement)
        except BaseException:
            database.close()
            raise
        return database

    def _begin(self, readers: Sequence[str], floor: int) -> None:
        """Register the writer and the readers; forget readers that are gone, so that they hold nothing back."""
        with self._database as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT OR IGNORE INTO position VALUES (?, 0)", (_WRITER,))
            database.execute("UPDATE position SET seq = max(seq, ?) WHERE name = ?", (floor, _WRITER))
            for (name,) in database.execute("SELECT name FROM position").fetchall():
                if name not in (_WRITER, *readers):
                    database.execute("DELETE FROM position WHERE name = ?", (name,))
            for name in readers:  # a new reader begins with what comes next
                database.execute(
                    "INSERT OR IGNORE INTO position SELECT ?, seq FROM position WHERE name = ?", (name, _WRITER)
                )
            positions = {str(name): int(seq) for name, seq in database.execute("SELECT name, seq FROM position")}
            self.last_seq = positions.pop(_WRITER)
            self.positions = positions
            database.execute("DELETE FROM message WHERE seq <= ?", (min(positions.values()),))
            self.depth = int(database.execute("SELECT count(*) FROM message").fetchone()[0])
        self._write_note(self.last_seq + _BLOCK, _boot())

    def _drop_oldest(self, count: int) -> int:
        if count <= 0:
            return 0
        query = "DELETE FROM message WHERE seq IN (SELECT seq FROM message ORDER BY seq LIMIT ?)"
        return self._database.execute(query, (count,)).rowcount

    def _floor(self, *, existed: bool, same: bool, now: float) -> int:
        """No number up to this may be used: the ceiling, unless the file is known to be up to date."""
        try:
            note = json.loads(self._note.read_text())
            ceiling, boot = int(note["ceiling"]), str(note["boot"])
        except (OSError, ValueError, KeyError, TypeError):
            return int(now) if existed else 0  # seconds since 1970 are above any count of events
        up_to_date = same and boot and boot == _boot()
        return 0 if up_to_date else ceiling

    def _reserve(self, seq: int) -> None:
        if seq > self._ceiling:
            self._write_note(seq + _BLOCK, _boot())

    def _write_note(self, ceiling: int, boot: str) -> None:
        draft = self._note.with_name(self._note.name + ".new")
        with draft.open("w") as file:
            json.dump({"ceiling": ceiling, "boot": boot}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._note)
        self._ceiling = ceiling

    def _set_aside(self, now: float) -> Path:
        aside = self.path.with_name(f"{self.path.name}.corrupt-{int(now)}")
        self.path.rename(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        for old in sorted(self.path.parent.glob(f"{self.path.name}.corrupt-*"))[:-_KEPT_ASIDE]:
            old.unlink()
        return aside

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            advice = _ADVICE.get(_code(error))
            self.broken = self.broken or advice is None
            advice = advice or "check its disk, or set [spool] path to another"
            raise SpoolError(f"spool {self.path}: {error}; {advice}") from error
        except OSError as error:
            reason = error.strerror or error
            raise SpoolError(f"spool {self.path}: {reason}; {_CANNOT_WRITE}") from error


_VERSION = 1
_WRITER = ""  # the name under which the number last given is kept among the positions
_BLOCK = 1000  # numbers reserved at a time: one fsync per so many events
_KEPT_ASIDE = 3
_LOG_PAGES = 1000  # of the log, some 250 events, before SQLite moves them into the database at the cost of two fsyncs
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS message (seq INTEGER PRIMARY KEY, at REAL NOT NULL, body BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS position (name TEXT PRIMARY KEY, seq INTEGER NOT NULL)",
    f"PRAGMA user_version = {_VERSION}",
)
_CANNOT_WRITE = "make it writable for this user, or set [spool] path to another place"
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process has it open: stop that, or set [spool] path to another file",
    sqlite3.SQLITE_FULL: "free some space, or set [spool] path to another disk",
    sqlite3.SQLITE_READONLY: _CANNOT_WRITE,
    sqlite3.SQLITE_CANTOPEN: _CANNOT_WRITE,
    sqlite3.SQLITE_PERM: _CANNOT_WRITE,
}


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=1.0, isolation_level=None)


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; -1 where Python raised the error itself."""
    return getattr(error, "sqlite_errorcode", -1) & 0xFF


def _corrupt(verdict: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(verdict)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _boot() -> str:
    """Changes when the kernel starts anew; empty where that cannot be told."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
