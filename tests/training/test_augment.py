import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ssondo_stream.mel import MelConfig, log_mel
from tests.training.parts_distill import RECIPE
from tests.training.parts_extract import tone
from training.augment import (
    Masks,
    background,
    colour,
    gain,
    mix_at_snr,
    random_gain,
    silence,
    sounds_together,
    spec_augment,
    time_roll,
)
from training.hearing import Hearing
from training.mixup import Mixup, draw_mixup
from training.recipe import AugmentSettings

MEL = MelConfig()
NORMALISED = MelConfig(mean=-3.0, std=2.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(seed: int, n: int = 32_000, rms: float = 0.1) -> np.ndarray:
    return (rms * rng(seed).standard_normal(n)).astype(np.float32)


def clips(batch: int = 4, frames: int = 40, mels: int = 24) -> Tensor:
    return torch.from_numpy(rng(9).standard_normal((batch, frames, mels)).astype(np.float32))


def db(ratio: float) -> float:
    return 10 * math.log10(ratio)


def test_mixup_keeps_each_clip_mostly_itself() -> None:
    mixup = draw_mixup(rng(), 1000)
    assert sorted(mixup.partner.tolist()) == list(range(1000))
    assert ((mixup.weight >= 0.5) & (mixup.weight <= 1)).all()
    below = [0.5, 0.75, 0.9, 0.99]
    drawn = np.random.default_rng(1).beta(0.3, 0.3, 100_000)
    expected = [(np.maximum(drawn, 1 - drawn) < edge).mean() for edge in below]
    assert [(mixup.weight < edge).float().mean().item() for edge in below] == pytest.approx(expected, abs=0.06)


def test_mixup_blends_frames_with_those_of_the_partner() -> None:
    frames = clips(3)
    mixed = Mixup(torch.tensor([2, 0, 1]), torch.tensor([1.0, 0.75, 0.5])).blend(frames)
    torch.testing.assert_close(mixed[0], frames[0])
    torch.testing.assert_close(mixed[1], 0.75 * frames[1] + 0.25 * frames[0])
    torch.testing.assert_close(mixed[2], 0.5 * frames[2] + 0.5 * frames[1])


def test_shares_say_what_is_in_each_row() -> None:
    shares = Mixup(torch.tensor([1, 0, 2]), torch.tensor([0.75, 1.0, 0.5])).shares()
    torch.testing.assert_close(shares, torch.tensor([[0.75, 0.25, 0], [0, 1, 0], [0, 0, 1]]))


@pytest.mark.parametrize(
    ("partner", "weight"),
    [(torch.arange(2), torch.ones(3)), (torch.ones(2), torch.ones(2)), (torch.ones(1, 2).long(), torch.ones(1, 2))],
)
def test_mixup_of_other_shapes_is_refused(partner: Tensor, weight: Tensor) -> None:
    with pytest.raises(ValueError, match="need partner"):
        Mixup(partner, weight)


def test_mixup_without_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha > 0, got 0"):
        draw_mixup(rng(), 4, alpha=0)


def test_masks_hide_whole_stretches_and_bands_in_silence() -> None:
    frames, masks = clips(64), Masks(times=1, frames=10, bands=1, mels=6)
    hidden = spec_augment(frames, rng(), NORMALISED, masks) != frames
    stretches, bands = hidden.all(2), hidden.all(1)
    assert torch.equal(hidden, stretches[:, :, None] | bands[:, None, :])
    for found, widest in ((stretches, 10), (bands, 6)):
        assert (found.sum(1) <= widest).all()
        assert found.sum(1).unique().numel() > widest // 2
        edges = found.int().diff(dim=1, prepend=torch.zeros(64, 1), append=torch.zeros(64, 1))
        assert (edges.abs().sum(1) <= 2).all()
    assert (spec_augment(frames, rng(), NORMALISED, masks)[hidden] == silence(NORMALISED)).all()


def test_masks_reach_both_ends() -> None:
    hidden = spec_augment(clips(400), rng(), MEL, Masks(1, 10, 1, 6)) == torch.tensor(silence(MEL))
    assert hidden.all(2).any(0).all()
    assert hidden.all(1).any(0).all()


def test_silence_is_what_the_front_end_makes_of_zeros() -> None:
    np.testing.assert_allclose(log_mel(np.zeros(4096, np.float32), NORMALISED), silence(NORMALISED), rtol=1e-6)


@pytest.mark.parametrize("masks", [Masks(0, 64, 0, 16), Masks(2, 0, 2, 0)])
def test_no_masks_leave_frames_as_they_are(masks: Masks) -> None:
    assert torch.equal(spec_augment(clips(), rng(), MEL, masks), clips())


def test_masks_wider_than_the_clip_are_cut() -> None:
    assert spec_augment(clips(), rng(), MEL, Masks(1, 10_000, 1, 10_000)).shape == clips().shape


def test_negative_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        Masks(times=-1)


@pytest.mark.parametrize("most", [None, 3])
def test_roll_shifts_each_clip_by_its_own_count(most: int | None) -> None:
    frames = clips(200)
    rolled = time_roll(frames, rng(), most)
    limit = 20 if most is None else most
    shifts = [
        next(s for s in range(-limit, limit + 1) if torch.equal(clip.roll(s, 0), new))
        for clip, new in zip(frames, rolled, strict=True)
    ]
    assert len(set(shifts)) > limit


@pytest.mark.parametrize("mel", [MEL, NORMALISED])
@pytest.mark.parametrize("decibels", [-30.0, -6.0, 0.0, 12.0])
def test_gain_is_what_the_front_end_gives_for_scaled_audio(mel: MelConfig, decibels: float) -> None:
    samples = noise(1) * np.linspace(0, 1, 32_000, dtype=np.float32) ** 4
    expected = log_mel((samples * 10 ** (decibels / 20)).astype(np.float32), mel)
    found = gain(torch.from_numpy(log_mel(samples, mel))[None], torch.tensor([decibels]), mel)[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)


def test_gain_leaves_silence_silent() -> None:
    frames = torch.full((1, 5, 128), silence(MEL))
    torch.testing.assert_close(gain(frames, torch.tensor([40.0]), MEL), frames)


def test_random_gain_is_drawn_from_its_range_for_each_clip() -> None:
    frames = torch.full((500, 1, 1), 5.0)  # far above the offset
    decibels = (random_gain(frames, rng(), MEL, (-6, 3)) - frames).flatten() * 10 / math.log(10)
    assert decibels.min() == pytest.approx(-6, abs=0.1)
    assert decibels.max() == pytest.approx(3, abs=0.1)


def test_colour_of_no_deviation_changes_nothing() -> None:
    frames = torch.from_numpy(log_mel(noise(1), NORMALISED))[None]
    torch.testing.assert_close(colour(frames, rng(), NORMALISED, 0.0), frames, atol=1e-5, rtol=1e-5)


def test_colour_leaves_silence_silent() -> None:
    frames = torch.full((3, 5, 128), silence(NORMALISED))
    torch.testing.assert_close(colour(frames, rng(), NORMALISED, 20.0), frames)


def coloured_db(clips: int, deviation: float, mels: int = 126) -> Tensor:
    """What colour does to loud frames, [clips, 4, mels] in dB."""
    frames = torch.full((clips, 4, mels), 5.0) + torch.arange(4)[:, None]  # far above the offset
    return (colour(frames, rng(), MEL, deviation) - frames) * 10 / math.log(10)


def test_colour_is_a_smooth_curve_over_frequency_that_stays_the_same() -> None:
    curves = coloured_db(8, 6.0)
    torch.testing.assert_close(curves, curves[:, :1].expand_as(curves), atol=1e-2, rtol=0)
    bends = (curves[:, 0].diff(n=2).abs() > 1e-2).nonzero()[:, 1] + 1
    assert set(bends.tolist()) == {25, 50, 75, 100}  # the inner ones of six knots
    assert curves[:, 0].diff().abs().max() < 1


def test_colour_is_drawn_for_each_clip_with_its_deviation() -> None:
    knots = coloured_db(1000, 3.0)[:, 0, ::25]
    torch.testing.assert_close(knots.mean(0), torch.zeros(6), atol=0.3, rtol=0)
    torch.testing.assert_close(knots.std(0), torch.full((6,), 3.0), atol=0.3, rtol=0)
    assert np.abs(np.corrcoef(knots.numpy().T) - np.eye(6)).max() < 0.15


def test_colour_is_heard_where_the_recipe_wants_it(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")

    def heard(deviation: float) -> Tensor:
        recipe = replace(RECIPE, augment=AugmentSettings(colour_db=deviation))
        return Hearing(recipe, (tmp_path / "a.wav",), (), 0, tmp_path).frames(0, rng(5))

    expected = colour(heard(0.0)[None], rng(5), RECIPE.mel, 6.0)[0]
    assert (expected - heard(0.0)).abs().max() > 0.1
    torch.testing.assert_close(heard(6.0), expected)


@pytest.mark.parametrize("deviation", [-1.0, math.inf, math.nan])
def test_impossible_colour_is_refused(deviation: float) -> None:
    with pytest.raises(ValueError, match="need colour_db >= 0, got"):
        AugmentSettings(colour_db=deviation)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
def test_noise_is_added_at_its_ratio(snr: float) -> None:
    samples, other = noise(1, rms=0.3), noise(2, rms=0.001)
    added = mix_at_snr(samples, other, snr) - samples
    assert db(np.mean(samples**2) / np.mean(added**2)) == pytest.approx(snr, abs=0.01)
    assert np.corrcoef(added, other)[0, 1] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("samples", "other"), [(noise(1), np.zeros(32_000)), (np.zeros(32_000), noise(1))])
def test_silence_has_no_ratio_and_changes_nothing(samples: np.ndarray, other: np.ndarray) -> None:
    mixed = mix_at_snr(samples.astype(np.float32), other.astype(np.float32), 10)
    np.testing.assert_array_equal(mixed, samples)


@pytest.mark.parametrize("length", [100, 32_000, 50_000])
def test_background_of_any_length_fits(length: int) -> None:
    samples, other = noise(1), noise(2, length)
    added = background(samples, other, rng(), (10, 20)) - samples
    assert 10 <= db(np.mean(samples**2) / np.mean(added**2)) <= 20
    if length == 100:
        np.testing.assert_allclose(added[:100], added[100:200], atol=1e-6)


def test_background_is_a_random_part() -> None:
    other = noise(2, 64_000)
    first, second = (background(noise(1), other, rng(seed), (10, 10)) for seed in (1, 2))
    assert not np.allclose(first, second)


def test_empty_background_is_refused() -> None:
    with pytest.raises(ValueError, match="a background with samples"):
        background(noise(1), np.zeros(0, np.float32), rng())


def test_noise_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="need as much noise as samples, got 5 and 32000"):
        mix_at_snr(noise(1), noise(1, 5), 0)


