"""Columns as rows of a loss, and what annotations say of each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.parts_distill import RECIPE
from tests.training.parts_embeddings import names, random_rows, stored
from training.annotations import Annotated, Heard
from training.column_targets import COLUMN, LEAD
from training.columns import annotated_targets, as_rows, columns_in, write_clip_means
from training.embeddings import open_embeddings
from training.errors import EmbeddingsError, ManifestError
from training.mixup import Mixup
from training.recipe import Recipe, StudentSettings
from training.sounds import RATE

LABELS = ("Bark", "Rain")
COLUMNS = 5
SAMPLES = COLUMNS * COLUMN - LEAD  # the last column ends with the clip
MIXUP = Mixup(torch.tensor([2, 0, 1]), torch.tensor([1.0, 0.75, 0.5]))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def edge(column: float) -> float:
    """Where a column begins, in seconds; halves are within columns."""
    return max(0.0, (column * COLUMN - LEAD) / RATE)


def targets_of(*heard: tuple[float, float, str], samples: int = SAMPLES) -> np.ndarray:
    recording = Annotated(Path("made.wav"), tuple(Heard(*sound) for sound in heard))
    return annotated_targets(recording, LABELS, samples, RATE)


def test_clips_are_rows_as_they_are() -> None:
    outputs, targets, clusters = drawn(3, 4), drawn(3, 4, seed=1), torch.tensor([5, 6, 5])
    rows = as_rows(outputs, targets, clusters, MIXUP)
    assert rows.outputs is outputs
    assert rows.targets is targets
    assert rows.clusters is clusters
    assert rows.mixup is MIXUP


def test_every_column_of_every_clip_is_a_row_with_the_clips_cluster() -> None:
    outputs, targets = drawn(3, COLUMNS, 4), drawn(3, COLUMNS, 4, seed=1)
    rows = as_rows(outputs, targets, torch.tensor([5, 6, 7]), None)
    assert rows.outputs.shape == rows.targets.shape == (3 * COLUMNS, 4)
    assert rows.clusters is not None
    for clip in range(3):
        for column in range(COLUMNS):
            row = clip * COLUMNS + column
            assert torch.equal(rows.outputs[row], outputs[clip, column])
            assert torch.equal(rows.targets[row], targets[clip, column])
            assert rows.clusters[row] == 5 + clip
    assert rows.mixup is None


def test_clusters_are_left_out_where_there_are_none() -> None:
    assert as_rows(drawn(2, 3, 4), drawn(2, 3, 4), None, None).clusters is None


def test_blended_rows_are_the_rows_of_blended_clips() -> None:
    outputs, targets = drawn(3, COLUMNS, 4), drawn(3, COLUMNS, 4, seed=1)
    rows = as_rows(outputs, targets, None, MIXUP)
    assert rows.mixup is not None
    torch.testing.assert_close(rows.mixup.blend(rows.targets), MIXUP.blend(targets).flatten(0, 1))
    assert sorted(rows.mixup.partner.tolist()) == list(range(3 * COLUMNS))
    torch.testing.assert_close(rows.mixup.shares().sum(1), torch.ones(3 * COLUMNS))


@pytest.mark.parametrize(("outputs", "targets"), [((3, 5, 4), (3, 4, 4)), ((3, 5, 4), (3, 4)), ((3, 4), (3, 5))])
def test_outputs_and_targets_of_different_shapes_are_refused(
    outputs: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="need outputs and targets of one shape"):
        as_rows(drawn(*outputs), drawn(*targets), None, None)


def test_targets_say_how_much_of_each_column_each_label_fills() -> None:
    found = targets_of((edge(1), edge(2.5), "Rain"), (edge(4), edge(5), "Bark"), (edge(0), edge(1), "Bark"))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 1], [0, 1, 0.5, 0, 0], atol=1e-3)
    np.testing.assert_allclose(found[:, 0], [1, 0, 0, 0, 1], atol=1e-3)


def test_labels_may_be_heard_at_once() -> None:
    found = targets_of((edge(2), edge(3), "Rain"), (edge(2), edge(3), "Bark"))
    np.testing.assert_allclose(found[2], [1, 1], atol=1e-3)
    assert not np.delete(found, 2, axis=0).any()


def test_recording_in_which_nothing_is_heard_has_targets_of_nothing() -> None:
    assert targets_of().shape == (COLUMNS, len(LABELS))
    assert not targets_of().any()


def test_what_goes_on_after_the_clip_ends_with_it_and_what_comes_later_is_left_out() -> None:
    long = targets_of((edge(3), 60.0, "Rain"), (edge(COLUMNS), edge(COLUMNS + 1), "Bark"))
    np.testing.assert_array_equal(long, targets_of((edge(3), SAMPLES / RATE, "Rain")))
    np.testing.assert_allclose(long[:, 1], [0, 0, 0, 1, 1], atol=1e-3)


def test_sound_that_the_clip_cuts_off_counts_by_what_is_left_of_it() -> None:
    """Half a column is left, which is all that is heard of it."""
    cut = targets_of((edge(4.5), edge(9), "Bark"))
    np.testing.assert_allclose(cut[:, 0], [0, 0, 0, 0, 1], atol=1e-3)


def test_label_that_is_not_learnt_is_named() -> None:
    with pytest.raises(ManifestError, match=r"made\.wav: label 'Siren' is none of the 2 that are learnt"):
        targets_of((0.5, 1.0, "Rain"), (0.1, 0.2, "Siren"))


def test_label_that_is_not_learnt_is_named_even_beyond_the_clip() -> None:
    with pytest.raises(ManifestError, match="label 'Siren'"):
        targets_of((100.0, 101.0, "Siren"))


@pytest.mark.parametrize(
    ("seconds", "architecture", "columns"),
    [(0.6, "mobilenetv3", 2), (10.0, "mobilenetv3", 20), (10.0, "eres2net", 39), (SAMPLES / RATE, "resnet", COLUMNS)],
)
def test_columns_of_a_clip_are_those_of_the_students_last_map(seconds: float, architecture: str, columns: int) -> None:
    recipe: Recipe = replace(RECIPE, seconds=seconds, student=StudentSettings(architecture))
    assert columns_in(recipe) == columns


def test_annotations_give_as_many_columns_as_the_student() -> None:
    for seconds in (0.1, 0.6, 1.2, 4.88, 10.0):
        samples = round(seconds * RATE)
        assert len(targets_of(samples=samples)) == columns_in(replace(RECIPE, seconds=seconds))


def test_clips_embeddings_are_the_means_of_their_columns(tmp_path: Path) -> None:
    rows = random_rows(5, 12)
    stored(tmp_path / "columns", rows)
    write_clip_means(open_embeddings(tmp_path / "columns"), 4, tmp_path / "clips")
    found = open_embeddings(tmp_path / "clips")
    assert list(found.ids) == names(5)
    np.testing.assert_allclose(found.rows(range(5)), rows.reshape(5, 4, 3).mean(1), atol=1e-3)


def test_clips_that_are_there_already_are_left_alone(tmp_path: Path) -> None:
    stored(tmp_path / "columns", random_rows(5, 12))
    for _ in range(2):
        write_clip_means(open_embeddings(tmp_path / "columns"), 4, tmp_path / "clips")
    assert len(open_embeddings(tmp_path / "clips")) == 5


def test_embeddings_that_are_not_of_so_many_columns_are_refused(tmp_path: Path) -> None:
    stored(tmp_path / "columns", random_rows(2, 12))
    with pytest.raises(EmbeddingsError, match="width 12 are not those of 5 columns"):
        write_clip_means(open_embeddings(tmp_path / "columns"), 5, tmp_path / "clips")
