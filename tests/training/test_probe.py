import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from tests.training.parts_embeddings import names, stored
from tests.training.parts_probe import LABELS, clips, several
from training.embeddings import open_embeddings
from training.manifest import Entry, Manifest
from training.probe import ProbeSettings, choose_recipe, probe
from training.probe_data import ProbeData, ProbeError, probe_data, without_embedding
from training.probe_fit import Recipe, fit, head_loss, head_scores

ONE = ProbeSettings(grid=(Recipe(strength=0.1),), resamples=50)
HIDDEN = Recipe(hidden_sizes=(16,), epochs=60, batch=16, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_linear_head_is_the_optimum_that_scikit_learn_finds() -> None:
    data, strength = clips(), 0.03
    ours = fit(data, "single", Recipe(strength=strength))
    rows = (data.embeddings - data.embeddings.mean(0)) / data.embeddings.std(0)
    theirs = LogisticRegression(C=1 / (strength * len(data)), tol=1e-9, max_iter=5000)
    theirs.fit(rows.astype(np.float64), data.targets.argmax(1))
    np.testing.assert_allclose(head_scores(ours, data.embeddings, "single"), theirs.predict_proba(rows), atol=2e-3)


@pytest.mark.parametrize("recipe", [Recipe(strength=1e-3), HIDDEN], ids=["linear", "hidden"])
@pytest.mark.parametrize(("make", "task"), [(clips, "single"), (several, "multi")])
def test_head_takes_raw_embeddings_and_learns(recipe: Recipe, make: type, task: str) -> None:
    data = make(noise=0.15)
    head = fit(data, task, recipe)
    scores = head_scores(head, data.embeddings, task)
    assert ((scores > 0.5) == data.targets).mean() > 0.97
    assert head_loss(head, data, task) < 0.5


def test_dimension_that_never_changes_does_no_harm() -> None:
    data = clips()
    flat = replace(data, embeddings=np.hstack((data.embeddings, np.full((len(data), 1), 7.3, np.float32))))
    same = head_scores(fit(flat, "single", ONE.grid[0]), flat.embeddings, "single")
    np.testing.assert_allclose(
        same, head_scores(fit(data, "single", ONE.grid[0]), data.embeddings, "single"), atol=1e-4
    )


@pytest.mark.parametrize("recipe", [Recipe(), HIDDEN], ids=["linear", "hidden"])
def test_the_same_seed_gives_the_same_head_and_leaves_others_chance_alone(recipe: Recipe) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (fit(clips(), "single", recipe, seed).state_dict() for seed in (1, 1, 2))
    assert torch.rand(1) == expected
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert bool(recipe.hidden_sizes) == any(not torch.equal(one[name], other[name]) for name in one)


def test_figures_are_of_clips_that_the_head_has_not_seen() -> None:
    """With more dimensions than clips, noise can be learnt by heart."""
    rng = np.random.default_rng(0)
    noise = ProbeData(
        rng.standard_normal((90, 200)).astype(np.float32),
        np.eye(3, dtype=bool)[rng.integers(3, size=90)],
        np.arange(90) % 3,
        LABELS,
    )
    result = probe(noise, replace(ONE, grid=(Recipe(strength=1e-4),)))
    assert result.pooled.value < 0.55
    fitted = head_scores(result.probe.head, noise.embeddings, "single")
    assert (fitted.argmax(1) == noise.targets.argmax(1)).all()


def test_standardisation_knows_nothing_of_the_tested_fold() -> None:
    data = clips()
    altered = replace(data, embeddings=np.where(data.folds[:, None] == 3, data.embeddings * 50 + 9, data.embeddings))
    for one, other in zip(probe(data, ONE).folds, probe(altered, ONE).folds, strict=True):
        if one.fold == 3:
            split = replace(ONE, tested=(3,))
            heads = [probe(each, split).probe.head.state_dict() for each in (data, altered)]
            assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
        else:
            assert one != other


def test_result_has_figures_of_folds_their_mean_spread_and_interval() -> None:
    result = probe(clips(noise=0.6), ONE)
    values = [fold.figure.value for fold in result.folds]
    assert [(fold.fold, fold.clips) for fold in result.folds] == [(1, 30), (2, 30), (3, 30)]
    assert result.mean == pytest.approx(np.mean(values))
    assert result.spread == pytest.approx(np.std(values, ddof=1))
    assert result.pooled.value == pytest.approx(result.mean)
    assert result.pooled.low < result.pooled.value < result.pooled.high
    assert all(fold.figure.low <= fold.figure.value <= fold.figure.high for fold in result.folds)
    assert len(result.labels) == 3
    assert not np.isnan(result.scores).any()
    assert result.figures["accuracy, fold 2"] == result.folds[1].figure
    assert result.figures["average precision, rain"] == result.labels[1]
    assert len(result.figures) == 7


def test_figure_of_several_labels_is_macro_average_precision() -> None:
    result = probe(several(), replace(ONE, task="multi"))
    assert 0.8 < result.mean < 1.0
    assert result.pooled.value == pytest.approx(np.mean([label.value for label in result.labels]))


def test_split_that_is_given_is_kept() -> None:
    data = clips(folds=4)
    result = probe(data, replace(ONE, tested=(4,)))
    assert [fold.fold for fold in result.folds] == [4]
    assert (np.isnan(result.scores).all(1) == (data.folds != 4)).all()
    assert math.isnan(result.spread)
    expected = fit(data.where(data.folds != 4), "single", ONE.grid[0])
    np.testing.assert_array_equal(
        result.scores[data.folds == 4], head_scores(expected, data.embeddings, "single")[3::4]
    )


def test_head_that_is_kept_has_not_seen_the_folds_that_are_tested() -> None:
    data = clips(folds=4)
    kept = probe(data, replace(ONE, tested=(3, 4))).probe.head.state_dict()
    expected = fit(data.where(data.folds <= 2), "single", ONE.grid[0]).state_dict()
    every = probe(data, ONE).probe.head.state_dict()
    assert all(torch.equal(kept[name], expected[name]) for name in kept)
    assert not torch.equal(kept["weight"], every["weight"])


@pytest.mark.parametrize(
    ("wrong", "said"), [({"seed": -1}, "seed"), ({"seed": 2**63}, "seed"), ({"tested": (1, 1)}, "tested fold once")]
)
def test_impossible_settings_are_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(ONE, **wrong)


def test_recipe_is_chosen_without_the_tested_fold() -> None:
    """Fold 3 alone says that the strongest regularisation is best; the choice for it must not know."""
    grid = (Recipe(strength=1e-2), Recipe(strength=1e4))
    data = clips(noise=0.3, count=120, folds=4)
    wrong = np.where((data.folds == 3)[:, None], np.roll(data.targets, 1, axis=1), data.targets)
    lied = replace(data, targets=wrong)
    settings = replace(ONE, grid=grid)
    result = probe(lied, settings)
    assert result.folds[2].recipe == choose_recipe(data.where(data.folds != 3), settings) == grid[0]


def test_recipe_of_equal_figures_has_the_lower_loss() -> None:
    grid = (Recipe(strength=10.0), Recipe(strength=1e-2))
    assert choose_recipe(clips(noise=0.05), replace(ONE, grid=grid)) == grid[1]


def test_thresholds_tell_the_labels_apart() -> None:
    result = probe(several(noise=0.1), replace(ONE, task="multi"))
    assert ((result.scores > result.probe.thresholds) == several(noise=0.1).targets).all()


@pytest.mark.parametrize(
    ("settings", "folds", "said"),
    [
        (ProbeSettings(), 2, "4 recipes cannot be compared on fold 2 alone"),
        (ONE, 1, "no fold is left to fit on"),
        (replace(ONE, tested=(1, 2)), 2, "no fold is left to fit on"),
        (replace(ONE, tested=(7,)), 3, "there is no fold 7"),
        (replace(ONE, task="both"), 3, "no task 'both'"),
    ],
)
def test_folds_that_do_not_suffice_are_refused(settings: ProbeSettings, folds: int, said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        probe(clips(folds=folds), settings)


def test_clip_with_two_labels_does_not_fit_a_softmax() -> None:
    with pytest.raises(ProbeError, match=r"clip \d+: has \d labels; task 'single' needs one a clip, --task multi"):
        probe(several(), ONE)
    named = replace(several(), ids=tuple(f"{number}.wav" for number in range(120)))
    with pytest.raises(ProbeError, match=r"^\d+\.wav: has "):
        probe(named.where(named.folds != 2), replace(ONE, tested=(1,)))


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"strength": -1.0}, {"strength": math.nan}, {"dropout": 1.0}, {"hidden_sizes": (0,)}]
)
def test_impossible_recipes_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need"):
        replace(HIDDEN, **wrong)


