"""Statistics of how a sound moves: its rhythm, how fast it changes, and which way patterns run over bands and time.

Rhythms tell a helicopter from rain and a clock from a fire. Sources: of modulations T. Chi, P. Ru, S. Shamma,
"Multiresolution spectrotemporal analysis of complex sounds", JASA 118, 2005; of rhythm by autocorrelation
G. Tzanetakis, P. Cook, "Musical genre classification of audio signals", IEEE Trans. Speech and Audio Processing, 2002.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssondo_stream.students.contexts import STEP_FRAMES, Contexts

GROUPS = 16
LAGS = (2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 64)  # frames, edges of ranges
STEPS = (1, 2, 4, 8, 16, 32)  # frames over which a change is measured
PATCH = 64  # frames that modulations are found in
RATES = (1, 2, 3, 4, 6, 9, 13, 19, 27, 32)  # cycles in a patch, edges of ranges
SCALES = (0, 1, 2, 3, 5, 8, 12, 18, 26, 32)  # cycles over all bands, edges of ranges
_QUIET = 1e-4
_LEAST_ENERGY = 3e-6  # of changes, in which there is no rhythm
_LEAST_POWER = 4e-5
_LEAST_WEIGHT = 1e-3  # of a patch that sticks out


class Rhythm(nn.Module):
    """By group of bands, and of all together: how much a change is like another some frames later.

    Of each range of lags it is the largest correlation. [batch, n_mels, time] -> [batch, 9 * 14, columns].
    """

    _voices = GROUPS // 2 + 1
    count = _voices * (len(LAGS) - 1)

    def __init__(self, n_mels: int, contexts: Contexts) -> None:
        super().__init__()
        self._contexts = contexts
        self.register_buffer(
            "_groups", torch.cat((averages(n_mels, GROUPS // 2), averages(n_mels, 1))), persistent=False
        )
        self.register_buffer("_lags", torch.arange(LAGS[0], LAGS[-1])[:, None], persistent=False)
        self._groups: Tensor
        self._lags: Tensor

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """Correlations of x [batch, n_mels, time], where it is `inside`."""
        of = self._groups @ x
        change = functional.pad((of[..., 1:] - of[..., :-1]) * inside[..., 1:], (1, 0))
        energy = self._contexts.total(change * change) + _LEAST_ENERGY
        alike = self._alike(change).reshape(-1, self._voices, LAGS[-1] - LAGS[0], energy.shape[2])
        ranges = [alike[:, :, low - LAGS[0] : high - LAGS[0]].amax(2) / energy for low, high in pairwise(LAGS)]
        return torch.cat(ranges, 1)

    def _alike(self, change: Tensor) -> Tensor:
        """Sums of products of changes [batch, voices, time] with later ones, [batch, voices * lags, columns].

        Time comes first: engines gather rows many times as fast as single numbers.
        """
        by_time = change.flatten(0, 1).transpose(0, 1)
        place = (torch.ones_like(by_time[:, 0]).cumsum(0) - 1).long() + self._lags
        later = functional.pad(by_time, (0, 0, 0, LAGS[-1])).index_select(0, place.flatten())
        products = later.reshape(1, len(self._lags), -1, by_time.shape[1]) * by_time
        size = self._contexts.column_frames
        shares = functional.avg_pool2d(products, (size, 1)).permute(3, 1, 2, 0)
        shares = shares.reshape(-1, self._voices * len(self._lags), shares.shape[2])
        return self._contexts.of_steps(shares, self._contexts.columns, 1)


class Changes(nn.Module):
    """By group of bands: log deviation of what changes within so many frames. -> [batch, 6 * 16, columns]."""

    count = GROUPS * len(STEPS)

    def __init__(self, n_mels: int, contexts: Contexts) -> None:
        super().__init__()
        self._contexts = contexts
        self.register_buffer("_groups", averages(n_mels, GROUPS), persistent=False)
        self._groups: Tensor

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Of x [batch, n_mels, time], whose frames count by their weights [batch, 1, time]."""
        groups = self._groups @ x
        return torch.cat([self._within(groups, weight, step) for step in STEPS], 1)

    def _within(self, groups: Tensor, weight: Tensor, step: int) -> Tensor:
        change = functional.pad(groups, (0, step))[..., step:] - groups
        both = functional.pad(weight, (0, step))[..., step:] * weight
        return 0.5 * (self._contexts.mean(change * change, both) + _QUIET).log()


