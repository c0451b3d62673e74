"""What a training learns from: clips, and for each the teacher's embedding or its labels, its cluster, its chance.

Manifest, embeddings and clusters come from different steps; here they are joined by the clips' names, once, and
whatever does not fit together is found before the first step.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.students import ARCHITECTURES
from training.annotations import Annotated, annotation_path, read_annotations
from training.clips import read_clip
from training.column_targets import COLUMN_FRAMES
from training.columns import annotated_targets, columns_in
from training.embeddings import Embeddings, rows_of
from training.errors import AudioFileError, ClusterError, EmbeddingsError, TrainingError
from training.manifest import Entry, Manifest, Skipped
from training.progress import bar
from training.recipe import Recipe
from training.sampling import balanced_weights, clusters_of
from training.supervised import LabelLoss, label_names, label_targets, label_weights


class DistillError(TrainingError):
    """A training cannot begin or go on."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a training's data comes from.

    Attributes:
        manifest: the clips to train on.
        embeddings: of the teacher, of these clips and maybe others.
        clusters: of the clips, by the names that they have in the embeddings.
        backgrounds: audio to mix in, where the recipe wants it.
        initial_weights: file of weights that the student begins with.
    """

    manifest: Manifest
    embeddings: Embeddings | None = None
    clusters: Mapping[str, int] | None = None
    backgrounds: Manifest | None = None
    initial_weights: Path | None = None


@dataclass(frozen=True, slots=True)
class Corpus:
    """Clips numbered from 0, and what is known of each.

    Attributes:
        paths: of their audio.
        target_dim: width of a target.
        targets: clip numbers [n] -> what is learnt [n, target_dim]: the teacher's embeddings, or labels as 0 and 1; of
            columns [n, columns, target_dim].
        weights: [clips] chance to be drawn.
        clusters: [clips], where they are used.
        labels: names of the targets, where those are labels.
        skipped: clips of the manifest that cannot be used, and backgrounds.
        resolved: what the data was, for comparison with what an output was begun with.
        backgrounds: paths of what is mixed in, none where the recipe mixes nothing in.
    """

    paths: tuple[Path, ...]
    target_dim: int
    targets: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    weights: NDArray[np.float64]
    clusters: NDArray[np.int64] | None
    labels: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    resolved: Mapping[str, object]
    backgrounds: tuple[Path, ...] = ()


def open_corpus(recipe: Recipe, sources: Sources, *, max_skipped_share: float = 0.0, progress: bool = False) -> Corpus:
    """Join what the recipe needs.

    Args:
        recipe: what is learnt, and how clips are drawn.
        sources: the data.
        max_skipped_share: of the manifest that may lack embeddings, or be unreadable where labels are learnt; and of
            the backgrounds that may be unreadable.
        progress: whether a bar is drawn.

    Raises:
        DistillError: too many clips or backgrounds cannot be used, or something that the recipe needs is missing.
        EmbeddingsError: the teacher's embeddings are of another width.
        ClusterError: clusters are missing.
        ManifestError: labels are missing, or are not those of the recipe.
    """
    backgrounds, silent = _backgrounds(recipe, sources.backgrounds, max_skipped_share, progress)
    sources = replace(sources, backgrounds=backgrounds or sources.backgrounds)
    corpus = _labelled(recipe, recipe.labels, sources, progress) if recipe.labels else _taught(recipe, sources)
    _refuse_many(corpus.skipped, sources.manifest, "clips", max_skipped_share)
    paths = tuple(backgrounds.path(entry) for entry in backgrounds.entries) if backgrounds else ()
    return replace(corpus, skipped=(*corpus.skipped, *silent), backgrounds=paths)


def _backgrounds(
    recipe: Recipe, given: Manifest | None, most: float, progress: bool
) -> tuple[Manifest | None, tuple[Skipped, ...]]:
    """Those that can be read, where the recipe mixes them in, and those that cannot."""
    if not recipe.augment.background:
        return None, ()
    if given is None:
        raise DistillError(
            "the recipe mixes backgrounds in: name a manifest of them (--backgrounds), or set augment.background=0"
        )
    entries, skipped = _readable(recipe, given, "background", progress)
    _refuse_many(skipped, given, "backgrounds", most)
    return Manifest(given.root, entries), tuple(Skipped(one.id, f"as a background: {one.reason}") for one in skipped)


def _refuse_many(skipped: tuple[Skipped, ...], manifest: Manifest, kind: str, most: float) -> None:
    if skipped and len(skipped) > most * len(manifest):
        raise DistillError(
            f"{manifest.root}: {len(skipped)} of {len(manifest)} {kind} cannot be used, more than {most:.2%} of them; "
            f"the first is {skipped[0].id}: {skipped[0].reason}"
        )


def _taught(recipe: Recipe, sources: Sources) -> Corpus:
    embeddings, teacher = sources.embeddings, recipe.teacher
    if embeddings is None or teacher is None:
        raise DistillError("the recipe learns from a teacher: name the folder of its embeddings (--embeddings)")
    columns = columns_in(recipe) if recipe.columns else 1
    if embeddings.dim % columns or (teacher.dim and teacher.dim * columns != embeddings.dim):
        raise EmbeddingsError(
            f"the teacher {teacher.name!r} gives {f'{columns} columns of ' * recipe.columns}embeddings of "
            f"{teacher.dim or 'one width'}, those stored have {embeddings.dim} in {embeddings.folder}: name the folder "
            "that `extract` made of this teacher, or set teacher.dim"
        )
    shape = (-1, columns, embeddings.dim // columns) if recipe.columns else (-1, embeddings.dim)
    rows = rows_of(embeddings, [entry.id for entry in sources.manifest.entries], skip_missing=True)
    names = [embeddings.ids[row] for row in rows]
    entries, skipped = _split(sources.manifest, frozenset(names))
    clusters = _clusters(recipe, sources, names)
    weights = np.ones(len(rows)) if clusters is None else balanced_weights(clusters, _balance(recipe))
    return Corpus(
        tuple(sources.manifest.path(entry) for entry in entries),
        shape[-1],
        lambda clips: embeddings.rows(rows[clips]).reshape(shape),
        weights,
        clusters,
        (),
        skipped,
        {
            "clips": len(rows),
            "manifest_sha256": Manifest(sources.manifest.root, entries).fingerprint,
            "embeddings_sha256": embeddings.fingerprint,
            "clusters_sha256": "" if clusters is None else hashlib.sha256(clusters.tobytes()).hexdigest(),
            **_rest(sources),
        },
    )


def _split(manifest: Manifest, names: frozenset[str]) -> tuple[tuple[Entry, ...], tuple[Skipped, ...]]:
    """Clips with an embedding, which the published layout names by stem, and those without."""
    there = {entry.id: entry.id in names or Path(entry.id).stem in names for entry in manifest.entries}
    found = tuple(entry for entry in manifest.entries if there[entry.id])
    if not found:
        raise DistillError(f"{manifest.root}: none of the {len(manifest)} clips has an embedding")
    return found, tuple(Skipped(name, "it has no embedding") for name, ok in there.items() if not ok)


def _clusters(recipe: Recipe, sources: Sources, names: list[str]) -> NDArray[np.int64] | None:
    if not recipe.needs_clusters:
        return None
    if sources.clusters is None:
        raise ClusterError(
            "the recipe's sampling or loss needs clusters: name the folder of a finished cluster step (--clusters)"
        )
    return clusters_of(names, sources.clusters)


def _balance(recipe: Recipe) -> float:
    return recipe.sampling.balance if recipe.sampling.by == "clusters" else 0.0


def _labelled(recipe: Recipe, learnt: LabelLoss, sources: Sources, progress: bool) -> Corpus:
    entries, skipped = _readable(recipe, sources.manifest, "clip", progress)
    names = label_names(entries, learnt)
    targets = _annotated(recipe, entries, names, sources) if recipe.columns else label_targets(entries, names, learnt)
    by_label = recipe.sampling.by == "labels"
    return Corpus(
        tuple(sources.manifest.path(entry) for entry in entries),
        len(names),
        lambda clips: targets[clips],
        label_weights(targets, recipe.sampling.label_offset) if by_label else np.ones(len(entries)),
        None,
        names,
        skipped,
        {
            "clips": len(entries),
            "manifest_sha256": Manifest(sources.manifest.root, entries).fingerprint,
            "labels_sha256": hashlib.sha256(
                json.dumps(names).encode() + targets.tobytes() * recipe.columns
            ).hexdigest(),
            **_rest(sources),
        },
    )


def _annotated(
    recipe: Recipe, entries: tuple[Entry, ...], names: tuple[str, ...], sources: Sources
) -> NDArray[np.float32]:
    """How much of each label is heard in each column of each clip, [clips, columns, labels]."""
    size = ARCHITECTURES[recipe.student.architecture].column_frames
    if size != COLUMN_FRAMES:
        raise DistillError(f"annotations are learnt by columns of {COLUMN_FRAMES} frames, this student's have {size}")
    rate = recipe.mel.sample_rate
    paths = [sources.manifest.path(entry) for entry in entries]
    heard = [Annotated(path, read_annotations(annotation_path(path))) for path in paths]
    return np.stack([annotated_targets(one, names, round(recipe.seconds * rate), rate) for one in heard])


def _readable(
    recipe: Recipe, manifest: Manifest, kind: str, progress: bool
) -> tuple[tuple[Entry, ...], tuple[Skipped, ...]]:
    """No step before this one has read the audio, so each file is tried once."""
    found, skipped = [], []
    shown = bar("check", len(manifest), unit=kind, shown=progress)
    for entry in manifest.entries:
        path = manifest.path(entry)
        try:
            read_clip(path, recipe.mel.sample_rate, recipe.seconds)
            found.append(entry)
        except AudioFileError as error:
            skipped.append(Skipped(entry.id, str(error).removeprefix(f"{path}: ")))
        shown.update()
    shown.close()
    if not found:
        raise DistillError(f"{manifest.root}: none of the {len(manifest)} {kind}s can be read: {skipped[0].reason}")
    return tuple(found), tuple(skipped)


def _rest(sources: Sources) -> dict[str, object]:
    """The rest of the data that a result depends on."""
    weights, backgrounds = sources.initial_weights, sources.backgrounds
    return {
        "backgrounds_sha256": backgrounds.fingerprint if backgrounds else "",
        "initial_sha256": hashlib.sha256(weights.read_bytes()).hexdigest() if weights else "",
    }
