"""The spool's file: an SQLite database, and beside it a note of the numbers that may have been used.

SQLite in WAL mode with `synchronous=NORMAL`: a commit is one write to the log and no fsync, so that it takes far below
a millisecond and survives the death of the process. A power cut may take what the kernel had not yet written, at most
the last commits since a checkpoint; the file stays sound, and the note keeps numbers from being used again.
"""

import errno
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from monitor.errors import SpoolDiskError, SpoolError
from monitor.spool_note import NumberNote, number_by_time
from monitor.spool_salvage import Row, intact_messages, intact_positions

log = logging.getLogger(__name__)

Connect: TypeAlias = Callable[[str], sqlite3.Connection]


class SpoolFile:
    """Messages on disk, and how far each reader has come. State is the open database and the ceiling of numbers.

    Every method but `close` raises SpoolError; SpoolDiskError where it may help to try again.

    Attributes:
        last_seq: number given last.
        depth: messages in the file.
        positions: how far each reader had come when the file was opened.
        note: beside it, of the numbers in use.
        broken: the file cannot even be read; opening it anew may help.
    """

    def __init__(self, path: Path, readers: Sequence[str], connect: Connect | None = None) -> None:
        """Touch nothing yet, see `open`; `connect` opens SQLite, for tests."""
        self.path = path
        self.last_seq = 0
        self.depth = 0
        self.positions = dict.fromkeys(readers, 0)
        self.broken = True
        self.note = NumberNote(path.with_name(path.name + ".seq"))
        self._connect = connect or _connect

    def open(self, now: float, last_seq: int) -> None:
        """Open the file, or begin one whose numbers lie above `last_seq` and all used before; `now` is wall time."""
        with self._errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _check_writable(self.path.parent)
            existed = self.path.exists() and self.path.stat().st_size > 0
            ceiling, file_knows = self.note.read(missing=number_by_time(now) if existed else 0)
            self._database, same = self._open(ceiling, now)
            self._begin(max(0 if existed and same and file_knows else ceiling, last_seq))
        self.broken = False

    def append(self, rows: Sequence[Row], limit: int) -> int:
        """Add messages, then drop the oldest above `limit`; returns how many."""
        if not rows:
            return 0
        with self._errors():
            self.note.reserve(rows[-1].seq)
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

    def close(self, last_seq: int) -> None:
        """Leave one complete file, and a note that the numbers above the last are free."""
        self.broken = True
        with suppress(sqlite3.Error, AttributeError):  # it may never have been opened
            self._database.close()  # checkpoints the log
        self.note.end(last_seq)

    def _open(self, highest: int, now: float) -> tuple[sqlite3.Connection, bool]:
        """The database, and whether it is the one that was there; no number above `highest` was used."""
        try:
            return self._checked(), True
        except sqlite3.DatabaseError as error:
            if _code(error) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
        aside = self.path.with_name(f"{self.path.name}.corrupt-{int(now)}")
        _move(self.path, aside)
        try:
            database = self._checked()
            self._salvage(aside, database, highest)
        except BaseException:
            _move(aside, self.path)  # to try again
            raise
        self._forget_old_asides()
        return database, False

    def _salvage(self, aside: Path, database: sqlite3.Connection, highest: int) -> None:
        try:
            with database:
                database.execute("BEGIN IMMEDIATE")
                positions = intact_positions(aside, self.positions, highest)
                database.executemany("INSERT INTO position VALUES (?, ?)", positions.items())
                rows = intact_messages(aside, highest)
                saved = database.executemany("INSERT INTO message VALUES (?, ?, ?)", rows).rowcount
        except BaseException:
            database.close()
            raise
        fields = {"path": self.path, "as": aside, "messages_saved": saved}
        log.error("spool file is corrupt, set aside and begun anew", extra={"fields": fields})

    def _forget_old_asides(self) -> None:
        asides = sorted(self.path.parent.glob(f"{self.path.name}.corrupt-*[0-9]"))
        for old in asides[:-_KEPT_ASIDE]:
            for suffix in _SUFFIXES:
                old.with_name(old.name + suffix).unlink(missing_ok=True)

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

    def _begin(self, floor: int) -> None:
        """Register the writer and the readers; forget readers that are gone, so that they hold nothing back."""
        with self._database as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT OR IGNORE INTO position VALUES (?, 0)", (_WRITER,))
            database.execute("UPDATE position SET seq = max(seq, ?) WHERE name = ?", (floor, _WRITER))
            for (name,) in database.execute("SELECT name FROM position").fetchall():
                if name not in (_WRITER, *self.positions):
                    database.execute("DELETE FROM position WHERE name = ?", (name,))
            for name in self.positions:  # a new reader begins with what comes next
                database.execute(
                    "INSERT OR IGNORE INTO position SELECT ?, seq FROM position WHERE name = ?", (name, _WRITER)
                )
            positions = {str(name): int(seq) for name, seq in database.execute("SELECT name, seq FROM position")}
            self.last_seq = positions.pop(_WRITER)
            self.positions = positions
            database.execute("DELETE FROM message WHERE seq <= ?", (min(positions.values()),))
            self.depth = int(database.execute("SELECT count(*) FROM message").fetchone()[0])
        self.note.reserve(self.last_seq + 1)

    def _drop_oldest(self, count: int) -> int:
        if count <= 0:
            return 0
        query = "DELETE FROM message WHERE seq IN (SELECT seq FROM message ORDER BY seq LIMIT ?)"
        return self._database.execute(query, (count,)).rowcount

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            advice = _ADVICE.get(_code(error))
            self.broken = self.broken or advice is None
            kind = SpoolError if _code(error) in _MISTAKES else SpoolDiskError
            raise kind(f"spool {self.path}: {error}; {advice or _OTHER_DISK}") from error
        except OSError as error:
            kind = SpoolDiskError if error.errno in _FAILING else SpoolError
            raise kind(f"spool {self.path}: {error.strerror or error}; {_CANNOT_WRITE}") from error


