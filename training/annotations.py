"""Which sounds are heard in a recording and when: a table of onset, offset and label beside each audio file.

Tab-separated text is what annotation programs write and what people can check.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssondo_stream.bundle import slugify
from training.errors import ManifestError
from training.files import write_text
from training.manifest import AUDIO_SUFFIXES

COLUMNS = ("onset", "offset", "label")
_DIGITS = 6  # a microsecond, below a sample of anything


@dataclass(frozen=True, slots=True, order=True)
class Heard:
    """A sound in a recording.

    Attributes:
        onset, offset: in seconds from the recording's first sample.
        label: what it is.
    """

    onset: float
    offset: float
    label: str

    def __post_init__(self) -> None:
        if not 0 <= self.onset < self.offset < math.inf:
            raise ValueError(f"need 0 <= onset < offset, got {self.onset} and {self.offset}")
        if not self.label or self.label != self.label.strip() or set("\t\r\n") & set(self.label):
            raise ValueError(f"need a label in one line, got {self.label!r}")


@dataclass(frozen=True, slots=True)
class Annotated:
    """An audio file and what is heard in it."""

    audio: Path
    heard: tuple[Heard, ...]


def annotation_path(audio: Path) -> Path:
    """Where the annotations of an audio file are."""
    return audio.with_suffix(".tsv")


def write_annotations(path: Path, heard: Iterable[Heard]) -> None:
    """Write sounds in the order of their onsets; the file is there completely or not at all."""
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows((f"{e.onset:.{_DIGITS}f}", f"{e.offset:.{_DIGITS}f}", e.label) for e in sorted(heard))
    write_text(path, text.getvalue())


def read_annotations(path: Path) -> tuple[Heard, ...]:
    """The sounds of a file, in the order of their onsets; `event_label` serves as `label`.

    Raises:
        ManifestError: it is missing or malformed; the message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return tuple(sorted(_rows(path, file)))
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}; expected annotations") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not a table in UTF-8 ({error})") from error


def annotated_recordings(folder: Path, *, demanded: bool = True) -> list[Annotated]:
    """The audio files below a folder, each with annotations beside it, in the order of their names.

    Args:
        folder: of the recordings.
        demanded: whether there must be annotations; if not, nothing is heard in a recording without them.

    Raises:
        ManifestError: there are none, one has no annotations, or they are malformed.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not found:
        raise ManifestError(f"{folder}: expected recordings with annotations beside them, found no audio")
    beside = [annotation_path(audio) for audio in found]
    return [
        Annotated(audio, read_annotations(path) if demanded or path.exists() else ())
        for audio, path in zip(found, beside, strict=True)
    ]


def named(recordings: Sequence[Annotated], labels: Sequence[str]) -> list[Annotated]:
    """The same under a student's own names of its labels; `dog_bark` means `Dog bark`.

    Raises:
        ManifestError: a label is none of the student's; the message names the file.
    """
    names = {slugify(label): label for label in labels}
    for recording in recordings:
        if strange := sorted({event.label for event in recording.heard if slugify(event.label) not in names}):
            path = annotation_path(recording.audio)
            known = f"known: {', '.join(names)}" if names else "it has none: put a head into it by `probe` and `export`"
            raise ManifestError(f"{path}: {strange[0]!r} is no label of the student; {known}")
    return [
        replace(one, heard=tuple(replace(event, label=names[slugify(event.label)]) for event in one.heard))
        for one in recordings
    ]


def merged(heard: Sequence[Heard], label: str, bridge_seconds: float = 0.0) -> list[tuple[float, float]]:
    """When a label is heard, as (onset, offset); what overlaps, or is at most so far apart, is one."""
    joined: list[tuple[float, float]] = []
    for event in sorted(event for event in heard if event.label == label):
        if joined and event.onset - joined[-1][1] <= bridge_seconds:
            joined[-1] = (joined[-1][0], max(joined[-1][1], event.offset))
        else:
            joined.append((event.onset, event.offset))
    return joined


def _rows(path: Path, file: Iterable[str]) -> Iterator[Heard]:
    table = csv.DictReader(file, delimiter="\t", strict=True)
    names = table.fieldnames or []
    label = "label" if "label" in names else "event_label"
    if missing := [name for name in ("onset", "offset", label) if name not in names]:
        raise ManifestError(f"{path}: expected columns {', '.join(COLUMNS)}, found no {missing[0]}")
    for row in table:
        try:
            yield Heard(float(row["onset"] or ""), float(row["offset"] or ""), row[label] or "")
        except ValueError as error:
            raise ManifestError(f"{path}, line {table.line_num}: {error}") from error