def test_same_generator_gives_the_same_augmentation() -> None:
    def augmented(seed: int) -> Tensor:
        draw = rng(seed)
        frames = draw_mixup(draw, 4).blend(clips())
        return random_gain(time_roll(spec_augment(frames, draw, MEL), draw), draw, MEL)

    assert torch.equal(augmented(3), augmented(3))
    assert not torch.equal(augmented(3), augmented(4))


def test_sounds_blended_by_energy_are_what_the_front_end_gives_for_both_at_once() -> None:
    time = np.arange(32_000) / 32_000
    low, high = (np.sin(2 * np.pi * pitch * time).astype(np.float32) for pitch in (500.0, 6000.0))
    frames = torch.from_numpy(np.stack([log_mel(one, MEL) for one in (low, high)]))
    both = torch.from_numpy(log_mel((np.sqrt(0.7) * low + np.sqrt(0.3) * high).astype(np.float32), MEL))
    mixup = Mixup(torch.tensor([1, 0]), torch.tensor([0.7, 0.7]))
    blended = sounds_together(frames, mixup, MEL)[0]
    assert (blended - both).abs().mean() < 0.02
    assert (mixup.blend(frames)[0] - both).abs().mean() > 0.2


def test_silence_blended_by_energy_stays_silence() -> None:
    frames = torch.full((2, 4, NORMALISED.n_mels), silence(NORMALISED))
    mixup = Mixup(torch.tensor([1, 0]), torch.tensor([0.6, 0.6]))
    torch.testing.assert_close(sounds_together(frames, mixup, NORMALISED), frames)