_VERSION = 1
_WRITER = ""  # the name under which the number last given is kept among the positions
_KEPT_ASIDE = 3  # corrupt files
_LOG_PAGES = 1000  # of the log, some 250 events, before SQLite moves them into the database at the cost of two fsyncs
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS message (seq INTEGER PRIMARY KEY, at REAL NOT NULL, body BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS position (name TEXT PRIMARY KEY, seq INTEGER NOT NULL)",
    f"PRAGMA user_version = {_VERSION}",
)
_SUFFIXES = ("", "-wal")
_FAILING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # the rest are mistakes in a path
_MISTAKES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY)
_OTHER_DISK = "check its disk, or set [spool] path to another"
_CANNOT_WRITE = "make it writable for this user, or set [spool] path to another place"
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process has it open: stop that, or set [spool] path to another file",
    sqlite3.SQLITE_FULL: "free some space, or set [spool] path to another disk",
    sqlite3.SQLITE_READONLY: _CANNOT_WRITE,
    sqlite3.SQLITE_CANTOPEN: _CANNOT_WRITE,
    sqlite3.SQLITE_PERM: _CANNOT_WRITE,
}


def _check_writable(folder: Path) -> None:
    """SQLite would only speak of an I/O error."""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "its folder cannot be written")


def _move(source: Path, target: Path) -> None:
    """Rename a database with its log, which may hold what the file itself does not."""
    for suffix in _SUFFIXES:
        target.with_name(target.name + suffix).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            source.with_name(source.name + suffix).rename(target.with_name(target.name + suffix))


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=1.0, isolation_level=None)


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; -1 where Python raised the error itself."""
    return getattr(error, "sqlite_errorcode", -1) & 0xFF


def _corrupt(verdict: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(verdict)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error
