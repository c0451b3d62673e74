"""A manifest: the audio that a step works on, as a CSV or a folder.

Clips are named by their paths relative to one root, so that what is made from them can be moved with them.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from training.errors import ManifestError
from training.files import write_text

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64", ".snd"}
)
_BETWEEN_LABELS = ";"


@dataclass(frozen=True, slots=True)
class Entry:
    """A clip of a manifest.

    Attributes:
        id: its path relative to the root, with forward slashes.
        labels: what is heard in it, if that is known.
        fold: its part of the data, if there are parts; clips cut from one recording share a fold.
    """

    id: str
    labels: tuple[str, ...] = ()
    fold: int | None = None

    def __post_init__(self) -> None:
        path = PurePosixPath(self.id)
        if not self.id or path.is_absolute() or ".." in path.parts or str(path) != self.id:
            raise ValueError(f"need a plain path relative to the manifest's root, got {self.id!r}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Clips below one root, each once.

    Attributes:
        root: the folder that ids are relative to.
        entries: in their order in the CSV, or sorted for a folder.
    """

    root: Path
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        """Refuse an empty list and names that occur twice.

        Raises:
            ManifestError: naming the first clip at fault.
        """
        if not self.entries:
            raise ManifestError(f"{self.root}: the manifest names no audio")
        seen: set[str] = set()
        for entry in self.entries:
            if entry.id in seen:
                raise ManifestError(f"{self.root}: {entry.id} is listed twice")
            seen.add(entry.id)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def fingerprint(self) -> str:
        """Checksum of ids, labels and folds in their order; the same wherever the root is."""
        digest = hashlib.sha256()
        for entry in self.entries:
            digest.update(json.dumps([entry.id, entry.labels, entry.fold]).encode() + b"\n")
        return digest.hexdigest()

    def path(self, entry: Entry) -> Path:
        """Where the clip's audio is."""
        return self.root / entry.id

    def in_folds(self, folds: Iterable[int]) -> "Manifest":
        """The clips of these folds.

        Raises:
            ManifestError: there are none.
        """
        wanted = set(folds)
        found = tuple(entry for entry in self.entries if entry.fold in wanted)
        if not found:
            there = sorted({entry.fold for entry in self.entries if entry.fold is not None})
            told = f"its folds are {_listed(there)}" if there else "its clips have no folds"
            raise ManifestError(f"{self.root}: of folds {_listed(sorted(wanted))} the manifest names no audio; {told}")
        return Manifest(self.root, found)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A clip that could not be used, and why."""

    id: str
    reason: str


def open_manifest(path: Path, root: Path | None = None) -> Manifest:
    """A manifest from a CSV, or from a folder.

    A CSV has the column `path`, and if wanted `labels` (split at `;`) and `fold`; others are left alone.

    Args:
        path: the CSV, or a folder whose audio files are taken, those in its folders too.
        root: what the CSV's paths are relative to; its own folder if not given.

    Raises:
        ManifestError: it is missing or malformed; the message names the line.
    """
    if path.is_dir():
        return Manifest(path, tuple(Entry(name) for name in sorted(_audio_below(path))))
    base = path.parent if root is None else root
    return Manifest(base, tuple(_rows(path, base)))


def write_skipped(path: Path, skipped: Sequence[Skipped]) -> None:
    """List skipped clips in a CSV with the columns `path` and `reason`."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "reason"))
    table.writerows((clip.id, clip.reason) for clip in skipped)
    write_text(path, text.getvalue())


def write_manifest(path: Path, entries: Iterable[Entry]) -> None:
    """Write a manifest as `open_manifest` reads it; the file is there completely or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "labels", "fold"))
    table.writerows((entry.id, _BETWEEN_LABELS.join(entry.labels), entry.fold) for entry in entries)
    write_text(path, text.getvalue())


def _audio_below(folder: Path) -> Iterator[str]:
    """Audio files by suffix, hidden ones left out; links to folders are not followed, so that this ends."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                yield (Path(place) / name).relative_to(folder).as_posix()


def _rows(path: Path, root: Path) -> Iterator[Entry]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            if "path" not in (table.fieldnames or ()):
                raise ManifestError(
                    f"{path}: expected a column 'path', found {', '.join(table.fieldnames or ['none'])}"
                )
            for row in table:
                yield _entry(row, root, f"{path}, line {table.line_num}")
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}; expected a CSV or a folder of audio") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not a CSV in UTF-8 ({error})") from error


def _entry(row: dict[str, str | None], root: Path, where: str) -> Entry:
    labels, fold = row.get("labels") or "", (row.get("fold") or "").strip()
    try:
        return Entry(
            _relative(row["path"] or "", root),
            tuple(label.strip() for label in labels.split(_BETWEEN_LABELS) if label.strip()),
            _fold(fold),
        )
    except ValueError as error:
        raise ManifestError(f"{where}: {error}") from error


def _fold(text: str) -> int | None:
    try:
        return int(text) if text else None
    except ValueError as error:
        raise ValueError(f"expected a whole number or nothing as fold, found {text!r}") from error


def _relative(name: str, root: Path) -> str:
    """An id; an absolute path is taken where it lies below the root."""
    path, base = Path(name), root.absolute()
    if path.is_absolute():
        if not path.is_relative_to(base):
            raise ValueError(f"{name} is not below {base}: name a root above it")
        path = path.relative_to(base)
    return path.as_posix() if name else ""


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