def manifest(*entries: tuple[str, tuple[str, ...], int | None]) -> Manifest:
    return Manifest(Path("audio"), tuple(Entry(*entry) for entry in entries))


def test_data_is_embeddings_by_the_clips_of_a_manifest(tmp_path: Path) -> None:
    rows, ids = stored(tmp_path / "store", clips(20).embeddings), names(20)
    listed = manifest((ids[7], ("rain",), 2), (ids[3], (), 1), (ids[9], ("siren", "bark"), 1))
    data = probe_data(open_embeddings(tmp_path / "store"), listed)
    np.testing.assert_allclose(data.embeddings, rows[[7, 3, 9]], rtol=1e-3)
    assert data.labels == ("bark", "rain", "siren")
    assert data.targets.tolist() == [[False, True, False], [False, False, False], [True, False, True]]
    assert data.folds.tolist() == [2, 1, 1]
    assert probe_data(open_embeddings(tmp_path / "store"), listed, ["siren", "rain", "bark"]).targets[0, 1]


def test_clips_without_an_embedding_can_be_left_out(tmp_path: Path) -> None:
    stored(tmp_path / "store", clips(5).embeddings)
    listed = manifest((names(1)[0], ("rain",), 1), ("other.wav", ("bark",), 1))
    embeddings = open_embeddings(tmp_path / "store")
    assert probe_data(embeddings, listed, skip_missing=True).ids == (names(1)[0],)
    assert [skipped.id for skipped in without_embedding(embeddings, listed)] == ["other.wav"]


