"""Annotated recordings of a folder, checked before a step that learns from them writes anything."""

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path

from ssondo_stream.mel import MelConfig
from training.annotations import Annotated
from training.clips import read_whole
from training.errors import AudioFileError, ManifestError
from training.manifest import Skipped
from training.progress import bar


def unreadable_among(
    recordings: Sequence[Annotated], folder: Path, mel: MelConfig, max_skipped_share: float, *, progress: bool = True
) -> dict[Path, Skipped]:
    """What cannot be used, by its audio; each is read once.

    Args:
        recordings: to look through.
        folder: that they are in, for their names.
        mel: front end that will hear them.
        max_skipped_share: of them that may be unreadable, in [0, 1].
        progress: whether a bar is shown.

    Raises:
        ManifestError: more than that are.
    """
    found: dict[Path, Skipped] = {}
    shown = bar("check", len(recordings), unit="recording", shown=progress)
    for recording in recordings:
        path = recording.audio
        try:
            if not mel.frames_in(len(read_whole(path, mel.sample_rate))):
                raise AudioFileError(f"{path}: is shorter than a frame of {mel.n_fft / mel.sample_rate} s")
        except AudioFileError as error:
            found[path] = Skipped(_name(folder, path), str(error).removeprefix(f"{path}: "))
        shown.update()
    shown.close()
    if len(found) > max_skipped_share * len(recordings):
        first = next(iter(found.values()))
        raise ManifestError(
            f"{folder}: {len(found)} of {len(recordings)} recordings cannot be read, more than "
            f"{max_skipped_share:.2%} of them; the first is {first.id}: {first.reason}"
        )
    return found


def demand_labels(
    recordings: Sequence[Annotated], folder: Path, labels: Sequence[str], without: Collection[Path] = ()
) -> None:
    """Refuse recordings in which a label is annotated nowhere.

    Args:
        recordings: with annotations.
        folder: that they are in.
        labels: that are needed.
        without: audio that is not counted.

    Raises:
        ManifestError: naming the first such label.
    """
    annotated = {sound.label for one in recordings if one.audio not in without for sound in one.heard}
    if missing := [name for name in labels if name not in annotated]:
        raise ManifestError(
            f"{folder}: every label of the student is needed, and {missing[0]!r} is annotated nowhere; add recordings "
            "of it, or name a student without that label"
        )


def fingerprint(recordings: Sequence[Annotated], folder: Path) -> str:
    """Changes with names, sizes and annotations; the same wherever the folder is."""
    digest = hashlib.sha256()
    for one in recordings:
        sounds = [(sound.onset, sound.offset, sound.label) for sound in one.heard]
        size = one.audio.stat().st_size if one.audio.exists() else 0
        digest.update(json.dumps([_name(folder, one.audio), size, sounds]).encode() + b"\n")
    return digest.hexdigest()


def _name(folder: Path, audio: Path) -> str:
    return audio.relative_to(folder).as_posix()
