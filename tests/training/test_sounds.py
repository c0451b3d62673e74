import numpy as np
import pytest

from training.sounds import RATE, Sound, activity, merge, normalised

HISS = 0.001 * np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)


def with_bursts(*bursts: tuple[float, float]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Five seconds of hiss with loud bursts, given as (start, stop) in seconds."""
    samples = HISS.copy()
    for start, stop in bursts:
        samples[round(start * RATE) : round(stop * RATE)] *= 300
    return samples


def test_activity_is_where_the_bursts_are() -> None:
    spans = activity(with_bursts((1.0, 1.4), (3.0, 3.2)), bridge_seconds=0.5)
    np.testing.assert_allclose(np.array(spans) / RATE, [(1.0, 1.4), (3.0, 3.2)], atol=0.06)


def test_activity_bridges_short_pauses_only() -> None:
    samples = with_bursts((1.0, 1.4), (1.7, 2.0), (3.0, 3.2))
    assert len(activity(samples, bridge_seconds=0.5)) == 2
    assert len(activity(samples, bridge_seconds=0.05)) == 3


def test_normalised_sound_has_an_rms_of_one_where_it_is_heard() -> None:
    samples = with_bursts((1.0, 1.4), (3.0, 3.2))
    sound = normalised(Sound(samples, 0, activity(samples, bridge_seconds=0.5)))
    heard = np.concatenate([sound.samples[start:stop] for start, stop in sound.spans])
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(1, rel=1e-3)
    assert np.corrcoef(sound.samples, samples)[0, 1] == pytest.approx(1)


def test_merge_joins_spans_within_reach() -> None:
    assert merge([(10, 20), (0, 5), (26, 30)], 5) == [(0, 20), (26, 30)]