def test_names_that_have_nothing_in_common_are_told(tmp_path: Path) -> None:
    stored(tmp_path / "store", clips(5).embeddings)
    with pytest.raises(ProbeError, match=r"it names 'other\.wav', stored is 'folder/clip0000\.wav'"):
        without_embedding(open_embeddings(tmp_path / "store"), manifest(("other.wav", ("bark",), 1)))


def test_manifest_without_labels_is_refused(tmp_path: Path) -> None:
    stored(tmp_path / "store", clips(5).embeddings)
    with pytest.raises(ProbeError, match="none of 1 clips has a label; a probe needs a CSV"):
        probe_data(open_embeddings(tmp_path / "store"), manifest((names(1)[0], (), 1)))


@pytest.mark.parametrize(
    ("entry", "labels", "said"),
    [
        (("rain",), None, "label 'rain' is not among the 1 wanted"),
        (("bark",), "fold", "has no fold"),
    ],
)
def test_clips_that_cannot_be_placed_are_refused(
    tmp_path: Path, entry: tuple[str, ...], labels: str | None, said: str
) -> None:
    stored(tmp_path / "store", clips(5).embeddings)
    listed = manifest((names(1)[0], entry, None if labels == "fold" else 1))
    with pytest.raises(ProbeError, match=said):
        probe_data(open_embeddings(tmp_path / "store"), listed, ["bark"])


def test_shapes_that_do_not_fit_are_refused() -> None:
    data = clips(6)
    for wrong in ({"folds": data.folds[:3]}, {"labels": ("a",)}, {"embeddings": data.embeddings * np.nan}):
        with pytest.raises(ProbeError, match=r"need embeddings|NaN"):
            replace(data, **wrong)
    with pytest.raises(ProbeError, match="nothing to learn"):
        data.where(np.zeros(6, bool))


def test_head_is_an_ordinary_layer() -> None:
    head = fit(clips(), "single", Recipe())
    assert isinstance(head, nn.Linear)
    assert head.weight.dtype == torch.float32
    assert not head.weight.requires_grad
