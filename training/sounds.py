"""Sounds that can be placed into scenes, and where in a clip something is heard.

A clip's label says what it holds, not when; barks and cries have pauses, and columns are trained on what is heard in
them, so activity is read from the energy.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from ssondo_stream.types import Samples

RATE = 32_000
_STEP = RATE // 100
_AUDIBLE_DB = -26.0  # below the clip's loudest 50 ms
_FLOOR_MARGIN_DB = 8.0  # above what the clip's quietest tenth holds

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Sound:
    """Something that can be placed into a scene.

    Attributes:
        samples: [n] at 32 kHz, scaled to an rms of 1 within its spans.
        label: index of the label, or None for what must not be reported.
        spans: where it is heard, as (start, stop) in samples.
        steady: whether it may be cut and repeated at will.
    """

    samples: Samples
    label: int | None
    spans: Spans
    steady: bool = False


def normalised(sound: Sound) -> Sound:
    """The sound at an rms of 1 within its spans."""
    power = [float(np.mean(sound.samples[start:stop] ** 2)) for start, stop in sound.spans]
    weight = [stop - start for start, stop in sound.spans]
    scale = 1 / np.sqrt(np.average(power, weights=weight) + 1e-12)
    return Sound((sound.samples * np.float32(scale)).astype(np.float32), sound.label, sound.spans, sound.steady)


def activity(samples: Samples, *, bridge_seconds: float) -> Spans:
    """Where a clip is well above its own background, as (start, stop) in samples; at least one span.

    Args:
        samples: [n] at 32 kHz.
        bridge_seconds: shorter pauses belong to the sound.
    """
    level = _levels(samples)
    floor = float(np.percentile(level, 10))
    limit = max(float(level.max()) + _AUDIBLE_DB, min(floor + _FLOOR_MARGIN_DB, float(level.max()) - 6))
    runs = _runs(level >= limit)
    merged = merge([(start * _STEP, stop * _STEP) for start, stop in runs], round(bridge_seconds * RATE))
    kept = [span for span in merged if span[1] - span[0] >= 4 * _STEP] or merged
    return tuple((start, min(stop, len(samples))) for start, stop in kept)


def merge(spans: Iterable[tuple[int, int]], bridge: int) -> list[tuple[int, int]]:
    """Join spans that are at most `bridge` samples apart."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if joined and start - joined[-1][1] <= bridge:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def _levels(samples: Samples) -> NDArray[np.float64]:
    """Level in dB of each 10 ms, smoothed over 50 ms."""
    cut = samples[: len(samples) // _STEP * _STEP].reshape(-1, _STEP).astype(np.float64)
    power = uniform_filter1d(np.mean(cut**2, axis=1), 5, mode="nearest")
    return np.asarray(10 * np.log10(power + 1e-10))


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
