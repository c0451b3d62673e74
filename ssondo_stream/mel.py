"""Log-mel frames, in one shot and incrementally.

The front end pads nothing, so a frame depends on its own `n_fft` samples alone and the incremental frames are the
one-shot frames, however the audio was cut.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.plain import check_plain
from ssondo_stream.types import Frames, Samples

_BATCH = 32  # frames per transform: small products do not wake the threads of BLAS, which would cost more than they
_LARGEST_FFT = 16_384  # the filterbank's memory grows with it
_LARGEST_RATE = 384_000
_PARTS = 6  # of the filterbank, for the same reason


@dataclass(frozen=True, slots=True)
class MelConfig:
    """The front end of the published students: power spectrum, Slaney mel filters, natural log.

    Attributes:
        sample_rate: Hz.
        n_fft: samples in a frame, also the length of its periodic Hann window.
        hop: samples between frames.
        n_mels: filters between `f_min` and `f_max` Hz.
        offset: added before the log; digital silence gives log(offset).
        mean, std: the frames are normalised to (x - mean) / std.
    """

    sample_rate: int = 32_000
    n_fft: int = 1024
    hop: int = 512
    n_mels: int = 128
    f_min: float = 50.0
    f_max: float = 16_000.0
    offset: float = 1e-3
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        check_plain(self)
        if self.n_fft > _LARGEST_FFT or self.n_mels > self.n_fft or self.sample_rate > _LARGEST_RATE:
            raise ValueError(
                f"need n_fft <= {_LARGEST_FFT}, n_mels <= n_fft and sample_rate <= {_LARGEST_RATE}, "
                f"got n_fft={self.n_fft} n_mels={self.n_mels} sample_rate={self.sample_rate}"
            )
        if not 0 < self.hop <= self.n_fft:
            raise ValueError(f"need 0 < hop <= n_fft, got hop={self.hop} n_fft={self.n_fft}")
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(
                f"need 0 <= f_min < f_max <= sample_rate / 2, got f_min={self.f_min} f_max={self.f_max} "
                f"sample_rate={self.sample_rate}"
            )
        if self.offset <= 0 or self.std <= 0 or self.n_mels < 1:
            raise ValueError(f"need offset, std, n_mels > 0, got {self.offset}, {self.std}, {self.n_mels}")

    def frames_in(self, samples: int) -> int:
        """Number of whole frames in so many samples."""
        return max(0, (samples - self.n_fft) // self.hop + 1)

    def samples_for(self, frames: int) -> int:
        """Number of samples that so many frames need."""
        return self.n_fft + (frames - 1) * self.hop if frames else 0


def _hz_to_mel(hz: float) -> float:
    """Slaney mel scale: linear at 200/3 Hz a mel below 1 kHz, logarithmic with step ln(6.4)/27 above.

    Source: M. Slaney, Auditory Toolbox, Technical Report 1998-010.
    """
    return hz / (200 / 3) if hz < 1000 else 15 + math.log(hz / 1000) * 27 / math.log(6.4)


def _mel_to_hz(mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of `_hz_to_mel`, in float32 with a correctly rounded exponential."""
    exponent = np.float32(math.log(6.4) / 27) * (mel - np.float32(15))
    above = np.float32(1000) * np.exp(exponent.astype(np.float64)).astype(np.float32)
    return np.asarray(np.where(mel < 15, np.float32(200 / 3) * mel, above), np.float32)


def _spread(low: float, high: float, count: int) -> NDArray[np.float32]:
    """`count` even steps in float32, counted from the nearer end, product and sum rounded once."""
    first, last, index = np.float32(low), np.float32(high), np.arange(count)
    step = float((last - first) / np.float32(count - 1))
    return np.where(index < count // 2, first + step * index, last - step * (count - 1 - index)).astype(np.float32)


@cache
def filterbank(config: MelConfig) -> NDArray[np.float32]:
    """Triangular filters of unit area, [n_fft // 2 + 1, n_mels].

    Raises:
        ValueError: the filters are so narrow that some have no bin.

    Every step is rounded to float32 as in the published front end: the narrow filters are so steep that exact edges
    would move its log-mel values by 3e-4. This way they differ by 1e-5.
    """
    edges = _mel_to_hz(_spread(_hz_to_mel(config.f_min), _hz_to_mel(config.f_max), config.n_mels + 2))
    bins = np.linspace(0, config.sample_rate / 2, config.n_fft // 2 + 1, dtype=np.float32)
    width = np.diff(edges)
    slopes = edges - bins[:, None]
    filters = np.maximum(0, np.minimum(-slopes[:, :-2] / width[:-1], slopes[:, 2:] / width[1:]))
    filters = np.asarray(filters * (np.float32(2) / (edges[2:] - edges[:-2])), np.float32)
    if not filters.any(axis=0).all():
        raise ValueError(f"n_mels={config.n_mels} is too many for n_fft={config.n_fft}: some filters have no bin")
    filters.flags.writeable = False
    return filters


@cache
def _window(n_fft: int) -> NDArray[np.float32]:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)


def log_mel(samples: Samples, config: MelConfig | None = None) -> Frames:
    """Log-mel frames of a clip, [n] -> [t, n_mels] with t = 1 + (n - n_fft) // hop, or none if n < n_fft."""
    config = config or MelConfig()
    count = config.frames_in(len(samples))
    frames = np.empty((count, config.n_mels), np.float32)
    if not count:
        return frames
    cut = np.lib.stride_tricks.sliding_window_view(samples, config.n_fft)[:: config.hop]
    for first in range(0, count, _BATCH):
        frames[first : first + _BATCH] = _transform(cut[first : first + _BATCH], config)
    return frames


@cache
def _bands(config: MelConfig) -> tuple[tuple[slice, NDArray[np.float64]], ...]:
    """The filterbank in a few parts, each with the bins that its filters reach: nearly all of it is zero."""
    parts = []
    for filters in np.array_split(filterbank(config), _PARTS, axis=1):
        used = np.flatnonzero(filters.any(axis=1))
        parts.append((slice(used[0], used[-1] + 1), filters[used[0] : used[-1] + 1].astype(np.float64)))
    return tuple(parts)


def _transform(cut: Samples, config: MelConfig) -> Frames:
    spectrum = np.fft.rfft(cut * _window(config.n_fft))
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float64)  # or sums would depend on how audio is cut
    energy = np.concatenate([power[:, bins] @ filters for bins, filters in _bands(config)], axis=1).astype(np.float32)
    mel = np.log(energy + np.float32(config.offset))
    return np.asarray((mel - np.float32(config.mean)) / np.float32(config.std), np.float32)


class MelStream:
    """Incremental `log_mel`: push samples, get the frames that they complete.

    State is the tail of samples that the next frame still needs, at most n_fft - 1 of them.
    """

    def __init__(self, config: MelConfig | None = None) -> None:
        self.config = config or MelConfig()
        self._tail = np.empty(0, np.float32)

    def push(self, samples: Samples) -> Frames:
        """Take samples [n], return the frames [t, n_mels] that they complete."""
        samples = np.concatenate((self._tail, samples))
        frames = log_mel(samples, self.config)
        self._tail = samples[len(frames) * self.config.hop :].copy()
        return frames

    def reset(self) -> None:
        """Forget the audio so far."""
        self._tail = np.empty(0, np.float32)
