import math
from dataclasses import replace

import numpy as np
import pytest

from ssondo_stream.bundle import Label
from tests.training.parts_streams import RATE, Fickle, bursts, recording
from training.annotations import Heard
from training.announcing import settled_events
from training.estimates import Rate
from training.stream_figures import Outcome
from training.stream_metrics import MetricSettings, outcome
from training.stream_scores import Recording, score_samples
from training.thresholds import (
    BudgetError,
    allocate,
    choose_early,
    choose_thresholds,
    event_f1,
    event_f1_and_recall,
    operating_points,
)

RULE = Label("Bark", 0.5, 0.25, 0.8, 0.0, 0.0)


def scene(scores: dict[int, float], *real: int, name: str = "a") -> Recording:
    """Two minutes in columns of a second with one label, and barks of a second."""
    return recording([[scores.get(i, 0.0)] for i in range(120)], *((i, i + 1, "Bark") for i in real), name=name)


SCENES = [scene({10: 0.9, 20: 0.7, 30: 0.5}, 10, 20, 30), scene({5: 0.3, 50: 0.6})]  # 30 negatives an hour each


@pytest.mark.parametrize(
    ("per_hour", "low", "high", "hits"), [(0.0, 0.6, 0.7, 2), (29.0, 0.6, 0.7, 2), (30.0, 0.3, 0.5, 3)]
)
def test_budget_buys_what_it_can(per_hour: float, low: float, high: float, hits: int) -> None:
    curve = operating_points(SCENES, 0, RULE)
    (chosen,) = choose_thresholds([curve], per_hour)
    assert low < chosen.threshold <= high
    assert chosen.off == pytest.approx(chosen.threshold / 2)
    assert outcome(SCENES[0], 0, chosen, MetricSettings()).events.hits == hits
    assert outcome(SCENES[1], 0, chosen, MetricSettings()).false_alarms.count <= per_hour / 30


def test_budget_goes_to_the_label_that_makes_the_most_of_it() -> None:
    assert allocate([[3, 1, 0], [2, 0]], [[0.9, 0.6, 0.5], [0.8, 0.1]], 2) == [2, 0]
    assert allocate([[3, 1, 0], [2, 0]], [[0.9, 0.6, 0.5], [0.8, 0.1]], 3) == [1, 0]
    assert allocate([[3, 1, 0], [2, 0]], [[0.9, 0.6, 0.5], [0.8, 0.1]], 5) == [0, 0]


def test_allocation_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        counts, worths = rng.integers(0, 5, (3, 4)).tolist(), rng.random((3, 4)).tolist()
        counts[0][0] = counts[1][0] = counts[2][0] = 0
        chosen = allocate(counts, worths, 6)
        picks = np.stack(np.meshgrid(*[range(4)] * 3), -1).reshape(-1, 3)
        fits = [p for p in picks if sum(counts[i][p[i]] for i in range(3)) <= 6]
        best = max(sum(worths[i][p[i]] for i in range(3)) for p in fits)
        assert sum(worths[i][k] for i, k in enumerate(chosen)) == pytest.approx(best)


def test_budget_beyond_all_alarms_buys_everything() -> None:
    assert allocate([[3, 1, 0], [2, 0]], [[0.9, 0.6, 0.5], [0.8, 0.1]], 10**12) == [0, 0]


def test_threshold_lies_in_the_middle_of_those_that_are_as_good() -> None:
    (chosen,) = choose_thresholds([operating_points([scene({10: 0.8}, 10)], 0, RULE, [0.2, 0.4, 0.6, 0.9])], 0)
    assert chosen.threshold == 0.4


def test_early_threshold_stays_above_the_settled_one() -> None:
    strict = operating_points(SCENES, 0, RULE, [0.95])[0].rule
    assert strict.early == 0.95


def test_label_that_is_never_heard_is_not_silenced() -> None:
    (chosen,) = choose_thresholds([operating_points([scene({5: 0.3})], 0, RULE)], 0)
    assert 0.3 < chosen.threshold < 0.9


