import math
from dataclasses import replace

import numpy as np
import pytest

from ssondo_stream.bundle import Label
from tests.training.parts_streams import RATE, Fickle, bursts, recording
from training.annotations import Heard
from training.announcing import Announcement
from training.errors import ManifestError
from training.estimates import Rate
from training.matching import Counts
from training.stream_metrics import MetricSettings, latencies, measure, outcome, settled_outcomes
from training.stream_scores import Recording, score_samples

RULES = [Label(name, 0.5, 0.3, 0.8, 0.0, 0.0) for name in ("Bark", "Siren")]
SETTINGS = MetricSettings(resamples=50)


def columns(bark: dict[int, float], siren: dict[int, float] | None = None, count: int = 20) -> list[list[float]]:
    """Columns of a second, silent but for these."""
    return [[bark.get(i, 0.0), (siren or {}).get(i, 0.0)] for i in range(count)]


SCENES = [
    recording(columns({2: 0.9, 3: 0.9, 10: 0.9}, {15: 0.6}), (2, 4, "Bark"), (6, 8, "Bark"), (15, 16, "Siren")),
    recording(columns({5: 0.9}), name="negative"),
]


def test_sounds_are_found_missed_and_invented() -> None:
    figures = measure(SCENES, RULES, SETTINGS)
    bark, siren = (of.outcome for of in figures.labels)
    assert bark.events == Counts(1, 3, 2, (0.0,))
    assert siren.events == Counts(1, 1, 1, (0.0,))
    assert (bark.recall, siren.recall) == (0.5, 1.0)
    assert figures.event_f1.value == pytest.approx(2 * 2 / (4 + 3))
    assert figures.macro_f1 == pytest.approx((2 / 5 + 1) / 2)
    assert figures.median_onset_error == 0.0


def test_false_alarms_are_counted_per_hour_of_negatives_and_of_everything() -> None:
    figures = measure(SCENES, RULES, SETTINGS)
    assert (figures.hours, figures.negative_hours) == pytest.approx((40 / 3600, 20 / 3600))
    assert figures.false_alarms.count == 1
    assert figures.false_alarms.per_hour().value == pytest.approx(180)
    assert figures.labels[0].outcome.false_alarms.count == 2
    assert figures.labels[0].outcome.false_alarms.hours == pytest.approx(40 / 3600)
    assert [of.negatives.false_alarms.count for of in figures.labels] == [1, 0]


def test_rates_over_all_labels_are_of_the_hours_that_those_of_each_are_of() -> None:
    crowded = measure(SCENES[:1], RULES, SETTINGS)
    assert (crowded.false_alarms.count, crowded.false_alarms.hours) == (1, pytest.approx(20 / 3600))
    assert crowded.false_starts.hours == pytest.approx(20 / 3600)
    for figures in (crowded, measure(SCENES, RULES, SETTINGS)):
        of_each = [of.quiet.false_alarms for of in figures.labels]
        assert figures.false_alarms.count == sum(rate.count for rate in of_each)
        assert all(rate.hours == pytest.approx(figures.false_alarms.hours) for rate in of_each)


@pytest.mark.parametrize("wrong", [{"bridge_seconds": -1.0}, {"bridge_seconds": math.nan}, {"early_windows": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need pauses"):
        replace(SETTINGS, **wrong)


def test_event_at_the_wrong_time_of_a_real_sound_is_no_false_alarm() -> None:
    late = recording(columns({4: 0.9}), (2, 5, "Bark"))
    found = outcome(late, 0, RULES[0], SETTINGS)
    assert (found.events.hits, found.found, found.false_alarms.count) == (0, 1, 0)


def test_latency_runs_from_the_first_sample_to_the_announcement() -> None:
    bark, siren = (of.outcome for of in measure(SCENES, RULES, SETTINGS).labels)
    assert bark.latencies == (2.0,)  # columns of a second, of which the newest announces nothing
    assert siren.latencies[0] > 3.0  # too weak to be announced early


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([(3.0, 1.0, 4.0)], (2.0,)),
        ([(5.0, 1.0, 4.0), (3.0, 1.0, 2.0)], (2.0,)),  # the sooner one
        ([(0.5, 0.0, 4.0)], ()),  # it was of something before
        ([(9.0, 6.0, 8.0)], ()),
        ([], ()),
    ],
)
def test_sound_has_the_latency_of_what_announced_it(
    told: list[tuple[float, float, float]], expected: tuple[float, ...]
) -> None:
    announced = [Announcement(*times, confirmed=True) for times in told]
    assert latencies(announced, [(1.0, 4.0)]) == expected


def test_start_that_is_withdrawn_is_counted_by_itself() -> None:
    scores = score_samples(Fickle(6.0), bursts(0), RATE)
    rule = Label("Loud", 0.5, 0.3, 0.8, 0.0, 0.5)
    told = outcome(Recording("a", scores), 0, rule, SETTINGS)
    assert told.false_starts.count > 0
    assert told.false_alarms.count > 0
    assert replace(told, false_starts=Rate(0, 0.0), latencies=()) == replace(
        settled_outcomes(Recording("a", scores), 0, rule, (rule.confirm,), SETTINGS)[0], false_starts=Rate(0, 0.0)
    )


def test_detection_scores_are_of_settled_columns() -> None:
    perfect = [recording(columns({2: 0.9, 3: 0.9}, {7: 0.4}), (2, 4, "Bark"), (7, 8, "Siren"))]
    figures = measure(perfect, RULES, SETTINGS)
    assert figures.scores == {"psds1": 1.0, "psds2": 1.0}
    assert figures.labels[1].scores == {"psds1": 1.0, "psds2": 1.0}
    assert measure(perfect, RULES, replace(SETTINGS, scenarios=())).scores == {}


def test_nothing_to_tell_from_is_not_a_number() -> None:
    figures = measure([recording(columns({}), (2, 3, "Bark"))], RULES, SETTINGS)
    assert math.isnan(figures.median_latency)
    assert math.isnan(figures.median_onset_error)
    assert math.isnan(figures.labels[1].scores["psds1"])
    assert figures.macro_f1 == 0.0


def test_pauses_within_a_sound_can_be_bridged() -> None:
    broken = recording(columns({2: 0.9, 3: 0.9}), (2, 2.5, "Bark"), (3, 4, "Bark"))
    assert measure([broken], RULES, SETTINGS).labels[0].outcome.events.real == 2
    assert measure([broken], RULES, replace(SETTINGS, bridge_seconds=1.0)).labels[0].outcome.events == Counts(
        1, 1, 1, (0.0,)
    )


def test_annotation_that_the_student_has_no_label_for_is_refused() -> None:
    with pytest.raises(ManifestError, match="a: 'Rain' is annotated"):
        measure([recording(columns({}), (2, 3, "Rain"))], RULES)
    with pytest.raises(ValueError, match="a: has scores of 2 labels, expected 1"):
        measure([recording(columns({}))], RULES[:1])
    with pytest.raises(ValueError, match="need recordings"):
        measure([], RULES)


def test_outcome_of_a_stream_is_right_about_where_a_burst_is() -> None:
    samples = np.zeros(30 * RATE, np.float32)
    samples[10 * RATE : 13 * RATE] = np.random.default_rng(0).normal(0, 0.3, 3 * RATE)
    scores = score_samples(Fickle(), samples, RATE)
    heard = Recording("burst", scores, (Heard(10.0, 13.0, "Loud"),))
    found = outcome(heard, 0, Fickle().spec.labels[0], SETTINGS)
    assert found.events.hits == 1
    assert found.onset_errors[0] < 0.2
    assert 0.5 < found.latencies[0] < 1.6
