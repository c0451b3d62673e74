"""Measures a student on a folder of annotated recordings, as the monitor would hear them.

Scores of each recording are kept as they are made, so a run that was killed goes on where it was, and other settings
are tried without streaming again.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ssondo_stream.bundle import Label
from ssondo_stream.engine import Student
from ssondo_stream.types import Frames
from training.annotations import Annotated
from training.errors import TrainingError
from training.estimates import Estimate
from training.files import locked, make_folder, remember, write_file
from training.progress import bar
from training.recordings import audio_sha256
from training.report import Evaluation
from training.stream_metrics import MetricSettings, measure
from training.stream_scores import Recording, StreamScores, StreamSettings, score_file, with_verdicts
from training.thresholds import THRESHOLDS, operating_points

SETTINGS_FILE = "scores.json"
_NUMBERS = ("hop_columns", "column", "lead", "seconds")
_ARRAYS = ("means", "ready", "settled")


class EvaluationError(TrainingError):
    """An evaluation cannot be done with what is there."""


def score_recordings(
    student: Student,
    recordings: Sequence[Annotated],
    folder: Path,
    settings: StreamSettings | None = None,
    *,
    verified: bool = True,
    progress: bool = True,
) -> list[Recording]:
    """Stream recordings through a student; what was scored before is read.

    Args:
        student: whose bundle has a checksum.
        recordings: with annotations, which are not kept and may be corrected later.
        folder: where the scores are kept, a file for each recording.
        settings: how the stream is run.
        verified: whether the student's verifier, if it has one, can be asked; the frames that it hears then are kept
            too, a megabyte a minute.
        progress: whether a bar is shown.

    Raises:
        SettingsError: the folder holds scores of another student, other settings or other recordings.
        AudioFileError: a recording cannot be read, or not be streamed.
        StorageError: scores cannot be written.
    """
    settings = settings or StreamSettings()
    make_folder(folder)
    with locked(folder):
        remember(folder / SETTINGS_FILE, _resolved(student, recordings, settings))
        shown, scored = bar("score", len(recordings), unit="recording", shown=progress), []
        for number, recording in enumerate(recordings):
            scores = _scored(student, recording.audio, folder / f"{number:05d}.npz", settings, verified=verified)
            scored.append(Recording(recording.audio.name, scores, recording.heard))
            shown.update()
        shown.close()
    return scored


def _scored(student: Student, audio: Path, kept: Path, settings: StreamSettings, *, verified: bool) -> StreamScores:
    """Scores that are kept, or made and kept; for a verifier the frames lie beside them, and stay on disk."""
    frames, verified = kept.with_suffix(".frames.npy"), verified and student.spec.verifies
    if not kept.exists() or (verified and not frames.exists()):
        made = score_file(student, audio, settings)
        if verified and (heard := made.verdicts):
            write_file(frames, lambda file: np.save(file, heard.frames))
        write_scores(kept, made)
    scores = read_scores(kept)
    return with_verdicts(scores, student, _read_frames(frames)) if verified else scores


def _read_frames(path: Path) -> Frames:
    try:
        frames: Frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise EvaluationError(f"{path}: missing or damaged frames ({error}); delete it to score it again") from error
    return frames


def evaluate(
    title: str,
    recordings: Sequence[Recording],
    rules: Sequence[Label],
    settings: MetricSettings | None = None,
    *,
    clips: Mapping[str, Estimate] | None = None,
    facts: Mapping[str, str] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
) -> Evaluation:
    """All figures of a student, and each label's operating points, for `report.write_report`.

    Args:
        title: which student, on what.
        recordings: scored by the student.
        rules: of its labels, in their order; chosen on other recordings than these.
        settings: what is counted how.
        clips: figures of whole clips, where there are any.
        facts: whatever else belongs to it.
        thresholds: of the curves; none leaves them out.
    """
    figures = measure(recordings, rules, settings)
    curves = {
        rule.name: operating_points(recordings, i, rule, thresholds, settings)
        for i, rule in enumerate(rules)
        if thresholds
    }
    return Evaluation(title, clips or {}, figures, curves, facts or {})


def write_scores(path: Path, scores: StreamScores) -> None:
    """Keep a recording's scores; the file is there completely or not at all."""
    arrays = {name: getattr(scores, name) for name in _ARRAYS}
    numbers = np.array([getattr(scores, name) for name in _NUMBERS], np.float64)
    write_file(path, lambda file: np.savez_compressed(file, allow_pickle=False, numbers=numbers, **arrays))


def read_scores(path: Path) -> StreamScores:
    """Scores of `write_scores`.

    Raises:
        EvaluationError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as kept:
            hop_columns, column, lead, seconds = kept["numbers"].tolist()
            means, ready, settled = (kept[name] for name in _ARRAYS)
            return StreamScores(means, ready, settled, int(hop_columns), column, lead, seconds)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise EvaluationError(f"{path}: missing or damaged scores ({error}); delete it to score it again") from error


def _resolved(student: Student, recordings: Sequence[Annotated], settings: StreamSettings) -> dict[str, object]:
    """What the scores depend on."""
    return {
        "student": student.spec.name,
        "network_sha256": student.spec.network_sha256,
        **asdict(settings),
        "recordings": len(recordings),
        "recordings_sha256": audio_sha256(recordings),
    }
