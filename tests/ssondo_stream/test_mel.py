import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssondo_stream.mel import MelConfig, MelStream, filterbank, log_mel
from tests.parts_shared import seeded, shared

NOISE = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)


def test_ten_seconds_are_624_frames_of_128_mels() -> None:
    assert log_mel(np.zeros(320_000, np.float32)).shape == (624, 128)


def test_digital_silence_is_the_log_of_the_offset() -> None:
    np.testing.assert_allclose(log_mel(np.zeros(2048, np.float32)), np.log(1e-3), rtol=1e-6)


def test_white_noise_has_the_published_mean_and_spread() -> None:
    frames = log_mel(np.random.default_rng(1).normal(0, 0.1, 320_000).astype(np.float32))
    assert frames.mean() == pytest.approx(-2.33, abs=0.02)
    assert frames.std() == pytest.approx(0.75, abs=0.02)


def test_filterbank_has_the_published_weights() -> None:
    filters = filterbank(MelConfig())
    assert filters.shape == (513, 128)
    assert np.count_nonzero(filters) == 1005
    assert (filters.max(axis=0) > 0).all()
    assert filters.max() == pytest.approx(0.0348, abs=1e-4)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 0), (1023, 0), (1024, 1), (1535, 1), (1536, 2)])
def test_a_frame_needs_all_of_its_samples(samples: int, frames: int) -> None:
    config = MelConfig()
    assert log_mel(NOISE[:samples]).shape == (frames, 128)
    assert config.frames_in(samples) == frames
    assert config.samples_for(frames) <= samples


@given(st.lists(st.integers(0, 5000), max_size=30))
@settings(max_examples=50, deadline=None)
def test_streamed_equals_one_shot_however_the_audio_is_cut(sizes: list[int]) -> None:
    stream = MelStream()
    parts = [stream.push(part) for part in np.split(NOISE, np.minimum(np.cumsum(sizes), len(NOISE)))]
    np.testing.assert_allclose(np.concatenate(parts), log_mel(NOISE), atol=2e-6)


def test_reset_equals_a_new_object() -> None:
    stream = MelStream()
    stream.push(NOISE[:700])
    stream.reset()
    np.testing.assert_array_equal(stream.push(NOISE[:3000]), MelStream().push(NOISE[:3000]))


@pytest.mark.parametrize("wrong", [{"hop": 0}, {"hop": 2048}, {"f_max": 20_000}, {"f_min": 16_000}, {"offset": 0}])
def test_impossible_configuration_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need"):
        MelConfig(**wrong)  # type: ignore[arg-type]


def test_filters_narrower_than_a_bin_are_refused() -> None:
    with pytest.raises(ValueError, match="n_mels=900 is too many"):
        filterbank(MelConfig(n_mels=900))


@pytest.mark.parametrize("clip", [0, 1])
def test_log_mel_is_that_of_the_published_front_end(clip: int) -> None:
    golden = np.load(shared("golden") / "student_mn.npz")["log_mel"][clip, 0].T
    np.testing.assert_allclose(log_mel(seeded().audio(10, 32_000, clip + 1)), golden, atol=2e-5)