class Modulations(nn.Module):
    """Log power of the patterns that run up and down, by their rate and scale. -> [batch, 2 * 9 * 9, columns].

    Of patches of a second, each a two-dimensional Fourier transform under a Hann window.
    """

    count = 2 * (len(RATES) - 1) * (len(SCALES) - 1)

    def __init__(self, n_mels: int, contexts: Contexts) -> None:
        super().__init__()
        self._contexts, self._every = contexts, contexts.column_frames // STEP_FRAMES
        self.register_buffer("_scales", _waves_over_bands(n_mels), persistent=False)
        self.register_buffer("_rates", _waves_over_time(), persistent=False)
        self.register_buffer("_of_scales", _ranges(SCALES, SCALES[0]), persistent=False)
        self.register_buffer("_of_rates", _ranges(RATES, RATES[0]), persistent=False)
        self._scales: Tensor
        self._rates: Tensor
        self._of_scales: Tensor
        self._of_rates: Tensor

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """Of x [batch, n_mels, time], which is 0 where it is not `inside`."""
        beyond = (0, PATCH - self._contexts.column_frames)  # so that a column begins with every second patch
        rows = functional.pad(self._scales @ x, beyond).flatten(0, 1).unsqueeze(1)
        found = functional.conv1d(rows, self._rates, stride=STEP_FRAMES)
        found = found.reshape(-1, 2, SCALES[-1], 2, RATES[-1] - 1, found.shape[2])
        (both, mixed), (turned, neither) = ((part[:, :, 0], part[:, :, 1]) for part in found.unbind(1))
        up = (both - neither).square() + (mixed + turned).square()
        down = (both + neither).square() + (mixed - turned).square()
        power = torch.stack((up, down), 1).permute(0, 1, 4, 2, 3)  # [batch, way, patch, scale, rate]
        power = (self._of_scales @ power @ self._of_rates.T).permute(0, 1, 3, 4, 2).flatten(1, 3)
        whole = functional.avg_pool1d(functional.pad(inside, beyond), PATCH, STEP_FRAMES) > 1 - 1 / PATCH / 2
        weight = whole.to(x.dtype) + _LEAST_WEIGHT
        return (self._of_patches(power * weight) / self._of_patches(weight) + _LEAST_POWER).log()

    def _of_patches(self, values: Tensor) -> Tensor:
        """Means over the patches in each context."""
        patches = (self._contexts.columns * self._contexts.column_frames - PATCH) // STEP_FRAMES + 1
        return self._contexts.of_steps(values, patches, self._every)


def averages(n_mels: int, groups: int) -> Tensor:
    """Of groups of neighbouring bands, [groups, n_mels]."""
    size = n_mels // groups
    return torch.eye(groups).repeat_interleave(size, 1) / size


def _waves_over_bands(n_mels: int) -> Tensor:
    """Cosines, then sines, of the scales: [2 scales, n_mels]."""
    phase = 2 * math.pi / n_mels * torch.arange(SCALES[-1])[:, None] * torch.arange(n_mels, dtype=torch.float64)
    return torch.cat((phase.cos(), phase.sin())).float()


def _waves_over_time() -> Tensor:
    """Cosines, then sines, of the rates under a Hann window, blind to what is constant: [2 rates, 1, frames]."""
    time = torch.arange(PATCH, dtype=torch.float64)
    phase = 2 * math.pi / PATCH * torch.arange(RATES[0], RATES[-1])[:, None] * time
    waves = torch.cat((phase.cos(), phase.sin())) * (0.5 - 0.5 * torch.cos(2 * math.pi / PATCH * time))
    return (waves - waves.mean(1, keepdim=True)).unsqueeze(1).float()


def _ranges(edges: tuple[int, ...], first: int) -> Tensor:
    """Means over ranges, [ranges, values]."""
    rows = torch.zeros(len(edges) - 1, edges[-1] - first)
    for number, (low, high) in enumerate(pairwise(edges)):
        rows[number, low - first : high - first] = 1 / (high - low)
    return rows
