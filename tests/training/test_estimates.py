import math

import numpy as np
import pytest

from training.estimates import Rate, bootstrapped


@pytest.mark.parametrize(
    ("count", "hours", "low", "high"),
    [(0, 1.0, 0.0, 3.6889), (1, 1.0, 0.0253, 5.5716), (10, 1.0, 4.7954, 18.3904), (10, 2.0, 2.3977, 9.1952)],
)
def test_interval_of_a_rate_is_that_of_tables_for_poisson_counts(
    count: int, hours: float, low: float, high: float
) -> None:
    found = Rate(count, hours).per_hour()
    assert (found.value, found.low, found.high) == pytest.approx((count / hours, low, high), abs=1e-4)


def test_rate_in_no_time_is_unknown() -> None:
    assert math.isnan(Rate(0, 0.0).per_hour().high)


def test_rates_add_up() -> None:
    assert Rate(1, 0.5) + Rate(2, 1.5) == Rate(3, 2.0)


def test_resampled_interval_is_that_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = bootstrapped(lambda rows: float(values[rows].mean()), 400)
    assert found.value == values.mean()
    assert (found.low, found.high) == pytest.approx((found.value - 0.196, found.value + 0.196), abs=0.03)
    assert str(found) == f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def test_rows_are_resampled_within_their_group() -> None:
    groups = np.repeat([0, 1], [30, 10])
    found = bootstrapped(lambda rows: float((groups[rows] == 1).mean()), 40, strata=groups, resamples=50)
    assert (found.low, found.value, found.high) == (0.25, 0.25, 0.25)


def test_samples_that_tell_nothing_are_left_out() -> None:
    found = bootstrapped(lambda rows: float(rows[0]) if rows[0] else math.nan, 2, resamples=50)
    assert (found.low, found.high) == (1, 1)
    assert math.isnan(found.value)


def test_the_same_seed_gives_the_same_interval() -> None:
    def figure(rows: np.ndarray) -> float:
        return float(rows.mean())

    assert bootstrapped(figure, 50, seed=3) == bootstrapped(figure, 50, seed=3)
    assert bootstrapped(figure, 50, seed=3) != bootstrapped(figure, 50, seed=4)


def test_impossible_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="need count"):
        Rate(-1, 1.0)
