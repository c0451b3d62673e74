from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.parts_embeddings import blobs, random_rows, stored
from training.embeddings import open_embeddings
from training.errors import ClusterError
from training.hierarchy import nearest_of_each
from training.kmeans import FitSettings, fit, nearest
from training.points import ArrayPoints, EmbeddingPoints, check_components, fitted_projection
from training.progress import bar

SIZES = [300, 200, 120, 60, 20]
SETTINGS = FitSettings(passes=3, chunk_rows=128)


def test_finished_passes_are_not_done_again(tmp_path: Path) -> None:
    points = ArrayPoints(blobs(SIZES)[0])
    with_bar = bar("", 1, unit="pass", shown=False)
    first = fit(points, 5, SETTINGS, tmp_path / "state.npz", with_bar)
    nothing = ArrayPoints(np.full((700, 16), np.nan, np.float32))
    again = fit(nothing, 5, SETTINGS, tmp_path / "state.npz", with_bar)
    np.testing.assert_array_equal(first.centres, again.centres)


def test_more_passes_go_on_from_the_last(tmp_path: Path) -> None:
    points, shown = ArrayPoints(blobs(SIZES)[0]), bar("", 1, unit="pass", shown=False)
    fit(points, 5, SETTINGS, tmp_path / "a.npz", shown)
    resumed = fit(points, 5, replace(SETTINGS, passes=5), tmp_path / "a.npz", shown)
    whole = fit(points, 5, replace(SETTINGS, passes=5), tmp_path / "b.npz", shown)
    np.testing.assert_array_equal(resumed.centres, whole.centres)
    assert resumed.inertia == whole.inertia


def test_nearest_members_of_each_cluster_are_chosen() -> None:
    labels = np.array([0, 1, 0, 1, 0, 2])
    distances = np.array([3, 1, 1, 2, 2, 9], np.float32)
    assert nearest_of_each(labels, distances, 2).tolist() == [1, 2, 3, 4, 5]
    assert nearest_of_each(labels, distances, 1).tolist() == [1, 2, 5]


def test_nearest_centre_and_its_distance_are_those_of_the_definition() -> None:
    rows, centres = random_rows(200, 8), random_rows(30, 8, seed=1)
    labels, distances = nearest(rows, centres)
    squared = ((rows[:, None] - centres[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(labels, squared.argmin(axis=1))
    np.testing.assert_allclose(distances, squared.min(axis=1), rtol=1e-4)


def test_projection_keeps_the_directions_of_most_variance(tmp_path: Path) -> None:
    rows = random_rows(3000, 6) * np.array([10, 0.1, 0.1, 5, 0.1, 0.1], np.float32)
    found = fitted_projection(ArrayPoints(rows), 2, 0, tmp_path / "projection.npz")
    np.testing.assert_allclose(np.abs(found.components), np.eye(6)[[0, 3]], atol=0.05)
    kept = fitted_projection(ArrayPoints(rows[:0]), 2, 0, tmp_path / "projection.npz")
    np.testing.assert_array_equal(kept(rows), found(rows))


@pytest.mark.parametrize(("rows", "dim"), [(3, 8), (8, 3)])
def test_more_components_than_rows_or_dimensions_are_told(rows: int, dim: int) -> None:
    with pytest.raises(ClusterError, match=f"4 components need as many rows and dimensions, there are {rows} of {dim}"):
        check_components(4, rows, dim)


def test_normalised_rows_have_length_one_and_silence_stays_zero(tmp_path: Path) -> None:
    rows = random_rows(3, 4)
    rows[1] = 0
    stored(tmp_path, rows)
    points = EmbeddingPoints(open_embeddings(tmp_path), normalise=True)
    np.testing.assert_allclose(np.linalg.norm(points.take(np.arange(3)), axis=1), [1, 0, 1], atol=1e-6)


@pytest.mark.parametrize("change", [{"passes": 0}, {"chunk_rows": 0}, {"inits": 0}, {"seed": -1}, {"engine": "other"}])
def test_impossible_fit_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="need"):
        replace(SETTINGS, **change)  # type: ignore[arg-type]
