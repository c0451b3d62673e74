"""What a probe is trained on: embeddings of clips, what is heard in them, and the folds that they belong to.

Clips cut from one recording share a fold, so a figure that mixes folds measures memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from training.embeddings import Embeddings, rows_of
from training.errors import TrainingError
from training.manifest import Entry, Manifest, Skipped

Task = Literal["single", "multi"]
"""One label a clip and a softmax, or any number of them and a sigmoid for each."""


class ProbeError(TrainingError):
    """A probe cannot be trained, kept or used as asked."""


@dataclass(frozen=True, slots=True)
class ProbeData:
    """Clips with embeddings.

    Attributes:
        embeddings: [clips, dim].
        targets: [clips, labels] what is heard.
        folds: [clips].
        labels: names, in the order of the targets.
        ids: names of the clips, if they are known.

    Raises:
        ProbeError: there is nothing to learn from, or the shapes do not fit.
    """

    embeddings: NDArray[np.float32]
    targets: NDArray[np.bool_]
    folds: NDArray[np.int64]
    labels: tuple[str, ...]
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        clips, shapes = len(self.embeddings), (self.embeddings.shape, self.targets.shape, self.folds.shape)
        if self.embeddings.ndim != 2 or shapes[1:] != ((clips, len(self.labels)), (clips,)):
            raise ProbeError(
                f"need embeddings [clips, dim], targets [clips, {len(self.labels)}] and folds [clips], got {shapes}"
            )
        if not clips or not self.embeddings.shape[1] or not self.labels:
            dim = self.embeddings.shape[1]
            raise ProbeError(
                f"nothing to learn from: {clips} clips, {len(self.labels)} labels, embeddings of {dim}; "
                "need one or more of each"
            )
        if not np.isfinite(self.embeddings).all():
            raise ProbeError("embeddings hold NaN or infinity")

    def __len__(self) -> int:
        return len(self.embeddings)

    def where(self, rows: NDArray[np.bool_]) -> "ProbeData":
        """The clips of these rows."""
        ids = tuple(name for name, taken in zip(self.ids, rows, strict=True) if taken) if self.ids else ()
        return ProbeData(self.embeddings[rows], self.targets[rows], self.folds[rows], self.labels, ids)

    def check(self, task: Task) -> None:
        """Refuse clips that do not fit a task.

        Raises:
            ProbeError: a clip has no label, or several, where there must be one.
        """
        if task not in get_args(Task):
            raise ProbeError(f"no task {task!r}: expected one of {', '.join(get_args(Task))}")
        counts = self.targets.sum(axis=1)
        if task == "single" and (counts != 1).any():
            row = int(np.flatnonzero(counts != 1)[0])
            name = self.ids[row] if self.ids else f"clip {row}"
            raise ProbeError(
                f"{name}: has {counts[row]} labels; task 'single' needs one a clip, --task multi takes any number"
            )


def probe_data(
    embeddings: Embeddings, manifest: Manifest, labels: Sequence[str] | None = None, *, skip_missing: bool = False
) -> ProbeData:
    """The clips of a manifest with their embeddings.

    Args:
        embeddings: of those clips, and perhaps of others.
        manifest: with labels and folds.
        labels: in the order wanted; those of the manifest in alphabetical order if not given.
        skip_missing: leave out clips without an embedding, such as those that the extraction skipped.

    Raises:
        ProbeError: no clip has a label, or one has no fold, or a label that is not among those wanted.
        EmbeddingsError: a clip has no embedding, or one that is not finite.
    """
    entries = _with_rows(embeddings, manifest) if skip_missing else list(manifest.entries)
    if not any(entry.labels for entry in entries):
        raise ProbeError(f"none of {len(entries)} clips has a label; a probe needs a CSV with path, labels and fold")
    names = tuple(labels) if labels is not None else tuple(sorted({name for e in entries for name in e.labels}))
    place = {name: i for i, name in enumerate(names)}
    targets, folds = np.zeros((len(entries), len(names)), np.bool_), np.zeros(len(entries), np.int64)
    for row, entry in enumerate(entries):
        if entry.fold is None:
            raise ProbeError(
                f"{entry.id}: has no fold; a probe's figures come from folds that it has not seen, so each needs one"
            )
        if strange := [name for name in entry.labels if name not in place]:
            raise ProbeError(f"{entry.id}: label {strange[0]!r} is not among the {len(names)} wanted")
        folds[row] = entry.fold
        targets[row, [place[name] for name in entry.labels]] = True
    ids = tuple(entry.id for entry in entries)
    return ProbeData(embeddings.rows(rows_of(embeddings, ids)), targets, folds, names, ids)


def without_embedding(embeddings: Embeddings, manifest: Manifest) -> list[Skipped]:
    """The clips that `skip_missing` leaves out.

    Raises:
        ProbeError: all of them.
    """
    there = {entry.id for entry in _with_rows(embeddings, manifest)}
    if not there:
        stored = repr(embeddings.ids[0]) if len(embeddings) else "none"
        raise ProbeError(
            f"no clip of the manifest has an embedding: it names {manifest.entries[0].id!r}, stored is {stored}; "
            "paths must be those that extract was given, relative to the same --root"
        )
    return [Skipped(entry.id, "has no embedding") for entry in manifest.entries if entry.id not in there]


def _with_rows(embeddings: Embeddings, manifest: Manifest) -> list[Entry]:
    known = set(embeddings.ids)
    return [entry for entry in manifest.entries if entry.id in known or Path(entry.id).stem in known]