def test_certainty_is_chosen_where_scores_do_not_tell_sounds_apart() -> None:
    """Loud for a second is real, and for longer is not; the verifier knows, the scores do not."""
    scores = score_samples(Fickle(verifies=True), bursts(0), RATE)
    rule = Label("Loud", 0.5, 0.3, 0.8, 0.0, 0.5)
    real = [Heard(*span, "Loud") for span in settled_events(scores, 0, replace(rule, confirm=0.6))]
    recordings = [Recording("a", scores, tuple(real))]
    plain, verified = (operating_points(recordings, 0, rule, [0.5], confirms=of) for of in (None, (0.0, 0.6, 1.0)))
    assert [point.rule.confirm for point in verified] == [0.0, 0.6, 1.0]
    assert plain[0].outcome == verified[0].outcome
    assert plain[0].outcome.false_alarms.count > 0
    (chosen,) = choose_thresholds([verified], 0)
    assert chosen.confirm == 0.6
    assert verified[1].outcome == replace(
        outcome(recordings[0], 0, chosen, MetricSettings()), false_starts=Rate(0, 0.0), latencies=()
    )


def test_budget_that_nothing_keeps_is_refused() -> None:
    with pytest.raises(BudgetError, match=r"at most 0 false alarms .* the strictest give 1"):
        choose_thresholds([operating_points(SCENES, 0, RULE, [0.2, 0.5])], 0)
    for wrong in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="budget"):
            choose_thresholds([operating_points(SCENES, 0, RULE)], wrong)


def test_alarms_among_sounds_count_where_there_are_no_negatives() -> None:
    crowded = [scene({10: 0.9, 20: 0.7, 50: 0.8}, 10, 20)]
    (strict,) = choose_thresholds([operating_points(crowded, 0, RULE)], 0)
    (loose,) = choose_thresholds([operating_points(crowded, 0, RULE)], 30)
    assert strict.threshold > 0.8 > loose.threshold


def test_recall_counts_where_it_is_asked_for() -> None:
    """A faint sound is found at the price of three others that are none, none of them in the quiet."""
    curve = operating_points([scene({10: 0.9, 20: 0.5, 60: 0.5, 70: 0.5, 80: 0.5}, 10, 20), scene({})], 0, RULE)
    (strict,), (loose,) = (choose_thresholds([curve], 0, worth) for worth in (event_f1, event_f1_and_recall))
    assert strict.threshold > 0.5 >= loose.threshold
    assert event_f1_and_recall(Outcome()) == 0.0


def test_early_thresholds_withdraw_no_more_than_the_budget() -> None:
    scores = [score_samples(Fickle(6.0), bursts(seed), RATE) for seed in range(2)]
    negatives = [Recording(str(i), score) for i, score in enumerate(scores)]
    rules = [Label(name, 0.5, 0.3, 0.5, 0.0, 0.0) for name in ("Loud", "Quiet")]
    withdrawn = {}
    for per_hour in (30.0, 3000.0):
        chosen = choose_early([*negatives, Recording("b", scores[0], (Heard(1, 2, "Loud"),))], rules, per_hour)
        told = [outcome(n, i, rule, MetricSettings()) for n in negatives for i, rule in enumerate(chosen)]
        withdrawn[per_hour] = sum(one.false_starts.count for one in told)
        assert all(rule.early > rule.threshold for rule in chosen)
    assert withdrawn[30.0] <= 1 < withdrawn[3000.0]


@pytest.mark.parametrize("names", [("Slow", "Quick"), ("Quick", "Slow")])
def test_early_threshold_is_lower_where_it_tells_of_sounds_sooner(names: tuple[str, str]) -> None:
    """Two labels withdraw one start each, of which one may be: it goes to the label that gains seconds by it."""
    grows = {"Slow": [0.7, 0.7, 0.7, 0.9], "Quick": [0.9, 0.9, 0.9, 0.9]}
    scores = np.zeros((60, 2), np.float32)
    scores[10:14] = np.transpose([grows[name] for name in names])
    sounds = recording(scores.tolist(), *((10, 14, name) for name in names))
    means = np.zeros((60, 2, 2), np.float32)
    means[30, 0] = 0.73  # what the next window takes back
    negative = Recording("n", replace(recording(scores.tolist()).scores, means=means))
    chosen = choose_early([sounds, negative], [Label(name, 0.5, 0.3, 0.5, 0.0, 0.0) for name in names], per_hour=60.0)
    early = {rule.name: rule.early for rule in chosen}
    assert early["Slow"] < 0.7 < early["Quick"] <= 0.9
