"""A verifier from folders of recordings: everything is read and checked before anything is written.

A run that was killed goes on with the scores that it has, and gives the same files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssondo_stream.bundle import Label, find_bundle, load_spec
from ssondo_stream.loading import load_student
from training.annotations import Annotated, annotated_recordings, named
from training.errors import SettingsError
from training.evaluation import score_recordings
from training.files import locked, make_folder, remember
from training.manifest import Skipped, write_skipped
from training.mistakes import mistakes
from training.recordings import demand_labels, identity, readable
from training.skipping import SKIPPED_FILE, Skipping
from training.tables import need
from training.verifier import VERIFIER_FILE, VerifierError, fit_verifier

SETTINGS_FILE = "settings.json"
SCORES = "scores"
"""Folder of what the student says of the recordings in which it may be mistaken."""


@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """How a verifier is made.

    Attributes:
        seed: of where sounds are cut, and of the head.
        max_skipped_share: of a folder's recordings, in [0, 1]; with more unreadable ones the step fails.
        progress: whether bars are drawn.
    """

    seed: int = 0
    max_skipped_share: float = 0.01
    progress: bool = True

    def __post_init__(self) -> None:
        need("0 <= seed < 2^63", self.seed, fits=0 <= self.seed < 2**63)
        need("0 <= max_skipped <= 1", self.max_skipped_share, fits=0 <= self.max_skipped_share <= 1)


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a verifier is made of.

    Attributes:
        bundle: folder of the student.
        rules: its labels.
        heard: recordings in which they are annotated.
        refused: recordings in which the student may be mistaken.
        skipped: recordings of both that cannot be read, and are not among these.
        resolved: what the verifier depends on.
    """

    bundle: Path
    rules: tuple[Label, ...]
    heard: tuple[Annotated, ...]
    refused: tuple[Annotated, ...]
    skipped: tuple[Skipped, ...]
    resolved: Mapping[str, object]

    @property
    def figures(self) -> dict[str, object]:
        """Of a dry run."""
        sounds = sum(len(one.heard) for one in self.heard)
        return {"sounds": sounds, "skipped": len(self.skipped)}


def open_lessons(bundle: str, recordings: Path, refuse: Path | None, settings: VerifierSettings) -> Lessons:
    """Read everything once.

    Args:
        bundle: name or folder of a student.
        recordings: folder, with annotations of the student's labels beside.
        refuse: folder of recordings in which it may be mistaken, annotated or not.
        settings: how the verifier is made.

    Raises:
        BundleError: there is no such student.
        ManifestError: a folder has no recordings, annotations are missing, malformed, or of other labels, a label is
            annotated nowhere, or too many recordings cannot be read.
        VerifierError: the student has no labels.
    """
    folder = find_bundle(bundle)
    spec = load_spec(folder)
    labels = tuple(rule.name for rule in spec.labels)
    if not labels:
        raise VerifierError(f"{folder}: the student has no labels to verify; name a bundle with a head")
    heard = named(annotated_recordings(recordings), labels)
    refused = named(annotated_recordings(refuse, demanded=False), labels) if refuse else []
    skipping = Skipping(settings.max_skipped_share)
    heard, refused = readable(heard, skipping), readable(refused, skipping, "recordings to refuse sounds of")
    demand_labels(heard, labels, recordings)
    return Lessons(
        folder,
        spec.labels,
        tuple(heard),
        tuple(refused),
        tuple(skipping.found),
        {
            "step": "verifier",
            "labels": labels,
            "network_sha256": spec.network_sha256,
            **identity("recordings", heard),
            **identity("refused", refused),
            "seed": settings.seed,
        },
    )


def make_verifier(lessons: Lessons, out: Path, settings: VerifierSettings) -> int | None:
    """Fit a verifier, or leave the one that is finished as it is.

    Writes `settings.json`, `skipped.csv`, `scores` and, last of all, `verifier.safetensors` into `out`.

    Args:
        lessons: what it is made of.
        out: a folder.
        settings: with which the lessons were opened.

    Returns:
        Mistakes that it learnt to refuse; None where it was finished.

    Raises:
        SettingsError: `out` has another verifier, or was begun with other settings.
        VerifierError: a label is never heard for long enough.
        StorageError: the disk is full, or another run is at work in `out`; scores that are finished stay usable.
    """
    make_folder(out)
    with locked(out):
        if (out / VERIFIER_FILE).exists() and not (out / SETTINGS_FILE).exists():
            raise SettingsError(f"{out / VERIFIER_FILE}: its settings are not beside it; name another output folder")
        remember(out / SETTINGS_FILE, lessons.resolved)
        if (out / VERIFIER_FILE).exists():
            return None
        write_skipped(out / SKIPPED_FILE, lessons.skipped)
        mistaken = _mistaken(lessons, out / SCORES, progress=settings.progress)
        fit_verifier(
            lessons.heard,
            tuple(rule.name for rule in lessons.rules),
            out,
            mistaken=mistaken,
            seed=settings.seed,
            progress=settings.progress,
        )
    return sum(len(one.heard) for one in mistaken)


def _mistaken(lessons: Lessons, scores: Path, *, progress: bool) -> list[Annotated]:
    if not lessons.refused:
        return []
    student = load_student(lessons.bundle, scores_only=True)
    scored = score_recordings(student, lessons.refused, scores, verified=False, progress=progress)
    return mistakes(lessons.refused, scored, lessons.rules)
