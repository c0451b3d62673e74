import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.pairwise import euclidean_distances

from tests.bench.cluster import cluster_memory
from tests.parts_forked import run_python
from tests.training.parts_embeddings import assert_killed, blobs, content, names, random_rows, stored
from training.cluster import ClusterSettings, cluster, fold_rows, plan_clustering, read_clusters
from training.embeddings import Embeddings, open_embeddings
from training.errors import ClusterError, EmbeddingsError, ManifestError, SettingsError
from training.hierarchy import Resampling
from training.kmeans import FitSettings
from training.manifest import Entry, Manifest

SIZES = [300, 200, 120, 60, 20]
PLAIN = ClusterSettings(5, fit=FitSettings(passes=3, chunk_rows=128), sample=200, progress=False)
LEVELS = replace(PLAIN, levels=(40, 12), resampling=Resampling(2, 4))
COMPARED = ("*.npy", "*.npz", "*.csv", "*.json", "*.png")

CLUSTER = """
import sys
from pathlib import Path
from tests.parts_killed import die_after
from tests.training.test_cluster import LEVELS, PLAIN, PREPARED
from training.cluster import cluster
from training.embeddings import open_embeddings

die_after(int(sys.argv[4]))
settings = {"plain": PLAIN, "levels": LEVELS, "prepared": PREPARED}[sys.argv[3]]
cluster(open_embeddings(Path(sys.argv[1])), range(600), Path(sys.argv[2]), settings, range(600, 700))
"""

PREPARED = replace(PLAIN, normalise=True, components=4)
NAMED = {"plain": PLAIN, "levels": LEVELS, "prepared": PREPARED}


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.int64]]:
    """A store of 700 rows in five groups, and the group of each row."""
    folder = tmp_path_factory.mktemp("grouped")
    rows, labels = blobs(SIZES)
    stored(folder, rows, shard_rows=100)
    return folder, labels


@pytest.fixture
def embeddings(grouped: tuple[Path, NDArray[np.int64]]) -> Embeddings:
    return open_embeddings(grouped[0])


def clusters_in(path: Path) -> NDArray[np.int64]:
    with path.open(newline="") as file:
        return np.array([int(row["cluster"]) for row in csv.DictReader(file)])


@pytest.mark.parametrize(
    "change",
    [{}, {"normalise": True}, {"components": 4}, {"fit": FitSettings()}, {"levels": (40, 12)}],
    ids=["mini-batches", "normalised", "projected", "in memory", "levels"],
)
def test_groups_are_found(
    tmp_path: Path, embeddings: Embeddings, grouped: tuple[Path, NDArray[np.int64]], change: dict[str, object]
) -> None:
    report = cluster(embeddings, range(700), tmp_path, replace(PLAIN, **change))  # type: ignore[arg-type]
    assert adjusted_rand_score(grouped[1], clusters_in(tmp_path / "clusters.csv")) == 1
    assert sorted(report.sizes) == sorted(SIZES)
    assert report.quality.silhouette is not None
    assert report.quality.silhouette > 0.7


def test_outputs_agree_with_each_other(tmp_path: Path, embeddings: Embeddings) -> None:
    report = cluster(embeddings, range(700), tmp_path, PLAIN)
    labels, centres = clusters_in(tmp_path / "clusters.csv"), np.load(tmp_path / "centres.npy")
    assert list(read_clusters(tmp_path)) == names(700)
    assert list(read_clusters(tmp_path).values()) == labels.tolist()
    np.testing.assert_array_equal(labels, euclidean_distances(embeddings.rows(range(700)), centres).argmin(axis=1))
    assert report.sizes == tuple(np.bincount(labels).tolist())
    saved = json.loads((tmp_path / "cluster.json").read_text())
    assert saved["sizes"] == list(report.sizes)
    assert len(saved["inertia"][0]) == PLAIN.fit.passes
    assert saved["settings"] == json.loads((tmp_path / "settings.json").read_text())
    assert (tmp_path / "clusters.png").read_bytes().startswith(b"\x89PNG")


def test_inertia_falls_and_ends_at_the_noise_within_groups(tmp_path: Path, embeddings: Embeddings) -> None:
    inertia = cluster(embeddings, range(700), tmp_path, PLAIN).inertia[0]
    assert inertia[-1] <= inertia[0]
    assert inertia[-1] == pytest.approx(16 * 0.3**2, rel=0.1)


@pytest.mark.parametrize("kind", NAMED)
def test_killed_run_is_resumed_to_the_same_bits(
    tmp_path: Path, grouped: tuple[Path, NDArray[np.int64]], kind: str
) -> None:
    """Killed before its first, third, fifth... file, each time a little later, until it comes through."""
    store, out, whole = grouped[0], tmp_path / "out", tmp_path / "whole"
    for files in (0, 2, 3):
        assert_killed(run_python(CLUSTER, store, out, kind, files))
    cluster(open_embeddings(store), range(600), out, NAMED[kind], range(600, 700))
    cluster(open_embeddings(store), range(600), whole, NAMED[kind], range(600, 700))
    assert content(out, *COMPARED) == content(whole, *COMPARED)
    assert content(out / "state", "*") == content(whole / "state", "*")


