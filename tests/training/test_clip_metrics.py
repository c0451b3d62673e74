import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from training.clip_metrics import (
    accuracy,
    accuracy_estimate,
    average_precision,
    best_threshold,
    macro_average_precision,
    ranking,
)


def scored(seed: int, clips: int = 200, labels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties that follow the truth more or less."""
    rng = np.random.default_rng(seed)
    truth = rng.random((clips, labels)) < 0.25
    return np.round(0.3 * truth + 0.7 * rng.random((clips, labels)), 2), truth


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_average_precision_is_that_of_scikit_learn(seed: int) -> None:
    scores, truth = scored(seed)
    for label in range(truth.shape[1]):
        expected = average_precision_score(truth[:, label], scores[:, label])
        assert average_precision(scores[:, label], truth[:, label]) == pytest.approx(expected, abs=1e-12)
    assert macro_average_precision(scores, truth) == pytest.approx(
        average_precision_score(truth, scores, average="macro")
    )


def test_average_precision_by_hand() -> None:
    scores, truth = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert average_precision(scores, truth) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.full(4, 0.5), truth) == 0.5


def test_label_on_no_clip_or_on_all_has_no_average_precision() -> None:
    scores, truth = scored(0)
    truth[:, 1], truth[:, 2] = False, True
    found = ranking(scores, truth, resamples=20)
    assert [math.isnan(estimate.value) for estimate in found.labels] == [False, True, True, False]
    assert found.macro.value == pytest.approx((found.labels[0].value + found.labels[3].value) / 2)
    assert math.isnan(macro_average_precision(scores[:, 1:3], truth[:, 1:3]))


def test_intervals_hold_the_figure_and_narrow_with_more_clips() -> None:
    few, many = (ranking(*scored(0, clips), resamples=200) for clips in (100, 1600))
    for estimate in (*few.labels, few.macro, *many.labels, many.macro):
        assert estimate.low < estimate.value < estimate.high
    assert 2 * (many.macro.high - many.macro.low) < few.macro.high - few.macro.low


def test_resampled_average_precision_is_that_of_the_resampled_clips() -> None:
    scores, truth = scored(3, clips=60, labels=1)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, 60, 60) for _ in range(400)]
    by_hand = [average_precision(scores[rows, 0], truth[rows, 0]) for rows in drawn]
    found = ranking(scores, truth, resamples=400).labels[0]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])), abs=0.04)


def test_accuracy_counts_clips_whose_label_is_on_top() -> None:
    scores, truth = np.eye(4)[[0, 1, 2, 2]], np.array([0, 1, 2, 3])
    assert accuracy(scores, truth) == 0.75
    assert math.isnan(accuracy(np.zeros((0, 3)), np.zeros(0, np.int64)))
    found = accuracy_estimate(scores, truth, resamples=100)
    assert found.low < found.value == 0.75 < found.high


def test_clips_are_resampled_within_their_fold() -> None:
    scores, truth = np.eye(2)[[0] * 40], np.repeat([0, 1], 20)
    found = accuracy_estimate(scores, truth, folds=truth, resamples=50)
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("scores", "truth", "expected"),
    [
        ([0.9, 0.7, 0.3, 0.1], [1, 1, 0, 0], 0.5),
        ([0.9, 0.7, 0.3, 0.1], [1, 1, 1, 1], 0.05),
        ([0.9, 0.7, 0.7, 0.1], [1, 1, 0, 0], 0.4),
        ([0.9, 0.7], [0, 0], 0.5),
    ],
)
def test_best_threshold_lies_between_scores(scores: list[float], truth: list[int], expected: float) -> None:
    assert best_threshold(np.array(scores), np.array(truth, bool)) == pytest.approx(expected)
