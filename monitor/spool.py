"""Where events wait until every sink has them: a bounded FIFO that survives the death of the process.

Every event goes through it, broker up or down, so that there is one path to test. When the disk fails the service goes
on: messages are held in memory, within a bound, and written as soon as the disk takes them again.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from pathlib import Path

from monitor.clock import Clock
from monitor.errors import SpoolDiskError, SpoolError
from monitor.spool_file import Connect, SpoolFile
from monitor.spool_note import number_by_time
from monitor.spool_salvage import Row

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    """A message that the disk did not take, and who has not read it yet."""

    row: Row
    owing: set[str]


class Spool:
    """Messages in the order they came, each with a number that only rises and is never used again.

    Several readers go through it, each at its own pace; a message is deleted once all have acknowledged it. Beyond
    `max_messages` the oldest is dropped. State is the file, the readers' positions, and what the disk did not take.

    Attributes:
        dropped: messages dropped to stay within a bound, since the start.
        detail: what is wrong with the disk; None while nothing is.
    """

    def __init__(
        self,
        path: Path,
        max_messages: int = 100_000,
        *,
        clock: Clock,
        readers: Sequence[str] = ("mqtt",),
        max_held: int = 10_000,
        retry_seconds: float = 5.0,
        connect: Connect | None = None,
    ) -> None:
        """Open the file, or begin one; while its disk fails, begin in memory.

        Args:
            path: of the SQLite file; its folder is made where missing.
            max_messages: most messages kept on disk.
            clock: tells when a message was appended, and when to try a failed disk again.
            readers: every sink that reads. A new one begins with what comes next; one no longer named is forgotten.
            max_held: most messages kept in memory while the disk fails.
            retry_seconds: between attempts on a failed disk.
            connect: opens SQLite; for tests.

        Raises:
            SpoolError: the file cannot be where it should be; the message says what to do.
        """
        if not readers:
            raise ValueError("a spool needs at least one reader")
        self._path = path
        self._readers = tuple(readers)
        self._limit = max_messages
        self._max_held = min(max_held, max_messages)
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._retry_at = 0.0
        self._held: deque[_Held] = deque()
        self._last = 0
        self._by_time = False
        self.dropped = 0
        self.detail: str | None = None
        self._file = SpoolFile(path, readers, connect)
        try:
            self._file.open(clock.wall(), last_seq=0)
            self._last = self._file.last_seq
        except SpoolDiskError as error:
            self._fail(error)
            self._number_by_time()
        self._positions = dict(self._file.positions)

    @property
    def healthy(self) -> bool:
        """Whether the disk takes messages."""
        return self.detail is None

    @property
    def depth(self) -> int:
        """Messages that some reader has not acknowledged."""
        return self._file.depth + len(self._held)

    @property
    def oldest_timestamp(self) -> float | None:
        """When the oldest message was appended, in seconds since 1970; None where there is none."""
        try:
            oldest = None if self._file.broken else self._file.oldest()
        except SpoolError as error:
            self._fail(error)
            oldest = None
        return self._held[0].row.at if oldest is None and self._held else oldest

    def append(self, body: bytes) -> int:
        """Add a message, durably against the death of the process unless the disk fails; never raises for the disk.

        Returns:
            How many of the oldest messages were dropped to stay within the bounds.
        """
        dropped_before = self.dropped
        at = self._clock.wall()
        if not (self._recover_if_due() and self._write(Row(self._last + 1, at, body))):
            self._hold(at, body)
        return self.dropped - dropped_before

    def peek(self, count: int = 64, *, reader: str = "mqtt") -> Sequence[tuple[int, bytes]]:
        """The oldest messages, at most `count`, that a reader has not acknowledged: their numbers and bodies."""
        held = ((item.row.seq, item.row.body) for item in self._held if reader in item.owing)
        return list(islice(chain(self._read(count, self._positions[reader]), held), count))

    def ack(self, seq: int, *, reader: str = "mqtt") -> None:
        """A reader has dealt with every message up to `seq` that `peek` showed it."""
        first_held = self._held[0].row.seq if self._held else seq + 1
        if not self._file.broken or seq < first_held:  # else older ones wait on disk, not shown
            self._positions[reader] = max(self._positions[reader], min(seq, self._last))
        for item in takewhile(lambda item: item.row.seq <= seq, self._held):
            item.owing.discard(reader)
        while self._held and not self._held[0].owing:
            self._held.popleft()
        if self._recover_if_due():
            self._save()

    def recover(self) -> bool:
        """Try a failed disk again: write what is held; call it every few seconds. Returns whether all is well."""
        if self.healthy:
            return True
        self._retry_at = self._clock.monotonic() + self._retry_seconds
        try:
            if self._file.broken:
                self._open_again()
            self._file.tidy()
            self.dropped += self._file.append([item.row for item in self._held], self._limit)
            self._file.save(self._positions, self._last)
        except SpoolError as error:
            self.detail = str(error)
            return False
        self._held.clear()
        self.detail, self._by_time = None, False
        log.info("spool writes to its disk again", extra={"fields": {"path": self._path, "messages": self.depth}})
        return True

    def close(self) -> None:
        """Write what can be written, and leave one complete file."""
        self.recover()
        self._file.close(self._last)

    def _open_again(self) -> None:
        self._file.close(self._last)
        self._file.open(self._clock.wall(), self._last)
        before = self._held[0].row.seq - 1 if self._held else self._last  # what is held was not read
        for name, seq in self._file.positions.items():
            self._positions[name] = max(self._positions[name], min(seq, before))

    def _recover_if_due(self) -> bool:
        return self.healthy or (self._clock.monotonic() >= self._retry_at and self.recover())

    def _write(self, row: Row) -> bool:
        try:
            self.dropped += self._file.append([row], self._limit)
        except SpoolError as error:
            self._fail(error)
            return False
        self._last = row.seq
        return True

    def _read(self, count: int, after: int) -> list[tuple[int, bytes]]:
        try:
            return [] if self._file.broken else self._file.read(after, count)
        except SpoolError as error:
            self._fail(error)
            return []

    def _save(self) -> None:
        try:
            self._file.save(self._positions, self._last)
        except SpoolError as error:
            self._fail(error)

    def _hold(self, at: float, body: bytes) -> None:
        if not self._file.note.cover(self._last + 1) and not self._by_time:
            self._number_by_time()
        self._last += 1
        self._held.append(_Held(Row(self._last, at, body), set(self._readers)))
        if len(self._held) > self._max_held:
            self._held.popleft()
            self.dropped += 1

    def _number_by_time(self) -> None:
        """The disk cannot even note which numbers are in use: use some that come up once only."""
        self._last = max(self._last, number_by_time(self._clock.wall()))
        self._by_time = True

    def _fail(self, error: SpoolError) -> None:
        if self.healthy:
            log.error("spool disk failed, messages are held in memory", extra={"fields": {"error": error}})
            self._retry_at = self._clock.monotonic() + self._retry_seconds
        self.detail = str(error)