@pytest.mark.parametrize("kind", NAMED)
def test_evaluation_rows_move_nothing(tmp_path: Path, kind: str) -> None:
    rows, _ = blobs(SIZES)
    stored(tmp_path / "a", rows)
    other = rows.copy()
    other[600:] = 100 * random_rows(100, rows.shape[1])
    stored(tmp_path / "b", other)
    for name in "ab":
        cluster(open_embeddings(tmp_path / name), range(600), tmp_path / f"out-{name}", NAMED[kind], range(600, 700))
    same = ("clusters.csv", "centres.npy", "clusters.png", "*.npz")
    assert content(tmp_path / "out-a", *same) == content(tmp_path / "out-b", *same)
    assert len(read_clusters(tmp_path / "out-a")) == 600


def test_evaluation_rows_are_not_even_read_unless_they_are_to_be_assigned(tmp_path: Path) -> None:
    rows, _ = blobs(SIZES)
    stored(tmp_path / "store", rows)
    path = tmp_path / "store" / "shard-00080.npy"
    np.save(path, np.full_like(np.load(path), np.nan))
    cluster(open_embeddings(tmp_path / "store"), range(640), tmp_path / "out", PLAIN)
    assert not (tmp_path / "out" / "assigned.csv").exists()
    with pytest.raises(EmbeddingsError, match=r"shard-00080\.npy: row 0"):
        cluster(open_embeddings(tmp_path / "store"), range(640), tmp_path / "more", PLAIN, range(640, 700))


@pytest.mark.parametrize("kind", NAMED)
def test_evaluation_rows_are_assigned_to_the_cluster_of_their_group(
    tmp_path: Path, embeddings: Embeddings, grouped: tuple[Path, NDArray[np.int64]], kind: str
) -> None:
    cluster(embeddings, range(600), tmp_path, NAMED[kind], range(600, 700))
    group_of = dict(zip(clusters_in(tmp_path / "clusters.csv").tolist(), grouped[1][:600].tolist(), strict=True))
    assigned = clusters_in(tmp_path / "assigned.csv")
    assert [group_of[number] for number in assigned.tolist()] == grouped[1][600:].tolist()


def test_rows_of_folds_are_those_that_have_embeddings(embeddings: Embeddings) -> None:
    entries = tuple(Entry(name, fold=number % 3) for number, name in enumerate([*names(7)[::-1], "skipped.wav"]))
    manifest = Manifest(Path(), entries)
    assert fold_rows(embeddings, manifest, [0, 1]).tolist() == [0, 2, 3, 5, 6]
    with pytest.raises(ManifestError):
        fold_rows(embeddings, manifest, [4])


@pytest.mark.parametrize(
    ("train", "evaluation", "told"),
    [
        ([], [], "no rows"),
        ([1, 2, 700], [], r"\[0, 700\), got 1 to 700"),
        ([-1, 2], [], "got -1 to 2"),
        ([1, 2, 2], [], r"1 clips are named twice.*clip0002"),
        (range(100), range(99, 150), r"for both training and evaluation, as folder/clip0099"),
        (range(4), [], "5 clusters need as many rows"),
    ],
)
def test_rows_that_cannot_be_clustered_are_told(
    tmp_path: Path, embeddings: Embeddings, train: list[int], evaluation: list[int], told: str
) -> None:
    with pytest.raises(ClusterError, match=told):
        cluster(embeddings, train, tmp_path, PLAIN, evaluation)


def test_fewer_different_rows_than_clusters_are_told(tmp_path: Path) -> None:
    stored(tmp_path / "store", np.repeat(random_rows(3, 4), 20, axis=0))
    with pytest.raises(ClusterError, match="5 clusters need as many different rows"):
        cluster(open_embeddings(tmp_path / "store"), range(60), tmp_path / "out", PLAIN)


def test_chunk_smaller_than_the_clusters_is_told(tmp_path: Path, embeddings: Embeddings) -> None:
    with pytest.raises(ClusterError, match="chunks of 4"):
        cluster(embeddings, range(700), tmp_path, replace(PLAIN, fit=FitSettings(chunk_rows=4)))


@pytest.mark.parametrize(
    ("change", "train", "told"),
    [
        ({"clusters": 4}, 700, "clusters: it has 5, asked is 4"),
        ({"normalise": True}, 700, "normalise"),
        ({"fit": replace(PLAIN.fit, seed=1)}, 700, "fit"),
        ({}, 699, "rows: it has 700, asked is 699"),
    ],
)
def test_resuming_with_other_settings_or_rows_is_refused(
    tmp_path: Path, embeddings: Embeddings, change: dict[str, object], train: int, told: str
) -> None:
    cluster(embeddings, range(700), tmp_path, PLAIN)
    with pytest.raises(SettingsError, match=told):
        cluster(embeddings, range(train), tmp_path, replace(PLAIN, **change))  # type: ignore[arg-type]


