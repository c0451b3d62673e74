"""What a step leaves out because it cannot be used: counted, listed, and an error where it is too much.

A figure of half of the recordings would be taken for one of all of them.
"""

from collections.abc import Sequence
from pathlib import Path

from training.errors import ManifestError
from training.files import make_folder
from training.manifest import Skipped, write_skipped

SKIPPED_FILE = "skipped.csv"


class Skipping:
    """Up to a share of each kind of thing may be left out. State is the list of what was.

    Args:
        most: that share, 0 to 1.
        listed: the file that lists it; nothing is written where it is None.
    """

    def __init__(self, most: float = 0.01, listed: Path | None = None) -> None:
        if not 0 <= most <= 1:
            raise ValueError(f"need a share of 0 to 1 that may be skipped, got {most}")
        self.most, self.listed = most, listed
        self.found: list[Skipped] = []
        self._counts: dict[str, int] = {}

    def add(self, kind: str, total: int, *skipped: Skipped) -> None:
        """Leave these out.

        Args:
            kind: what they are, such as "clips".
            total: how many of that kind there are.
            skipped: each with its reason.

        Raises:
            ManifestError: they are too many.
            StorageError: they cannot be listed.
        """
        self.found += skipped
        count = self._counts[kind] = self.count(kind) + len(skipped)
        if count > self.most * total or count == total:
            self.write()
            raise ManifestError(_too_many(kind, count, total, self))

    def count(self, kind: str) -> int:
        """How many of a kind were left out."""
        return self._counts.get(kind, 0)

    def write(self) -> None:
        """List what was left out so far."""
        if self.listed:
            make_folder(self.listed.parent)
            write_skipped(self.listed, self.found)


def told(skipped: Sequence[Skipped]) -> str:
    """For the last line of a step: how many were left out, and where they are listed."""
    return f", {len(skipped)} skipped, as {SKIPPED_FILE} says" if skipped else ""


def _too_many(kind: str, count: int, total: int, skipping: Skipping) -> str:
    last, where = skipping.found[-1], f"; {skipping.listed} lists those found so far" if skipping.listed else ""
    return (
        f"{count} of {total} {kind} cannot be used, and {skipping.most:.2%} of them may be skipped{where}; "
        f"the last: {last.id}: {last.reason}"
    )
