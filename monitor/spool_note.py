"""The note beside the spool's file: up to where numbers may have been used.

It is synced to disk before a number above the last note is used. So a spool whose file was lost, or reaches less far
than what was published, goes on above, and the hole tells subscribers that something may be missing.
"""

import json
import math
from contextlib import suppress
from pathlib import Path

from monitor.notes import write_note


class NumberNote:
    """Numbers are noted in blocks, so that few events wait for the disk. State is how far the note on disk reaches."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reserved = 0.0
        self._covered = 0.0

    def read(self, *, missing: int) -> tuple[int, bool]:
        """Up to where numbers may be used, `missing` without a note, and whether the spool's file tells it better."""
        try:
            note = json.loads(self._path.read_text())
            ceiling, boot = int(note["ceiling"]), str(note["boot"])
        except (OSError, ValueError, KeyError, TypeError):
            return missing, False
        return ceiling, bool(boot) and boot == _boot()

    def reserve(self, seq: int) -> None:
        """Before a number is used that the file will hold; raises OSError where it cannot be noted."""
        if seq > self._reserved:
            write_note(self._path, {"ceiling": seq + _BLOCK, "boot": _boot()})
            self._reserved, self._covered = seq + _BLOCK, 0.0

    def cover(self, seq: int) -> bool:
        """Before a number is used that the file will not hold; says whether the disk took that."""
        if seq <= self._covered:
            return True
        try:
            write_note(self._path, {"ceiling": seq + _BLOCK, "boot": ""})
            self._covered = seq + _BLOCK
        except OSError:
            try:
                self._path.unlink()
            except OSError:
                return False
            self._covered = math.inf  # without a note, numbers go on above the time
        self._reserved = 0.0
        return True

    def end(self, seq: int) -> None:
        """Note that the numbers above `seq` are free, as far as the disk still takes a note."""
        with suppress(OSError):
            write_note(self._path, {"ceiling": seq, "boot": ""})
        self._reserved = self._covered = 0.0


def number_by_time(now: float) -> int:
    """A number above all that were counted up to: milliseconds since 1970, for when nothing tells the last."""
    return int(now * 1000)


_BLOCK = 1000


def _boot() -> str:
    """Changes when the kernel starts anew; empty where that cannot be told."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
