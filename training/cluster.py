"""Clusters the embeddings of a training set, for sampling that hears rare sounds as often as common ones.

Which rows may be looked at is said explicitly, so that nothing of an evaluation set moves a centre; its rows can be
assigned to the clusters afterwards.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from training.cluster_report import Quality, draw, quality
from training.embeddings import Embeddings, rows_of
from training.errors import ClusterError
from training.files import locked, make_folder, refuse_other, remember, write_array, write_json, write_text
from training.hierarchy import Level, Resampling, climb, fit_levels
from training.kmeans import FitSettings, Labels, assign, check_fit
from training.manifest import Manifest
from training.points import EmbeddingPoints, Index, Subset, check_components, fitted_projection, save_arrays
from training.progress import bar

SETTINGS_FILE = "settings.json"
CLUSTERS_FILE = "clusters.csv"
ASSIGNED_FILE = "assigned.csv"
CENTRES_FILE = "centres.npy"
REPORT_FILE = "cluster.json"
PLOT_FILE = "clusters.png"
PROJECTION_FILE = "projection.npz"
TREE_FILE = "tree.npz"
_STATE = "state"


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How to cluster. Published for S-SONDO: 10 to 200 clusters of raw embeddings, chunks of 10,000.

    Attributes:
        clusters: how many, at the top.
        levels: finer levels below the top for hierarchical k-means, falling; none for plain k-means.
        resampling: what hierarchical k-means does at each level.
        normalise: whether embeddings are brought to length 1 first.
        components: of a principal component analysis after that; 0 for none.
        fit: of every k-means.
        sample: rows for figures and plot.
        threads: of the arithmetic, 0 for all cores; results are the same to the last bit with 1.
        progress: whether a bar is drawn.
    """

    clusters: int = 50
    levels: tuple[int, ...] = ()
    resampling: Resampling = field(default_factory=Resampling)
    normalise: bool = False
    components: int = 0
    fit: FitSettings = field(default_factory=FitSettings)
    sample: int = 2000
    threads: int = 1
    progress: bool = True

    def __post_init__(self) -> None:
        sizes = self.sizes
        if min(sizes) < 1 or any(upper >= lower for lower, upper in pairwise(sizes)):
            raise ValueError(f"need levels that fall to the number of clusters, at least 1, got {sizes}")
        if min(self.components, self.threads) < 0 or self.sample < 1:
            raise ValueError(
                "need components and threads of at least 0, sample of at least 1, "
                f"got {self.components}, {self.threads}, {self.sample}"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Clusters of each level, from the rows up."""
        return (*self.levels, self.clusters)


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """What a run would do.

    Attributes:
        rows: that centres are fitted to.
        assigned: that are only assigned.
        chunk_bytes: of the rows in memory at a time.
        resolved: what the result depends on.
    """

    rows: int
    assigned: int
    chunk_bytes: int
    resolved: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """What a run found.

    Attributes:
        sizes: training rows of each cluster; none is 0.
        empty: clusters that were asked for and died out.
        quality: figures on a sample of the training rows.
        inertia: mean squared distance after each pass, of each level.
    """

    sizes: tuple[int, ...]
    empty: int
    quality: Quality
    inertia: tuple[tuple[float, ...], ...]


def manifest_rows(embeddings: Embeddings, manifest: Manifest) -> Index:
    """Rows of the clips of a manifest, as far as they have embeddings; sorted.

    Raises:
        ClusterError: none has.
    """
    ids = [entry.id for entry in manifest.entries]
    if not len(found := rows_of(embeddings, ids, skip_missing=True)):
        theirs = next(iter(embeddings.ids), "nothing")
        raise ClusterError(
            f"{embeddings.folder}: none of the {len(ids)} clips of the manifest has an embedding here; it names them "
            f"as {ids[0]}, the embeddings as {theirs}: give the root that `extract` had"
        )
    return np.sort(found)


def fold_rows(embeddings: Embeddings, manifest: Manifest, folds: Iterable[int]) -> Index:
    """Rows of the clips of these folds, as `manifest_rows` finds them.

    Raises:
        ManifestError: no clip is of these folds.
        ClusterError: none of these clips has an embedding.
    """
    return manifest_rows(embeddings, manifest.in_folds(folds))


def plan_clustering(
    embeddings: Embeddings, train: ArrayLike, out: Path, settings: ClusterSettings, evaluation: ArrayLike = ()
) -> ClusterPlan:
    """The dry run: says what `cluster` would do, and writes nothing.

    Raises:
        ClusterError: as `cluster` does for these rows, as far as their number tells.
        SettingsError: `out` was begun with other rows or settings.
    """
    fitted, assigned = _checked_rows(embeddings, train, evaluation, settings)
    resolved = _resolved(embeddings, fitted, assigned, settings)
    refuse_other(out / SETTINGS_FILE, resolved)
    chunk = min(len(fitted), settings.fit.chunk_rows) * embeddings.dim * np.dtype(np.float32).itemsize
    return ClusterPlan(len(fitted), len(assigned), chunk, resolved)


def cluster(
    embeddings: Embeddings, train: ArrayLike, out: Path, settings: ClusterSettings, evaluation: ArrayLike = ()
) -> ClusterReport:
    """Cluster rows of embeddings; a run that was stopped goes on after its last pass.

    Writes into `out`: `clusters.csv` (id, cluster, and finer levels; the last file), `assigned.csv` of evaluation rows,
    `centres.npy` [k, d], `projection.npz` if components are used, `tree.npz` if there are levels, `cluster.json` with
    the figures, `clusters.png`, `settings.json`.

    Args:
        embeddings: of any number of rows.
        train: [n] row numbers that centres may be fitted to, and no others are read for that.
        out: a folder.
        settings: how.
        evaluation: [m] row numbers that are assigned to the finished clusters.

    Raises:
        ClusterError: a row is named twice, or there are fewer rows than clusters or components.
        EmbeddingsError: a row is not finite.
        SettingsError: `out` was begun with other rows or settings.
        StorageError: the disk is full, or another run is at work in `out`; finished passes stay usable.
    """
    fitted, assigned = _checked_rows(embeddings, train, evaluation, settings)
    make_folder(out / _STATE)
    resolved = _resolved(embeddings, fitted, assigned, settings)
    with locked(out), threadpool_limits(settings.threads or None):
        remember(out / SETTINGS_FILE, resolved)
        points = _prepared(embeddings, fitted, out, settings)
        levels = _fit(Subset(points, fitted), out / _STATE, settings)
        labels = climb(levels[0].labels, levels)
        _write_centres(out, levels)
        if len(assigned):
            first, _ = assign(Subset(points, assigned), levels[0].centres, settings.fit.chunk_rows)
            _write_table(out / ASSIGNED_FILE, [embeddings.ids[row] for row in assigned], climb(first, levels))
        report = _report(Subset(points, fitted), labels[-1], levels, out, settings)
        write_json(out / REPORT_FILE, {**asdict(report), "settings": resolved})
        _write_table(out / CLUSTERS_FILE, [embeddings.ids[row] for row in fitted], labels)
    return report


def read_clusters(folder: Path) -> dict[str, int]:
    """The cluster of each training clip, by its id.

    Raises:
        ClusterError: the folder holds no finished clustering.
    """
    path = folder / CLUSTERS_FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row["id"]: int(row["cluster"]) for row in csv.DictReader(file)}
    except OSError as error:
        raise ClusterError(f"{path}: {error.strerror}; run the cluster step first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterError(f"{path}: expected the columns id and cluster, {type(error).__name__}: {error}") from error


def _checked_rows(
    embeddings: Embeddings, train: ArrayLike, evaluation: ArrayLike, settings: ClusterSettings
) -> tuple[Index, Index]:
    fitted, assigned = (np.sort(np.asarray(rows, np.int64).ravel()) for rows in (train, evaluation))
    every = np.concatenate((fitted, assigned))
    if not len(fitted):
        raise ClusterError("no rows to cluster")
    if every.min() < 0 or every.max() >= len(embeddings):
        raise ClusterError(f"need row numbers in [0, {len(embeddings)}), got {every.min()} to {every.max()}")
    known, counts = np.unique(every, return_counts=True)
    if twice := [embeddings.ids[row] for row in known[counts > 1]]:
        raise ClusterError(f"{len(twice)} clips are named twice, or for both training and evaluation, as {twice[0]}")
    check_fit(len(fitted), settings.sizes[0], settings.fit)
    check_components(settings.components, len(fitted), embeddings.dim)
    return fitted, assigned


def _resolved(
    embeddings: Embeddings, fitted: Index, assigned: Index, settings: ClusterSettings
) -> Mapping[str, object]:
    chosen = {name: value for name, value in asdict(settings).items() if name not in {"threads", "progress"}}
    rows = {"rows": len(fitted), "rows_sha256": _digest(fitted), "assigned_sha256": _digest(assigned)}
    return {"step": "cluster", "embeddings_sha256": embeddings.fingerprint, **rows, **chosen}


def _digest(rows: Index) -> str:
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def _prepared(embeddings: Embeddings, fitted: Index, out: Path, settings: ClusterSettings) -> EmbeddingPoints:
    points = EmbeddingPoints(embeddings, settings.normalise)
    if not settings.components:
        return points
    found = fitted_projection(Subset(points, fitted), settings.components, settings.fit.seed, out / PROJECTION_FILE)
    return EmbeddingPoints(embeddings, settings.normalise, found)


def _fit(points: Subset, state: Path, settings: ClusterSettings) -> list[Level]:
    """Plain k-means is a single level that is not resampled."""
    resampling = settings.resampling if settings.levels else Resampling(rounds=0)
    passes = len(settings.sizes) * (1 + resampling.rounds) * settings.fit.passes
    shown = bar("cluster", passes, unit="pass", shown=settings.progress)
    try:
        return fit_levels(points, settings.sizes, settings.fit, resampling, state=state, shown=shown)
    finally:
        shown.close()


def _write_table(path: Path, ids: Sequence[str], labels: Sequence[Labels]) -> None:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("id", "cluster", *(f"level{number}" for number in range(1, len(labels)))))
    table.writerows(zip(ids, labels[-1].tolist(), *(finer.tolist() for finer in labels[:-1]), strict=True))
    write_text(path, text.getvalue())


def _write_centres(out: Path, levels: Sequence[Level]) -> None:
    write_array(out / CENTRES_FILE, levels[-1].centres)
    if len(levels) > 1:
        centres = {f"centres{number}": level.centres for number, level in enumerate(levels, 1)}
        parents = {f"parents{number}": level.labels for number, level in enumerate(levels[1:], 1)}
        save_arrays(out / TREE_FILE, **centres, **parents)


def _report(
    points: Subset, labels: Labels, levels: Sequence[Level], out: Path, settings: ClusterSettings
) -> ClusterReport:
    chosen = np.sort(np.random.default_rng(settings.fit.seed).permutation(len(points))[: settings.sample])
    sample = points.take(chosen)
    sizes = tuple(np.bincount(labels).tolist())
    draw(out / PLOT_FILE, sizes, sample, labels[chosen])
    figures = quality(sample, labels[chosen])
    return ClusterReport(sizes, settings.clusters - len(sizes), figures, tuple(level.inertia for level in levels))
