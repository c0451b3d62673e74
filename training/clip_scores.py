"""What a student says of whole clips, each one as a window of its own, and the figures of that."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.engine import Student, activate
from ssondo_stream.mel import log_mel
from training.clip_metrics import accuracy_estimate, ranking
from training.clips import read_clip
from training.errors import AudioFileError, ManifestError
from training.estimates import RESAMPLES, Estimate
from training.manifest import Entry, Manifest, Skipped
from training.progress import bar
from training.skipping import Skipping


@dataclass(frozen=True, slots=True)
class ClipScores:
    """Scores of clips.

    Attributes:
        entries: those that could be read.
        scores: [clips, labels] of the student, 0 to 1.
    """

    entries: tuple[Entry, ...]
    scores: NDArray[np.float32]


def score_clips(
    student: Student, manifest: Manifest, skipping: Skipping | None = None, *, progress: bool = True
) -> ClipScores:
    """Run a student on the first window's length of each clip; shorter ones are followed by silence, as in training.

    A clip's score is that of the mean of its columns' logits, which with a linear head is the head's on the embedding.

    Args:
        student: loaded.
        manifest: of clips.
        skipping: takes those that cannot be read.
        progress: whether a bar is shown.

    Raises:
        ManifestError: too many clips cannot be read.
    """
    skipping, entries, scores = skipping or Skipping(), list[Entry](), list[NDArray[np.float32]]()
    with closing(bar("clips", len(manifest), unit="clip", shown=progress)) as shown:
        for entry in manifest.entries:
            try:
                scores.append(_clip_scores(student, manifest.path(entry)))
            except AudioFileError as error:
                skipping.add("clips", len(manifest), Skipped(entry.id, str(error)))
            else:
                entries.append(entry)
            shown.update()
    return ClipScores(tuple(entries), np.stack(scores))


def check_clips(manifest: Manifest, labels: Sequence[str]) -> None:
    """Refuse clips that a student cannot be measured on.

    Args:
        manifest: of clips.
        labels: that the student knows.

    Raises:
        ManifestError: no clip has a label, or one has what the student does not know.
    """
    if not any(entry.labels for entry in manifest.entries):
        raise ManifestError(
            f"{manifest.root}: no clip has a label to be measured against; name a CSV with the columns path and labels"
        )
    _refuse_strange(manifest.entries, labels)


def _clip_scores(student: Student, path: Path) -> NDArray[np.float32]:
    """Scores [labels] of a clip."""
    spec = student.spec
    clip = read_clip(path, spec.mel.sample_rate, spec.mel.samples_for(spec.window_frames) / spec.mel.sample_rate)
    logits = student.stream().push(log_mel(clip.samples, spec.mel))[-1].logits
    scores: NDArray[np.float32] = activate(logits.mean(axis=0, keepdims=True), spec.activation)[0]
    return scores


def clip_figures(scored: ClipScores, labels: Sequence[str], *, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Accuracy, where each clip has one label, and average precision of each label and over all.

    Only labels that some clip has take part, so that a student with more of them is not judged on sounds that were
    not played.

    Args:
        scored: clips with what is heard in them.
        labels: names, in the order of the scores.
        resamples: for intervals, drawn within the folds.

    Raises:
        ManifestError: a clip is labelled with what the student does not know.
    """
    _refuse_strange(scored.entries, labels)
    heard = [i for i, name in enumerate(labels) if any(name in entry.labels for entry in scored.entries)]
    truth = np.array([[labels[i] in entry.labels for i in heard] for entry in scored.entries], np.bool_)
    folds = np.array([entry.fold or 0 for entry in scored.entries])
    scores, figures = scored.scores[:, heard], dict[str, Estimate]()
    if (truth.sum(axis=1) == 1).all():
        figures["accuracy"] = accuracy_estimate(scores, truth.argmax(axis=1), folds=folds, resamples=resamples)
    found = ranking(scores, truth, folds=folds, resamples=resamples)
    figures["macro average precision"] = found.macro
    return figures | {f"average precision, {labels[i]}": of for i, of in zip(heard, found.labels, strict=True)}


def _refuse_strange(entries: Sequence[Entry], labels: Sequence[str]) -> None:
    for entry in entries:
        if strange := set(entry.labels) - set(labels):
            raise ManifestError(f"{entry.id}: the student has no label {min(strange)!r}; known: {', '.join(labels)}")
