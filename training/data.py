"""ESC-10 as sounds that can be placed: decoded, resampled, trimmed, and marked where something is heard.

A clip's label says what it holds, not when; barks and cries have pauses, and columns are trained on what is heard in
them, so activity is read from the energy.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from ssondo_stream.types import Samples

RATE = 32_000
ESC10 = {
    "dog_bark": "Dog bark",
    "rooster": "Rooster",
    "rain": "Rain",
    "sea_waves": "Sea waves",
    "fire_crackling": "Crackling fire",
    "baby_cry": "Crying baby",
    "person_sneeze": "Sneezing",
    "clock_tick": "Clock tick",
    "helicopter": "Helicopter",
    "chainsaw": "Chainsaw",
}
LABELS = (*ESC10.values(), "Smoke alarm", "Siren")
SMOKE_ALARM, SIREN = LABELS.index("Smoke alarm"), LABELS.index("Siren")
EVENT_LIKE = frozenset({"dog_bark", "rooster", "baby_cry", "person_sneeze"})

_STEP = RATE // 100
_AUDIBLE_DB = -26.0  # below the clip's loudest 50 ms
_NOTHING_DB = -97.0
_FLOOR_MARGIN_DB = 8.0  # above what the clip's quietest tenth holds

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Sound:
    """Something that can be placed into a scene.

    Attributes:
        samples: [n] at 32 kHz, scaled to an rms of 1 within its spans.
        label: index into LABELS, or None for what must not be reported.
        spans: where it is heard, as (start, stop) in samples.
        steady: whether it may be cut and repeated at will.
    """

    samples: Samples
    label: int | None
    spans: Spans
    steady: bool = False


@dataclass(frozen=True, slots=True)
class Clip:
    """A row of the manifest."""

    file: str
    label: str
    fold: int
    freesound_id: str


def read_manifest(folder: Path) -> list[Clip]:
    """Rows of `meta.csv`."""
    with (folder / "meta.csv").open(encoding="utf-8", newline="") as file:
        return [Clip(row["file"], row["label"], int(row["fold"]), row["freesound_id"]) for row in csv.DictReader(file)]


def in_folds(clips: Iterable[Clip], folds: Iterable[int]) -> list[Clip]:
    """The clips of these folds; clips cut from one recording share a fold, so nothing leaks between folds."""
    wanted = set(folds)
    return [clip for clip in clips if clip.fold in wanted]


def load_audio(path: Path) -> Samples:
    """A file as mono float32 at 32 kHz, [n]."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return np.asarray(soxr.resample(samples.mean(axis=1), rate, RATE), np.float32)


def load_sound(folder: Path, clip: Clip) -> Sound:
    """A clip, trimmed to what is heard, with its spans."""
    return as_sound(load_audio(folder / clip.file), clip.label)


def as_sound(samples: Samples, label: str) -> Sound:
    """Audio of an ESC-10 label, trimmed to what is heard."""
    spans = activity(samples, bridge_seconds=0.5) if label in EVENT_LIKE else _filled(samples)
    first, last = spans[0][0], spans[-1][1]
    spans = tuple((start - first, stop - first) for start, stop in spans)
    name = LABELS.index(ESC10[label])
    return normalised(Sound(samples[first:last], name, spans, steady=label not in EVENT_LIKE))


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


def _filled(samples: Samples) -> Spans:
    """The one span of a continuous sound: the clip without the digital silence that pads it."""
    level = _levels(samples)
    loud = np.flatnonzero(level >= max(level.max() - 45, _NOTHING_DB))
    return ((int(loud[0]) * _STEP, min(len(samples), (int(loud[-1]) + 1) * _STEP)),)


def _levels(samples: Samples) -> NDArray[np.float64]:
    """Level in dB of each 10 ms, smoothed over 50 ms."""
    cut = samples[: len(samples) // _STEP * _STEP].reshape(-1, _STEP).astype(np.float64)
    power = uniform_filter1d(np.mean(cut**2, axis=1), 5, mode="nearest")
    return np.asarray(10 * np.log10(power + 1e-10))


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
