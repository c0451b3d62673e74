"""Augmentation: hidden stretches and bands, shifts in time, other levels, other backgrounds.

A student hears the altered clip and is asked for the teacher's embedding of the clip as it was, so each alters what the
embedding should not depend on. Chance comes from the generator that is handed in, and from nowhere else.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ssondo_stream.mel import MelConfig
from ssondo_stream.types import Samples
from training.mixup import Mixup

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Masks:
    """How much SpecAugment hides.

    Attributes:
        times, frames: so many stretches of each clip, of up to so many frames.
        bands, mels: so many bands of it, of up to so many mel bins.
    """

    times: int = 2
    frames: int = 64
    bands: int = 2
    mels: int = 16

    def __post_init__(self) -> None:
        if min(self.times, self.frames, self.bands, self.mels) < 0:
            raise ValueError(f"masks must not be negative, got {self}")


def silence(mel: MelConfig) -> float:
    """What digital silence is in the log-mel domain."""
    return (math.log(mel.offset) - mel.mean) / mel.std


def spec_augment(frames: Tensor, rng: np.random.Generator, mel: MelConfig, masks: Masks | None = None) -> Tensor:
    """SpecAugment (Park et al. 2019): random stretches and bands of each clip become digital silence.

    Args:
        frames: [b, t, m] log-mel.
        rng: the only source of chance.
        mel: the front end, for what silence is.
        masks: how much is hidden; a stretch may begin anywhere that it fits.
    """
    masks = masks or Masks()
    batch, length, mels = frames.shape
    stretches = _masked(rng, batch, length, masks.times, masks.frames)[:, :, None]
    bands = _masked(rng, batch, mels, masks.bands, masks.mels)[:, None, :]
    return frames.masked_fill((stretches | bands).to(frames.device), silence(mel))


def time_roll(frames: Tensor, rng: np.random.Generator, most: int | None = None) -> Tensor:
    """Shift each clip in a circle, by up to `most` frames either way, or any number; [b, t, m]."""
    batch, length, _ = frames.shape
    most = length // 2 if most is None else most
    shifts = rng.integers(-most, most, size=(batch, 1), endpoint=True)
    index = torch.from_numpy((np.arange(length) - shifts) % length).to(frames.device)
    return frames.gather(1, index[:, :, None].expand_as(frames))


def gain(frames: Tensor, decibels: Tensor, mel: MelConfig) -> Tensor:
    """What the front end would have given for louder or softer audio.

    A frame is x = ln(E + o), normalised, and a gain of g dB multiplies the energy E alone, not the offset o:
    x' = ln(10^(g / 10) E + o) = ln o + ln(1 + 10^(g / 10) (e^(x - ln o) - 1)). Adding a constant to x instead would
    raise the floor that silence lies on, which no microphone does.

    Args:
        frames: [b, t, m] log-mel.
        decibels: [b].
        mel: the front end.
    """
    return _amplified(frames, decibels[:, None, None], mel)


def random_gain(frames: Tensor, rng: np.random.Generator, mel: MelConfig, decibels: Range = (-12.0, 12.0)) -> Tensor:
    """Give each clip a level of its own, by a gain drawn evenly from a range in dB; [b, t, m]."""
    return gain(frames, torch.from_numpy(rng.uniform(*decibels, size=len(frames))).to(frames.device), mel)


def colour(frames: Tensor, rng: np.random.Generator, mel: MelConfig, deviation_db: float, knots: int = 6) -> Tensor:
    """What another microphone would have heard: each clip through a smooth random curve over frequency; [b, t, m].

    The curve is linear between knots, evenly spaced over the mel bins, whose gains are drawn from N(0, deviation_db).
    """
    gains = rng.normal(0, deviation_db, size=(len(frames), knots))
    place = np.linspace(0, knots - 1, frames.shape[2])
    curves = np.stack([np.interp(place, np.arange(knots), one) for one in gains]).astype(np.float32)
    return _amplified(frames, torch.from_numpy(curves)[:, None, :], mel)


def sounds_together(frames: Tensor, mixup: Mixup, mel: MelConfig) -> Tensor:
    """Clips blended as sounds add up: the energies E of each and of its partner by their weights; [b, t, m]."""
    floor = math.log(mel.offset)
    energy = torch.expm1((frames * mel.std + mel.mean - floor).clamp_min(0))
    return (torch.log1p(mixup.blend(energy)) + floor - mel.mean) / mel.std


def mix_at_snr(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Add noise at a ratio of mean powers, 10 log10(P_samples / P_noise) = snr_db.

    Where either is digital silence there is no such ratio, and the samples stay as they are. The sum may exceed full
    scale; it is not clipped.

    Args:
        samples: [n].
        noise: [n].
        snr_db: in dB.
    """
    if samples.shape != noise.shape:
        raise ValueError(f"need as much noise as samples, got {len(noise)} and {len(samples)}")
    wanted = _power(samples) / 10 ** (snr_db / 10)
    present = _power(noise)
    scale = math.sqrt(wanted / present) if present > 0 else 0.0
    return np.asarray(samples + np.float32(scale) * noise, np.float32)


def background(samples: Samples, noise: Samples, rng: np.random.Generator, snr_db: Range = (5.0, 30.0)) -> Samples:
    """Add a random part of a background, repeated where it is too short, at a ratio drawn evenly from a range in dB.

    Args:
        samples: [n].
        noise: [m], m > 0.
        rng: the only source of chance.
        snr_db: in dB.
    """
    if not len(noise):
        raise ValueError("need a background with samples")
    start = int(rng.integers(max(1, len(noise) - len(samples) + 1)))
    part = np.take(noise, np.arange(start, start + len(samples)), mode="wrap")
    return mix_at_snr(samples, part, rng.uniform(*snr_db))


def _amplified(frames: Tensor, decibels: Tensor, mel: MelConfig) -> Tensor:
    """The formula of `gain`, for any shape that fits the frames'."""
    floor = math.log(mel.offset)
    factor = (decibels * (math.log(10) / 10)).exp().to(frames)
    above = torch.expm1((frames * mel.std + mel.mean - floor).clamp_min(0))
    return (torch.log1p(factor * above) + floor - mel.mean) / mel.std


def _masked(rng: np.random.Generator, batch: int, size: int, count: int, widest: int) -> Tensor:
    """[batch, size] booleans: `count` random intervals of up to `widest` in each row."""
    width = rng.integers(0, min(widest, size), size=(batch, count, 1), endpoint=True)
    start = rng.integers(0, size - width, endpoint=True)
    place = np.arange(size)
    return torch.from_numpy(((place >= start) & (place < start + width)).any(1))


def _power(samples: Samples) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
