"""Annotated recordings before they are measured on: those that can be read, and what tells them from others.

Recordings that were made anew have the names and often the sizes of the old ones, so their content is what counts.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import soundfile

from training.annotations import Annotated
from training.errors import AudioFileError, ManifestError
from training.manifest import Skipped
from training.skipping import Skipping

_AT_ONCE = 2**18  # frames of a recording in memory


def readable(recordings: Sequence[Annotated], skipping: Skipping, kind: str = "recordings") -> list[Annotated]:
    """The recordings that can be read to their end.

    Args:
        recordings: all of them.
        skipping: takes the others.
        kind: what they are counted as there.

    Raises:
        ManifestError: those are too many.
    """
    found = []
    for recording in recordings:
        try:
            _read(recording.audio)
        except AudioFileError as error:
            skipping.add(kind, len(recordings), Skipped(recording.audio.name, str(error)))
        else:
            found.append(recording)
    return found


def demand_labels(recordings: Sequence[Annotated], labels: Collection[str], folder: Path) -> None:
    """Refuse recordings of a folder in which a label is annotated nowhere.

    Raises:
        ManifestError: naming the first such label.
    """
    annotated = {sound.label for recording in recordings for sound in recording.heard}
    if missing := [name for name in labels if name not in annotated]:
        raise ManifestError(
            f"{folder}: every label of the student is needed, and {missing[0]!r} is annotated nowhere; add recordings "
            "of it, or name a student without that label"
        )


def identity(name: str, recordings: Sequence[Annotated]) -> dict[str, object]:
    """For a step's settings: how many recordings there are, and checksums of their audio and their annotations.

    Raises:
        AudioFileError: one cannot be read.
    """
    return {
        name: len(recordings),
        f"{name}_sha256": audio_sha256(recordings),
        f"{name}_annotations_sha256": annotations_sha256(recordings),
    }


def audio_sha256(recordings: Sequence[Annotated]) -> str:
    """Checksum of the names and the content of audio files, in their order.

    Raises:
        AudioFileError: one cannot be read.
    """
    return _sha256([[recording.audio.name, _content(recording.audio)] for recording in recordings])


def annotations_sha256(recordings: Sequence[Annotated]) -> str:
    """Checksum of what is heard in recordings, in their order."""
    return _sha256([[astuple(sound) for sound in recording.heard] for recording in recordings])


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _content(audio: Path) -> str:
    try:
        with audio.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AudioFileError(f"{audio}: cannot be read ({error.strerror})") from error


def _read(audio: Path) -> None:
    """Refuse what could not be streamed."""
    try:
        with soundfile.SoundFile(audio) as file:
            blocks = [np.isfinite(block).all() for block in file.blocks(_AT_ONCE, dtype="float32")]
    except (OSError, soundfile.LibsndfileError, ValueError, TypeError) as error:
        raise AudioFileError(f"cannot be read as audio ({error})") from error
    if not blocks:
        raise AudioFileError("holds no samples")
    if not all(blocks):
        raise AudioFileError("holds NaN or infinity")
