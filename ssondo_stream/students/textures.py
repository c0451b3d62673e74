"""Statistics of the texture of a sound around each column, which nothing has to learn.

How loud each band is and how much it varies, how it changes from frame to frame, the same of cepstral coefficients, how
fast groups of bands fluctuate and in what rhythm tell rain from the sea and from a helicopter, whatever the level.
Source: J. McDermott, E. Simoncelli, "Sound texture perception via statistics of the auditory periphery", Neuron 71,
2011; here of log-mel frames, by sums over frames that a network may carry out.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssondo_stream.students.contexts import CONTEXT_FRAMES, Contexts
from ssondo_stream.students.rhythms import GROUPS, Changes, Modulations, Rhythm, averages

_HALF_GROUPS, _CEPSTRA = GROUPS // 2, 20
_RATES = (1, 3, 5, 8, 13, 21, 40)  # bins of a spectrum over the context, edges of ranges of modulation
_PAIR = 2  # frames that are taken together for it
_LEAST_WEIGHT = 1e-3  # of a silent frame, so that a context of silence has statistics too
_QUIET, _STILL = 1e-4, 1e-3  # variances that are hardly told from none
_LEAST_POWER = 1e-5
_FARTHEST = 3.0  # deviations


class Textures(nn.Module):
    """Frames [batch, time, n_mels] -> statistics [batch, count, columns] of 320 frames around each column.

    None of them depends on the level: a band's mean is relative to that of all bands. Columns near an end have those
    of the first or last 320 frames; fewer frames have statistics too, of what there is.

    Args:
        n_mels: bands, a multiple of 16.
        column_frames: frames from one column to the next.
        audible: value of a frame's loudest band above which it counts as heard, in the units of the frames.

    Raises:
        ValueError: the bands do not divide into groups.
    """

    def __init__(self, n_mels: int = 64, *, column_frames: int = 32, audible: float = -1.4) -> None:
        super().__init__()
        if n_mels < _CEPSTRA or n_mels % GROUPS:
            raise ValueError(f"textures need n_mels of {_CEPSTRA} or more that {GROUPS} divides, got {n_mels}")
        self._contexts = contexts = Contexts(column_frames)
        self._n_mels, self._audible = n_mels, audible
        self.rhythm, self.changes = Rhythm(n_mels, contexts), Changes(n_mels, contexts)
        self.modulations = Modulations(n_mels, contexts)
        others = self.rhythm.count + self.changes.count + self.modulations.count
        self.count = 3 * (n_mels + _CEPSTRA) + _HALF_GROUPS * (len(_RATES) - 1) + n_mels + others
        self.register_buffer("_cosines", _cosines(n_mels), persistent=False)
        self.register_buffer("_groups", averages(n_mels, _HALF_GROUPS), persistent=False)
        self.register_buffer("_waves", _waves(), persistent=False)
        self._cosines: Tensor
        self._groups: Tensor
        self._waves: Tensor

    def forward(self, frames: Tensor) -> Tensor:
        """Statistics of frames [batch, time, n_mels], a column for every `column_frames` that have begun.

        Raises:
            ValueError: the frames have another number of bands.
        """
        if frames.shape[2] != self._n_mels:
            raise ValueError(f"textures of n_mels = {self._n_mels} were given frames of {frames.shape[2]} bands")
        level = frames.mean((1, 2), keepdim=True)  # far from zero a sum of squares leaves little of a small variance
        x = self._contexts.padded((frames - level).transpose(1, 2))
        inside = self._contexts.padded(torch.ones_like(frames[:, :, 0]).unsqueeze(1))
        heard = (x.amax(1, keepdim=True) > self._audible - level).to(x.dtype)
        weight = (heard + _LEAST_WEIGHT) * inside
        found = (
            *self._moments_of(x, weight),
            self._fluctuations(x, inside),
            self._shapes(x[:, ::2], weight),
            self.changes(x, weight),
            self.rhythm(x, inside),
            self.modulations(x, inside),
        )
        return self._contexts.nearest(torch.cat(found, 1), self._contexts.total(inside))

    def _moments_of(self, x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        """Means and deviations of bands and cepstra, and the deviation of their changes."""
        both = functional.pad(weight[..., 1:] * weight[..., :-1], (0, 1))
        bands = torch.cat((x, self._cosines @ x), 1)
        mean, deviation = self._moments(bands, weight)
        _, change = self._moments(functional.pad(bands[..., 1:] - bands[..., :-1], (0, 1)), both)
        loudness = mean[:, :-_CEPSTRA]
        return loudness - loudness.mean(1, keepdim=True), mean[:, -_CEPSTRA:], deviation, change

    def _moments(self, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation."""
        mean = self._contexts.mean(values, weight)
        return mean, ((self._contexts.mean(values * values, weight) - mean * mean).clamp(min=0) + _QUIET).sqrt()

    def _shapes(self, x: Tensor, weight: Tensor) -> Tensor:
        """Skewness and kurtosis of bands: whether they are loud now and then, or mostly."""
        square = x * x
        first, second, third, fourth = (self._contexts.mean(of, weight) for of in (x, square, square * x, square**2))
        variance = (second - first.square()).clamp(min=0) + _STILL
        skewness = (third - 3 * first * second + 2 * first**3) / variance**1.5
        kurtosis = (fourth - 4 * first * third + 6 * first.square() * second - 3 * first**4) / variance.square()
        return torch.cat((skewness, kurtosis), 1)

    def _fluctuations(self, x: Tensor, inside: Tensor) -> Tensor:
        """Log power of the fluctuations of each group of bands, by their rate."""
        groups = self._groups @ x
        groups = (groups - groups.sum(2, keepdim=True) / inside.sum(2, keepdim=True)) * inside
        level = self._contexts.total(groups).unsqueeze(2)  # 0 where the context is not all inside: it is all there is
        rows = functional.avg_pool1d(functional.pad(groups, (0, CONTEXT_FRAMES)), _PAIR).flatten(0, 1).unsqueeze(1)
        waves = functional.conv1d(rows, self._waves, stride=self._contexts.column_frames // _PAIR)
        waves = waves.reshape(-1, _HALF_GROUPS, *waves.shape[1:])[..., : level.shape[3]] - level * self._waves.sum(2)
        cosine, sine = waves.chunk(2, 2)
        power = cosine * cosine + sine * sine
        ranges = [power[:, :, low - 1 : high - 1].sum(2) for low, high in pairwise(_RATES)]
        return (torch.cat(ranges, 1) + _LEAST_POWER).log()


class StandardTextures(nn.Module):
    """Frames [batch, time, n_mels] -> standardised statistics [batch, columns, count], three deviations at most.

    Args:
        mean, deviation: [count], what is usual of each.
        n_mels: as for `Textures`.
    """

    def __init__(self, mean: Tensor, deviation: Tensor, n_mels: int = 64) -> None:
        super().__init__()
        self.textures = Textures(n_mels)
        if mean.shape != (self.textures.count,) or deviation.shape != mean.shape:
            raise ValueError(f"need {self.textures.count} means and deviations, got {mean.shape}, {deviation.shape}")
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.mean: Tensor
        self.deviation: Tensor

    def forward(self, frames: Tensor) -> Tensor:
        """Statistics of frames [batch, time, n_mels]."""
        found: Tensor = self.textures(frames).transpose(1, 2)
        return standardised(found, self.mean, self.deviation)


def standardised(found: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Statistics [..., count] in deviations from what is usual, three at most."""
    return ((found - mean) / deviation).clamp(-_FARTHEST, _FARTHEST)


def _cosines(n_mels: int) -> Tensor:
    """Orthonormal cosine transform, [cepstra, n_mels], without the constant."""
    order = torch.arange(1, _CEPSTRA + 1, dtype=torch.float64)[:, None]
    band = torch.arange(n_mels, dtype=torch.float64) + 0.5
    return (torch.cos(math.pi / n_mels * order * band) * math.sqrt(2 / n_mels)).float()


def _waves() -> Tensor:
    """Cosines and sines of the rates under a Hann window, [2 bins, 1, pairs of frames]."""
    length = CONTEXT_FRAMES // _PAIR
    time = torch.arange(length, dtype=torch.float64) + 0.5
    phase = 2 * math.pi * torch.arange(_RATES[0], _RATES[-1])[:, None] * time / length
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * time / length)
    return (torch.cat((phase.cos(), phase.sin())) * window).unsqueeze(1).float()