def test_resuming_with_other_embeddings_is_refused(tmp_path: Path, embeddings: Embeddings) -> None:
    cluster(embeddings, range(700), tmp_path / "out", PLAIN)
    stored(tmp_path / "other", random_rows(700, 16))
    with pytest.raises(SettingsError, match="embeddings_sha256"):
        cluster(open_embeddings(tmp_path / "other"), range(700), tmp_path / "out", PLAIN)


def test_damaged_state_is_told(tmp_path: Path, embeddings: Embeddings) -> None:
    cluster(embeddings, range(700), tmp_path, PLAIN)
    (tmp_path / "state" / "level1-0.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ClusterError, match=r"level1-0\.npz: damaged"):
        cluster(embeddings, range(700), tmp_path, PLAIN)


def test_missing_clusters_are_told(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="run the cluster step first"):
        read_clusters(tmp_path)
    (tmp_path / "clusters.csv").write_text("id\na\n")
    with pytest.raises(ClusterError, match="expected the columns id and cluster"):
        read_clusters(tmp_path)


def test_dry_run_writes_nothing(tmp_path: Path, embeddings: Embeddings) -> None:
    plan = plan_clustering(embeddings, range(600), tmp_path, PLAIN, range(600, 700))
    assert (plan.rows, plan.assigned, plan.chunk_bytes) == (600, 100, 128 * 16 * 4)
    cluster(embeddings, range(600), tmp_path, PLAIN, range(600, 700))
    assert json.loads((tmp_path / "settings.json").read_text()) == json.loads(json.dumps(plan.resolved))


def test_single_cluster_has_no_figures(tmp_path: Path, embeddings: Embeddings) -> None:
    report = cluster(embeddings, range(700), tmp_path, replace(PLAIN, clusters=1))
    assert report.sizes == (700,)
    assert report.quality.silhouette is None


def test_levels_nest_and_fall(tmp_path: Path, embeddings: Embeddings) -> None:
    cluster(embeddings, range(700), tmp_path, LEVELS)
    with (tmp_path / "clusters.csv").open(newline="") as file:
        rows = [tuple(int(row[name]) for name in ("level1", "level2", "cluster")) for row in csv.DictReader(file)]
    with np.load(tmp_path / "tree.npz") as tree:
        assert tree["centres1"].shape[0] > tree["centres2"].shape[0] > tree["centres3"].shape[0] == 5
        assert all(tree["parents1"][first] == second for first, second, _ in rows)
        assert all(tree["parents2"][second] == top for _, second, top in rows)


def test_levels_spread_centres_more_evenly_over_a_long_tail_than_plain_clusters(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    common, rare = rng.uniform(-1, 1, (1900, 2)), rng.uniform(-1, 1, (100, 2)) + np.array([3, 0])
    stored(tmp_path / "store", np.concatenate((common, rare)).astype(np.float32), shard_rows=500)
    found = open_embeddings(tmp_path / "store")
    plain = replace(PLAIN, clusters=16, fit=FitSettings(chunk_rows=2000))
    cluster(found, range(2000), tmp_path / "plain", plain)
    cluster(found, range(2000), tmp_path / "levels", replace(plain, levels=(200, 60), resampling=Resampling(5, 4)))
    in_rare = [int((np.load(tmp_path / name / "centres.npy")[:, 0] > 1.5).sum()) for name in ("plain", "levels")]
    assert in_rare[0] < in_rare[1]


def test_engine_that_is_not_installed_is_told(
    tmp_path: Path, embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ClusterError, match="'faiss' is not installed"):
        cluster(embeddings, range(700), tmp_path, replace(PLAIN, fit=FitSettings(engine="faiss")))


def test_faiss_finds_the_groups_too(
    tmp_path: Path, embeddings: Embeddings, grouped: tuple[Path, NDArray[np.int64]]
) -> None:
    pytest.importorskip("faiss")
    cluster(embeddings, range(700), tmp_path, replace(PLAIN, fit=FitSettings(engine="faiss")))
    assert adjusted_rand_score(grouped[1], clusters_in(tmp_path / "clusters.csv")) == 1


@pytest.mark.parametrize(
    "change",
    [{"clusters": 0}, {"levels": (10, 20)}, {"levels": (5,)}, {"components": -1}, {"sample": 0}, {"threads": -1}],
)
def test_impossible_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="need"):
        replace(PLAIN, **change)  # type: ignore[arg-type]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Ten chunks more cost next to nothing."""
    few = cluster_memory(tmp_path / "few", 10_000, 256, 1)[0].value
    many = cluster_memory(tmp_path / "many", 110_000, 256, 1)[0].value
    assert many - few < 0.03
