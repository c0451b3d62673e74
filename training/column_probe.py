"""A linear head for streams: fitted to single columns of annotated recordings, on a frozen student.

A clip's label says nothing of when a sound is heard. Annotations do, so here every column of a recording is an example,
with the share of it that each sound fills as its target; what is fitted is what the monitor asks of the head.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ssondo_stream.mel import log_mel
from ssondo_stream.types import Samples
from training.annotations import Annotated
from training.clips import SECONDS, read_whole
from training.columns import annotated_targets
from training.learner import Trained
from training.probe_data import ProbeError
from training.probe_fit import fit_linear
from training.probe_head import Probe
from training.progress import bar

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2)
THRESHOLD = 0.5  # of a share; what a stream needs is chosen by `evaluate`
_KEPT_BACK = 5  # every so manieth recording chooses the strength
_BATCH = 16


@dataclass(frozen=True, slots=True)
class ColumnRows:
    """Columns as a student sees them.

    Attributes:
        embeddings: [columns, dim] shares of the embedding.
        targets: [columns, labels] how much of each is heard, 0 to 1.
        recordings: [columns] the number of the recording that each is of.
    """

    embeddings: NDArray[np.float32]
    targets: NDArray[np.float32]
    recordings: NDArray[np.int64]

    def where(self, rows: NDArray[np.bool_]) -> "ColumnRows":
        """Some of the columns."""
        return ColumnRows(self.embeddings[rows], self.targets[rows], self.recordings[rows])


@dataclass(frozen=True, slots=True)
class ColumnProbe:
    """A head, and what was chosen for it.

    Attributes:
        probe: the head.
        strength: of its regularisation.
        loss: binary cross entropy, summed over labels, on recordings that it was not fitted on when that was chosen.
        columns: that it was fitted on.
    """

    probe: Probe
    strength: float
    loss: float
    columns: int


def column_rows(
    trained: Trained,
    recordings: Sequence[Annotated],
    labels: tuple[str, ...],
    *,
    window_seconds: float = SECONDS,
    progress: bool = True,
) -> ColumnRows:
    """The columns of recordings, seen in windows that overlap by half; a window's newest column is left out.

    Args:
        trained: the student.
        recordings: with annotations.
        labels: in the order wanted.
        window_seconds: that the student will see at once in the monitor.
        progress: whether a bar is shown.

    Raises:
        AudioFileError: a recording cannot be read.
        ManifestError: something is annotated that is none of the labels.
    """
    mel, frames = trained.recipe.mel, trained.learner.backbone.column_frames
    width = mel.frames_in(round(window_seconds * mel.sample_rate)) // frames
    rows: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    shown = bar("columns", len(recordings), unit="recording", shown=progress)
    for recording in recordings:
        samples = read_whole(recording.audio, mel.sample_rate)
        targets = annotated_targets(recording, labels, len(samples), mel.sample_rate)
        rows.append(_of_recording(trained, samples, targets, width))
        shown.update()
    shown.close()
    numbers = np.concatenate([np.full(len(one), i, np.int64) for i, (one, _) in enumerate(rows)])
    return ColumnRows(np.concatenate([one for one, _ in rows]), np.concatenate([one for _, one in rows]), numbers)


def fit_columns(
    rows: ColumnRows, labels: tuple[str, ...], strengths: Sequence[float] = STRENGTHS, *, used: int | None = None
) -> ColumnProbe:
    """Fit a linear head; its regularisation is chosen on every fifth recording, then all are fitted.

    Args:
        rows: columns with their targets.
        labels: of the targets.
        strengths: of the regularisation, to choose from.
        used: the head sees so many of an embedding's dimensions, the first; statistics over five seconds, which may
            follow them, tell nothing of half a second. All of them if not given.

    Raises:
        ProbeError: there are too few recordings to choose on.
    """
    dim = rows.embeddings.shape[1]
    rows = replace(rows, embeddings=rows.embeddings[:, :used])
    kept_back = rows.recordings % _KEPT_BACK == _KEPT_BACK - 1
    if not kept_back.any() or kept_back.all():
        raise ProbeError(f"need {_KEPT_BACK} recordings or more to choose the regularisation on")
    fitted, judged = rows.where(~kept_back), rows.where(kept_back)
    losses = [_loss(fit_linear(fitted.embeddings, fitted.targets, one), judged) for one in strengths]
    best = int(np.argmin(losses))
    head = fit_linear(rows.embeddings, rows.targets, strengths[best])
    probe = Probe(_blind_beyond(head, dim), labels, "multi", (), (THRESHOLD,) * len(labels))
    return ColumnProbe(probe, strengths[best], losses[best], len(rows.embeddings))


@torch.no_grad()
def _blind_beyond(head: nn.Module, dim: int) -> nn.Module:
    """The head for embeddings of more dimensions, of which it does not see those that are added."""
    for layer in (part for part in head.modules() if isinstance(part, nn.Linear)):
        layer.weight = nn.Parameter(functional.pad(layer.weight, (0, dim - layer.in_features)), requires_grad=False)
        layer.in_features = dim
    return head


def _of_recording(
    trained: Trained, samples: Samples, targets: NDArray[np.float32], width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings and targets of the columns of windows of `width` columns."""
    size = trained.learner.backbone.column_frames
    frames = log_mel(samples, trained.recipe.mel)
    last = max(0, len(frames) // size - width)
    starts = sorted({*range(0, last + 1, max(1, width // 2)), last})
    windows = [frames[start * size : (start + width) * size] for start in starts]
    found = [one for batch in _batches(windows) for one in _embedded(trained, batch)]
    places = [np.arange(start, start + len(one) - 1) for start, one in zip(starts, found, strict=True)]
    return np.concatenate([one[:-1] for one in found]), targets[np.concatenate(places)]


def _batches(windows: Sequence[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(windows), _BATCH):
        yield np.stack(windows[start : start + _BATCH])


@torch.inference_mode()
def _embedded(trained: Trained, frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """[b, t, n_mels] -> [b, columns, dim]."""
    found: NDArray[np.float32] = trained.learner.embed_columns(torch.from_numpy(frames)).numpy()
    return found


@torch.no_grad()
def _loss(head: nn.Module, rows: ColumnRows) -> float:
    logits = head(torch.from_numpy(rows.embeddings))
    each = functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(rows.targets), reduction="none")
    return float(each.sum(1).mean())
