import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from ssondo_stream.resample import Resampler

NOISE = np.random.default_rng(0).normal(0, 0.1, 30_000).astype(np.float32)


@given(st.lists(st.integers(0, 4000), max_size=20))
@settings(max_examples=30, deadline=None)
def test_streamed_equals_one_shot_however_the_audio_is_cut(sizes: list[int]) -> None:
    stream = Resampler(44_100, 32_000)
    parts = [stream.push(part) for part in np.split(NOISE, np.minimum(np.cumsum(sizes), len(NOISE)))]
    streamed = np.concatenate([*parts, stream.push(NOISE[:0], last=True)])
    np.testing.assert_allclose(streamed, soxr.resample(NOISE, 44_100, 32_000), atol=1e-4)


def test_equal_rates_pass_untouched() -> None:
    assert Resampler(32_000, 32_000).push(NOISE) is NOISE


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_sample_keeps_its_time(rate: int) -> None:
    click = np.zeros(2 * rate, np.float32)
    click[rate] = 1
    stream = Resampler(rate, 32_000)
    out = np.concatenate((stream.push(click), stream.push(click[:0], last=True)))
    assert abs(int(np.argmax(out)) - 32_000) <= 1


def test_reset_equals_a_new_object() -> None:
    stream = Resampler(48_000, 32_000)
    stream.push(NOISE[:777])
    stream.reset()
    np.testing.assert_array_equal(stream.push(NOISE), Resampler(48_000, 32_000).push(NOISE))


def test_impossible_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Resampler(0, 32_000)
