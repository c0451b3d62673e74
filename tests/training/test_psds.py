import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.psds import PSDS1, PSDS2, Psds, Timeline, psds, roc

REFERENCE = json.loads(Path(__file__).with_name("sed_reference.json").read_text(encoding="utf-8"))
SCENARIOS = {"psds1": PSDS1, "psds2": PSDS2, "mean": replace(PSDS2, spread_cost=0.0)}
HOUR = Psds(0.5, 0.5, spread_cost=0.0, most=10.0)


def reference() -> list[Timeline]:
    edges, labels = np.array(REFERENCE["edges"]), REFERENCE["labels"]
    return [
        Timeline(
            edges,
            np.array(recording["scores"], np.float32),
            [[(on, off) for label, on, off in recording["events"] if label == name] for name in labels],
        )
        for recording in REFERENCE["recordings"]
    ]


def hour(scores: list[float], *heard: tuple[float, float]) -> Timeline:
    """An hour in equal columns with one label."""
    edges = np.linspace(0, 3600, len(scores) + 1)
    return Timeline(edges, np.array(scores, np.float32)[:, None], [heard])


@pytest.mark.parametrize("name", SCENARIOS)
def test_score_is_that_of_sed_scores_eval(name: str) -> None:
    expected, settings, timelines = REFERENCE["psds"][name], SCENARIOS[name], reference()
    assert psds(timelines, settings) == pytest.approx(expected["all"], abs=1e-9)
    for label, by_name in enumerate(REFERENCE["labels"]):
        curve = roc(timelines, label, settings)
        assert curve
        assert curve.area(settings.most) == pytest.approx(expected["labels"][by_name], abs=1e-9)


def test_perfect_scores_give_one() -> None:
    assert psds([hour([0, 0.9, 0, 0, 0.8, 0], (600, 1200), (2400, 3000))], HOUR) == 1.0


def test_sounds_found_only_beside_false_alarms_count_from_that_rate_on() -> None:
    timelines = [hour([0, 0.9, 0, 0.9, 0, 0.8], (600, 1200), (3000, 3600))]  # one of each at 0.9
    assert psds(timelines, HOUR) == pytest.approx((10 - 1) / 10)


def test_labels_that_are_found_unequally_cost_their_spread() -> None:
    edges, scores = np.arange(4.0), np.array([[0.9, 0.0], [0.1, 0.1], [0.0, 0.0]], np.float32)
    timelines = [Timeline(edges, scores, [[(0, 1)], [(0, 1)]])]
    even = replace(HOUR, most=1.0)
    assert psds(timelines, even) == pytest.approx(0.5)
    assert psds(timelines, replace(even, spread_cost=1.0)) == 0.0


def test_labels_that_are_never_heard_are_left_out() -> None:
    scores = np.array([[0, 0.9], [0.9, 0.9]], np.float32)
    assert psds([Timeline(np.arange(3.0), scores, [[(1, 2)], []])], HOUR) == 1.0
    assert math.isnan(psds([hour([0.0, 1.0])], HOUR))


def test_long_recording_is_counted_at_a_bounded_number_of_thresholds() -> None:
    rng = np.random.default_rng(0)
    real = np.repeat(np.arange(250) % 5 == 0, 10)
    strength = np.repeat(np.where(real[::10], rng.uniform(0.2, 1, 250), 0.5 * (rng.random(250) < 0.3)), 10)
    scores = np.clip(strength + 0.1 * rng.random(2500), 0, 1)
    edges = np.flatnonzero(np.diff(real, prepend=False, append=False)).reshape(-1, 2) * 3600 / 2500
    heard = [(float(on), float(off)) for on, off in edges]
    exact, bounded = (psds([hour(s.tolist(), *heard)], PSDS1) for s in (np.round(scores, 3), scores))
    assert bounded == pytest.approx(exact, abs=0.01)
    assert 0.3 < bounded < 0.9


@pytest.mark.parametrize("settings", [{"detection": 0}, {"truth": 1.5}, {"cross_cost": -1.0}, {"most": 0.0}])
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need"):
        replace(PSDS1, **settings)


def test_timeline_refuses_scores_that_do_not_fit_its_edges() -> None:
    with pytest.raises(ValueError, match="need rising edges"):
        Timeline(np.arange(3.0), np.zeros((3, 1), np.float32), [[]])
