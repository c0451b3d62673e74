"""Learning what each column says, where a whole clip's mean would not tell when a sound is heard.

A clip's target then is a row of targets, one for each column of the student's last map; to the losses every column of
every clip is a row of its own.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssondo_stream.students import ARCHITECTURES
from training.annotations import Annotated
from training.column_targets import column_targets
from training.embeddings import Embeddings, EmbeddingsWriter
from training.errors import EmbeddingsError, ManifestError
from training.mixup import Mixup
from training.recipe import Recipe
from training.scenes import Occurrence

_AT_ONCE = 1024  # rows


class Rows(NamedTuple):
    """What a loss compares: outputs and targets [rows, dim], clusters [rows], and how rows were blended."""

    outputs: Tensor
    targets: Tensor
    clusters: Tensor | None
    mixup: Mixup | None


def columns_in(recipe: Recipe) -> int:
    """Columns of a clip, as the recipe's student sees it."""
    frames = recipe.mel.frames_in(round(recipe.seconds * recipe.mel.sample_rate))
    return math.ceil(frames / ARCHITECTURES[recipe.student.architecture].column_frames)


def as_rows(outputs: Tensor, targets: Tensor, clusters: Tensor | None, mixup: Mixup | None) -> Rows:
    """A batch as rows: of clips [b, dim] as it is, of columns [b, columns, dim] with a row for each column.

    Args:
        outputs: of the student's head.
        targets: of the same shape.
        clusters: [b].
        mixup: how clips were blended; their columns were with them.
    """
    if outputs.shape != targets.shape:
        raise ValueError(f"need outputs and targets of one shape, got {list(outputs.shape)} and {list(targets.shape)}")
    if outputs.dim() == 2:
        return Rows(outputs, targets, clusters, mixup)
    columns = outputs.shape[1]
    return Rows(
        outputs.flatten(0, 1),
        targets.flatten(0, 1),
        None if clusters is None else clusters.repeat_interleave(columns),
        None if mixup is None else _of_columns(mixup, columns),
    )


def write_clip_means(stored: Embeddings, columns: int, out: Path) -> None:
    """Embeddings of clips from those of their columns, by the mean, into a store of their own.

    Raises:
        EmbeddingsError: the width does not divide into so many columns.
        StorageError: it cannot be written.
    """
    if stored.dim % columns:
        raise EmbeddingsError(f"embeddings of width {stored.dim} are not those of {columns} columns")
    with EmbeddingsWriter(out, stored.dim // columns) as writer:
        left = [row for row, name in enumerate(stored.ids) if name not in writer.stored]
        for start in range(0, len(left), _AT_ONCE):
            rows = left[start : start + _AT_ONCE]
            means = stored.rows(rows).reshape(len(rows), columns, -1).mean(axis=1)
            writer.add([stored.ids[row] for row in rows], stored.durations[rows].tolist(), means)


def annotated_targets(recording: Annotated, labels: tuple[str, ...], samples: int, rate: int) -> NDArray[np.float32]:
    """How much of each label is heard in each column of a recording's first samples, [columns, labels] from 0 to 1.

    Raises:
        ManifestError: something is heard that is none of the labels.
    """
    if strange := [heard.label for heard in recording.heard if heard.label not in labels]:
        raise ManifestError(f"{recording.audio}: label {strange[0]!r} is none of the {len(labels)} that are learnt")
    heard = [
        Occurrence(labels.index(one.label), round(one.onset * rate), min(samples, round(one.offset * rate)))
        for one in recording.heard
        if round(one.onset * rate) < min(samples, round(one.offset * rate))
    ]
    return column_targets(heard, samples, len(labels))


def _of_columns(mixup: Mixup, columns: int) -> Mixup:
    place = torch.arange(columns, device=mixup.partner.device)
    partner = (mixup.partner[:, None] * columns + place).flatten()
    return Mixup(partner, mixup.weight.repeat_interleave(columns))
