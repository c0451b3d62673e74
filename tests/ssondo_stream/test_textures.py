"""Statistics of textures: as numpy says, and whatever the level."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssondo_stream.mel import MelConfig
from ssondo_stream.students.contexts import CONTEXT_FRAMES
from ssondo_stream.students.rhythms import LAGS, PATCH, RATES, SCALES, STEPS
from ssondo_stream.students.textures import Textures

Values = NDArray[np.float64]
MEL = MelConfig(n_mels=64, offset=1e-6, mean=-5.0, std=5.0)
RATE = MEL.sample_rate
BANDS, CEPSTRA, GROUPS, SPEEDS = 64, 20, 8, 6
NOT_FOR_RATES = 3 * (BANDS + CEPSTRA)
SHAPES = NOT_FOR_RATES + SPEEDS * GROUPS
CHANGES = SHAPES + BANDS
RHYTHM = CHANGES + len(STEPS) * 2 * GROUPS
MODULATIONS = RHYTHM + (GROUPS + 1) * (len(LAGS) - 1)
COUNT = MODULATIONS + 2 * (len(RATES) - 1) * (len(SCALES) - 1)
FIRST, LAST = 5, 14  # columns of ten seconds whose contexts are whole
FRAMES_A_SECOND = RATE / MEL.hop


def heard(frames: int, seed: int = 0) -> Tensor:
    """Frames [1, frames, 64] of something that changes, all of them loud enough to be heard."""
    rng = np.random.default_rng(seed)
    swell = np.sin(np.arange(frames) / rng.uniform(3, 30, (BANDS, 1))).T
    return torch.from_numpy(0.3 * swell + 0.2 * rng.normal(size=(frames, BANDS)) + 0.5).float()[None]


@torch.no_grad()
def statistics(frames: Tensor) -> Tensor:
    """[count, columns]."""
    found: Tensor = Textures(BANDS)(frames)[0]
    return found


def test_moments_are_those_of_the_context_of_each_column() -> None:
    frames, begin = heard(624), 3 * 32
    beyond = frames[0, begin : begin + CONTEXT_FRAMES + 1].double().numpy()  # the last step leads out of the context
    context = beyond[:-1]
    found = statistics(frames)[:, 3 + FIRST].double().numpy()
    mean, deviation, change = context.mean(0), context.std(0), np.diff(beyond, axis=0).std(0)
    np.testing.assert_allclose(found[:BANDS], mean - mean.mean(), atol=1e-5)
    np.testing.assert_allclose(found[84 : 84 + BANDS], deviation, rtol=5e-3)
    np.testing.assert_allclose(found[168 : 168 + BANDS], change, rtol=5e-3)


def test_silence_between_sounds_counts_for_nothing() -> None:
    """As without it, but for the few frames where one begins."""
    frames = heard(CONTEXT_FRAMES)
    silent = frames.clone()
    silent[:, ::4] = -3.0
    kept = frames[0, torch.arange(CONTEXT_FRAMES) % 4 != 0].double().numpy()
    found = statistics(silent)[:, 0].double().numpy()
    np.testing.assert_allclose(found[:BANDS], kept.mean(0) - kept.mean(), atol=0.02)
    np.testing.assert_allclose(found[84 : 84 + BANDS], kept.std(0), rtol=0.05)


@pytest.mark.parametrize(("rate", "number"), [(0.3, 0), (0.7, 1), (1.2, 2), (2.0, 3), (3.2, 4), (6.0, 5)])
def test_a_fluctuation_has_most_power_at_its_rate(rate: float, number: int) -> None:
    frames = torch.randn(1, 624, BANDS, generator=torch.manual_seed(0)) * 0.01
    frames[0, :, 16:24] += 0.5 * torch.sin(2 * torch.pi * rate * torch.arange(624) / FRAMES_A_SECOND)[:, None]
    power = statistics(frames)[NOT_FOR_RATES:SHAPES].reshape(SPEEDS, GROUPS, -1)
    assert (power[:, 2].argmax(0) == number).all()
    assert (power[number].argmax(0) == 2).all()


def test_shapes_tell_what_is_loud_now_and_then() -> None:
    context = heard(624)[0, :CONTEXT_FRAMES, ::2].double().numpy()
    found = statistics(heard(624))[SHAPES:CHANGES, FIRST].double().numpy()
    variance = context.var(0) + 1e-3
    skewness, kurtosis = (((context - context.mean(0)) ** power).mean(0) / variance ** (power / 2) for power in (3, 4))
    np.testing.assert_allclose(found, np.concatenate([skewness, kurtosis]), atol=1e-3)


def test_changes_are_those_within_each_step() -> None:
    frames = heard(624)
    groups = frames[0].double().numpy().reshape(624, 2 * GROUPS, -1).mean(2)
    steps = [groups[step : CONTEXT_FRAMES + step] - groups[:CONTEXT_FRAMES] for step in STEPS]
    expected = [0.5 * np.log((step**2).mean(0) + 1e-4) for step in steps]
    found = statistics(frames)[CHANGES:RHYTHM, FIRST].double().numpy()
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-4)


def test_rhythm_is_how_much_a_change_is_like_a_later_one() -> None:
    frames = heard(624)
    values = frames[0].double().numpy()
    groups = np.concatenate([values.reshape(624, GROUPS, -1).mean(2), values.mean(1, keepdims=True)], axis=1)
    change = np.diff(groups, axis=0, prepend=groups[:1])
    now = change[:CONTEXT_FRAMES]
    alike = {lag: (now * change[lag : lag + CONTEXT_FRAMES]).sum(0) for lag in range(LAGS[0], LAGS[-1])}
    energy = (now**2).sum(0) + 3e-6 * CONTEXT_FRAMES
    expected = [max_of(alike, low, high) / energy for low, high in pairwise(LAGS)]
    found = statistics(frames)[RHYTHM:MODULATIONS, FIRST].double().numpy()
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-4)


def max_of(alike: dict[int, Values], low: int, high: int) -> Values:
    return np.asarray(np.max([alike[lag] for lag in range(low, high)], axis=0), np.float64)


def test_a_beat_is_like_itself_a_beat_later() -> None:
    frames = torch.zeros(1, 624, BANDS)
    frames[0, ::22] = 1.0
    found = statistics(frames)[RHYTHM:MODULATIONS, FIRST].reshape(len(LAGS) - 1, GROUPS + 1)
    ranges = list(pairwise(LAGS))
    once, twice = ranges.index((20, 25)), ranges.index((40, 50))
    assert (found[[once, twice]] > 0.9).all()
    assert (found[[i for i in range(len(ranges)) if i not in (once, twice)]] < 0.1).all()


def test_modulations_are_powers_of_a_fourier_transform_over_bands_and_time() -> None:
    frames = heard(624)
    values = frames[0].double().numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(PATCH) / PATCH)
    power = np.zeros((PATCH, BANDS))
    starts = range(0, CONTEXT_FRAMES - PATCH + 1, 16)
    for start in starts:
        patch = values[start : start + PATCH]
        power += np.abs(np.fft.fft2((patch - patch.mean(0)) * window[:, None])) ** 2 / len(starts)
    expected = [
        np.log(power[np.ix_(way * np.arange(*rates) % PATCH, np.arange(*scales))].mean() + 4e-5)
        for way in (1, -1)
        for scales in pairwise(SCALES)
        for rates in pairwise(RATES)
    ]
    np.testing.assert_allclose(statistics(frames)[MODULATIONS:, FIRST].double().numpy(), expected, atol=2e-3)


def test_what_rises_is_told_from_what_falls() -> None:
    time, band = torch.arange(624)[:, None], torch.arange(BANDS)
    both = [torch.sin(2 * torch.pi * (4 * band / BANDS - way * 4 * time / PATCH))[None] for way in (1, -1)]
    ways = [statistics(sweep)[MODULATIONS:, FIRST].reshape(2, -1).amax(1) for sweep in both]
    assert ways[0].argmax() != ways[1].argmax()
    assert all((way.max() - way.min()) > 5 for way in ways)


def test_the_level_tells_nothing() -> None:
    torch.testing.assert_close(statistics(heard(624)), statistics(heard(624) + 0.7), atol=1e-3, rtol=1e-3)


def test_columns_near_an_end_have_what_the_nearest_context_has() -> None:
    found = statistics(heard(624))
    assert found.shape == (COUNT, 20)
    for column, nearest in ((0, FIRST), (FIRST - 1, FIRST), (LAST + 1, LAST), (19, LAST)):
        torch.testing.assert_close(found[:, column], found[:, nearest])
    assert (found[:, FIRST] != found[:, FIRST + 1]).any()


@pytest.mark.parametrize("frames", [8, 16, 104, 160, 168, 304, 624])
def test_any_length_has_statistics_of_every_column(frames: int) -> None:
    for sound in (heard(frames), torch.full((1, frames, BANDS), -1.76)):
        found = statistics(sound)
        assert found.shape == (COUNT, -(-frames // 32))
        assert found.isfinite().all()
        assert found.abs().max() < CONTEXT_FRAMES  # the kurtosis of a single loud frame


@pytest.mark.parametrize(
    ("bands", "column", "message"), [(60, 32, "n_mels"), (16, 32, "n_mels"), (64, 48, "column"), (64, 8, "16 divides")]
)
def test_what_cannot_be_divided_is_refused(bands: int, column: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Textures(bands, column_frames=column)


def test_frames_of_other_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="n_mels = 64 were given frames of 128 bands"):
        statistics(torch.zeros(1, 32, 128))
