"""A head over columns from a folder of recordings, as `column_probe` fits it, written beside what it was made with."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.annotations import Annotated, annotated_recordings, named
from training.clips import SECONDS
from training.column_probe import STRENGTHS, ColumnProbe, column_rows, fit_columns
from training.errors import ManifestError, SettingsError
from training.files import locked, make_folder, remember, write_json
from training.learner import STUDENT_FILE, Trained, load_learner
from training.manifest import Skipped, write_skipped
from training.probe_head import HEAD_FILE, save_probe
from training.recordings import demand_labels, identity, readable
from training.skipping import SKIPPED_FILE, Skipping
from training.tables import need

SETTINGS_FILE = "settings.json"
REPORT_FILE = "report.json"


@dataclass(frozen=True, slots=True)
class ColumnSettings:
    """How a head over columns is made; there is no chance in it.

    Attributes:
        strengths: of the regularisation, to choose from.
        window_seconds: that the student will see at once in the monitor.
        max_skipped_share: of the recordings, in [0, 1]; with more unreadable ones the step fails.
        progress: whether bars are drawn.
    """

    strengths: tuple[float, ...] = STRENGTHS
    window_seconds: float = SECONDS
    max_skipped_share: float = 0.01
    progress: bool = True

    def __post_init__(self) -> None:
        for strength in self.strengths:
            need("strength >= 0", strength, fits=0 <= strength < math.inf)
        need("window > 0", self.window_seconds, fits=0 < self.window_seconds < math.inf)
        need("0 <= max_skipped <= 1", self.max_skipped_share, fits=0 <= self.max_skipped_share <= 1)


@dataclass(frozen=True, slots=True)
class Practice:
    """What a head is made of.

    Attributes:
        trained: the student.
        labels: of the head: those that the student has learnt, or else all that is annotated, sorted.
        recordings: with annotations of them.
        skipped: recordings that cannot be read, and are not among these.
        resolved: what the head depends on.
    """

    trained: Trained
    labels: tuple[str, ...]
    recordings: tuple[Annotated, ...]
    skipped: tuple[Skipped, ...]
    resolved: Mapping[str, object]


def open_practice(student: Path, recordings: Path, settings: ColumnSettings) -> Practice:
    """Read everything once.

    Args:
        student: folder of a finished training.
        recordings: folder, with annotations beside.
        settings: how the head is made.

    Raises:
        CheckpointError: there is no student, or it is damaged.
        ManifestError: there are no recordings, annotations are missing, malformed, or of other labels than those of the
            student, one of these is annotated nowhere, or too many recordings cannot be read.
    """
    trained, heard = load_learner(student), annotated_recordings(recordings)
    labels = trained.labels or tuple(sorted({sound.label for one in heard for sound in one.heard}))
    if not labels:
        raise ManifestError(f"{recordings}: nothing is annotated in the {len(heard)} recordings; annotate some sounds")
    skipping = Skipping(settings.max_skipped_share)
    kept = tuple(readable(named(heard, labels), skipping))
    demand_labels(kept, labels, recordings)
    network = student / STUDENT_FILE if student.is_dir() else student
    return Practice(
        trained,
        labels,
        kept,
        tuple(skipping.found),
        {
            "step": "columns",
            "labels": labels,
            "student_sha256": hashlib.sha256(network.read_bytes()).hexdigest(),
            **identity("recordings", kept),
            "strengths": settings.strengths,
            "window_seconds": settings.window_seconds,
        },
    )


def make_head(practice: Practice, out: Path, settings: ColumnSettings) -> ColumnProbe:
    """Fit a head and write it; over a finished one, the same again.

    Args:
        practice: what it is made of.
        out: a folder.
        settings: with which the practice was opened.

    Raises:
        SettingsError: `out` was begun with other settings.
        ProbeError: there are too few recordings to choose the regularisation on.
        StorageError: the disk is full, or another run is at work in `out`.
    """
    make_folder(out)
    with locked(out):
        if (out / HEAD_FILE).exists() and not (out / SETTINGS_FILE).exists():
            raise SettingsError(f"{out / HEAD_FILE}: its settings are not beside it; name another output folder")
        remember(out / SETTINGS_FILE, practice.resolved)
        write_skipped(out / SKIPPED_FILE, practice.skipped)
        return write_head(practice.trained, practice.recordings, practice.labels, out, settings)


def write_head(
    trained: Trained, recordings: Sequence[Annotated], labels: tuple[str, ...], out: Path, settings: ColumnSettings
) -> ColumnProbe:
    """Fit a head to what is learnt of the embeddings, and write it with a report.

    Raises:
        AudioFileError: a recording cannot be read.
        ManifestError: something is annotated that is none of the labels.
        ProbeError: there are too few recordings to choose the regularisation on.
        StorageError: it cannot be written.
    """
    window, progress = settings.window_seconds, settings.progress
    rows = column_rows(trained, recordings, labels, window_seconds=window, progress=progress)
    fitted = fit_columns(rows, labels, settings.strengths, used=trained.learner.backbone.learnt_dim)
    save_probe(out, fitted.probe)
    write_json(out / REPORT_FILE, {"strength": fitted.strength, "loss": fitted.loss, "columns": fitted.columns})
    return fitted
