import numpy as np
import pytest

from ssondo_stream.types import Samples
from training.alarms import siren, smoke_alarm, temporal_three
from training.labels import SIREN, SMOKE_ALARM
from training.sounds import RATE


def beeps(samples: Samples) -> list[tuple[float, float]]:
    """Start and stop in seconds of every stretch that is not silent, measured in the waveform."""
    loud = np.abs(samples[: len(samples) // 32 * 32]).reshape(-1, 32).max(axis=1) > 0.05
    edges = np.flatnonzero(np.diff(np.concatenate(([False], loud, [False])).astype(int)))
    return [(start / 1000, stop / 1000) for start, stop in edges.reshape(-1, 2)]


def peak_hz(samples: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples[: RATE // 2]))
    return float(spectrum.argmax()) * 2


def test_temporal_three_beeps_as_iso_8201_says() -> None:
    starts = [0, 1, 2, 4, 5, 6]
    expected = [(start, start + 0.5) for start in starts]
    np.testing.assert_allclose(beeps(temporal_three(cycles=2)), expected, atol=0.003)


@pytest.mark.parametrize(("frequency", "drive"), [(3100.0, 0.0), (3100.0, 12.0), (520.0, 20.0)])
def test_alarm_sounds_at_its_frequency(frequency: float, drive: float) -> None:
    samples = temporal_three(frequency, drive=drive)
    assert peak_hz(samples) == pytest.approx(frequency, abs=2)
    assert 0.98 <= np.abs(samples).max() <= 1


def test_520_hz_alarm_is_a_square_wave() -> None:
    spectrum = np.abs(np.fft.rfft(temporal_three(520.0, drive=20.0)[: RATE // 2]))
    assert spectrum[780] == pytest.approx(spectrum[260] / 3, rel=0.1)
    assert spectrum[520] < spectrum[260] / 100


def test_random_alarm_is_one_event_from_the_first_beep_to_the_last() -> None:
    sound = smoke_alarm(np.random.default_rng(3))
    heard = beeps(sound.samples / np.abs(sound.samples).max())
    assert (sound.label, sound.spans) == (SMOKE_ALARM, ((0, len(sound.samples)),))
    assert len(heard) % 3 == 0
    assert heard[0][0] < 0.01
    assert heard[-1][1] == pytest.approx(len(sound.samples) / RATE, abs=0.01)


def test_random_alarms_differ_and_repeat_with_their_seed() -> None:
    first, again, other = (siren(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.samples, again.samples)
    assert len(first.samples) != len(other.samples)
    assert first.label == SIREN
