"""Statistics of the texture of a sound around each column, which nothing has to learn.

How loud each band is and how much it varies, how it changes from frame to frame, the same of cepstral coefficients, and
how fast groups of bands fluctuate tell rain from the sea, whatever the level. Source: J. McDermott, E. Simoncelli,
"Sound texture perception via statistics of the auditory periphery", Neuron 71, 2011; here of log-mel frames, by sums
over frames that a network may carry out.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

CONTEXT_FRAMES = 160
_GROUPS, _CEPSTRA = 8, 20
_RATES = (1, 3, 5, 8, 13, 21, 40)  # bins of a spectrum over the context, edges of ranges of modulation
_PAIR = 2  # frames that are taken together for it
_LEAST_WEIGHT = 1e-3  # of a silent frame, so that a context of silence has statistics too
_QUIET = 1e-4  # a variance that is hardly told from none
_LEAST_SHARE = 1e-6
_LEAST_POWER = 1e-5
_COLUMNS_BEFORE = 2  # of the column that a context is of


class Textures(nn.Module):
    """Frames [batch, time, n_mels] -> statistics [batch, count, columns] of 160 frames around each column.

    None of them depends on the level: a band's mean is relative to that of all bands. Columns near an end have those
    of the first or last 160 frames; fewer frames have statistics too, of what there is.

    Args:
        n_mels: bands, a multiple of 8.
        column_frames: frames from one column to the next.
        audible: value of a frame's loudest band above which it counts as heard, in the units of the frames.

    Raises:
        ValueError: the bands do not divide into groups.
    """

    def __init__(self, n_mels: int = 64, *, column_frames: int = 32, audible: float = -1.4) -> None:
        super().__init__()
        if n_mels < _CEPSTRA or n_mels % _GROUPS:
            raise ValueError(f"textures need n_mels of {_CEPSTRA} or more that {_GROUPS} divides, got {n_mels}")
        if CONTEXT_FRAMES % column_frames:
            raise ValueError(f"textures need column_frames that divide {CONTEXT_FRAMES}, got {column_frames}")
        self.count = 3 * (n_mels + _CEPSTRA) + _GROUPS * (len(_RATES) - 1)
        self._n_mels, self._stride, self._audible = n_mels, column_frames, audible
        self.register_buffer("_cosines", _cosines(n_mels), persistent=False)
        self.register_buffer("_groups", _averages(n_mels), persistent=False)
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
        whole = (0, self._stride - 1)  # columns
        x = functional.pad((frames - level).transpose(1, 2), whole)
        inside = functional.pad(torch.ones_like(frames[:, :, 0]).unsqueeze(1), whole)
        return self._of_nearest(self._of_contexts(x, inside, self._audible - level), self._sum(inside))

    def _of_contexts(self, x: Tensor, inside: Tensor, audible: Tensor) -> Tensor:
        """Statistics of 160 frames from every `column_frames` on, some of which may not be `inside`."""
        heard = (x.amax(1, keepdim=True) > audible).to(x.dtype)
        weight = (heard + _LEAST_WEIGHT) * inside
        both = functional.pad(weight[..., 1:] * weight[..., :-1], (0, 1))
        bands = torch.cat((x, self._cosines @ x), 1)
        mean, deviation = self._moments(bands, weight)
        _, change = self._moments(functional.pad(bands[..., 1:] - bands[..., :-1], (0, 1)), both)
        loudness = mean[:, :-_CEPSTRA]
        loudness = loudness - loudness.mean(1, keepdim=True)
        return torch.cat((loudness, mean[:, -_CEPSTRA:], deviation, change, self._fluctuations(x, inside)), 1)

    def _of_nearest(self, of: Tensor, inside: Tensor) -> Tensor:
        """For each column those of the context around it, or of the nearest that is inside altogether."""
        number = torch.ones_like(inside).cumsum(2) - 1
        last = ((inside > 1 - _LEAST_SHARE * CONTEXT_FRAMES).to(of.dtype).sum(2, keepdim=True) - 1).clamp(min=0)
        nearest = torch.minimum((number - _COLUMNS_BEFORE).clamp(min=0), last).long()
        return of.gather(2, nearest.expand(-1, self.count, -1))

    def _sum(self, values: Tensor) -> Tensor:
        """[batch, n, time] -> [batch, n, columns], the share of the context's sum."""
        blocks = CONTEXT_FRAMES // self._stride
        shares = functional.avg_pool1d(values, self._stride)
        return functional.avg_pool1d(functional.pad(shares, (0, blocks - 1)), blocks, 1)

    def _mean(self, values: Tensor, weight: Tensor) -> Tensor:
        return self._sum(values * weight) / self._sum(weight).clamp(min=_LEAST_SHARE)

    def _moments(self, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation."""
        mean = self._mean(values, weight)
        return mean, ((self._mean(values * values, weight) - mean * mean).clamp(min=0) + _QUIET).sqrt()

    def _fluctuations(self, x: Tensor, inside: Tensor) -> Tensor:
        """Log power of the fluctuations of each group of bands, by their rate."""
        groups = self._groups @ x
        groups = (groups - groups.sum(2, keepdim=True) / inside.sum(2, keepdim=True)) * inside
        level = self._sum(groups).unsqueeze(2)  # 0 where the context is not all inside: it then is all there is
        rows = functional.avg_pool1d(functional.pad(groups, (0, CONTEXT_FRAMES)), _PAIR).flatten(0, 1).unsqueeze(1)
        waves = functional.conv1d(rows, self._waves, stride=self._stride // _PAIR)
        waves = waves.reshape(-1, _GROUPS, *waves.shape[1:])[..., : level.shape[3]] - level * self._waves.sum(2)
        cosine, sine = waves.chunk(2, 2)
        power = cosine * cosine + sine * sine
        ranges = [power[:, :, low - 1 : high - 1].sum(2) for low, high in pairwise(_RATES)]
        return (torch.cat(ranges, 1) + _LEAST_POWER).log()


def _cosines(n_mels: int) -> Tensor:
    """Orthonormal cosine transform, [cepstra, n_mels], without the constant."""
    order = torch.arange(1, _CEPSTRA + 1, dtype=torch.float64)[:, None]
    band = torch.arange(n_mels, dtype=torch.float64) + 0.5
    return (torch.cos(math.pi / n_mels * order * band) * math.sqrt(2 / n_mels)).float()


def _averages(n_mels: int) -> Tensor:
    """Of groups of neighbouring bands, [groups, n_mels]."""
    size = n_mels // _GROUPS
    return torch.eye(_GROUPS).repeat_interleave(size, 1) / size


def _waves() -> Tensor:
    """Cosines and sines of the rates under a Hann window, [2 bins, 1, pairs of frames]."""
    length = CONTEXT_FRAMES // _PAIR
    time = torch.arange(length, dtype=torch.float64) + 0.5
    phase = 2 * math.pi * torch.arange(_RATES[0], _RATES[-1])[:, None] * time / length
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * time / length)
    return (torch.cat((phase.cos(), phase.sin())) * window).unsqueeze(1).float()
