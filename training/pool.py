"""The sounds that scenes are made of: clips of chosen folds, made-up alarms and negatives, in rooms.

They are rendered once, so that drawing a training window costs little more than adding arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.signal
import soxr
from numpy.typing import NDArray

from ssondo_stream.types import Samples
from training.alarms import siren, smoke_alarm
from training.data import LABELS, RATE, SIREN, SMOKE_ALARM, Sound, in_folds, load_sound, normalised, read_manifest
from training.negatives import BACKGROUND, FOREGROUND, Maker


@dataclass(frozen=True, slots=True)
class Pool:
    """Sounds by what they are for: `labelled[i]` holds those of label i."""

    labelled: list[list[Sound]]
    foreground: list[Sound]
    background: list[Sound]


def build_pool(
    esc10: Path,
    folds: Sequence[int],
    rng: np.random.Generator,
    *,
    variants: int,
    made_up: int,
    foreground: Mapping[str, Maker] = FOREGROUND,
) -> Pool:
    """Render a pool.

    Args:
        esc10: folder with `meta.csv` and the clips.
        folds: whose clips are used.
        rng: everything made up is drawn from it.
        variants: altered copies of each clip, beside the clip itself.
        made_up: alarms, sirens, and sounds of each kind of negative.
        foreground: makers of negatives.
    """
    clips = [load_sound(esc10, clip) for clip in in_folds(read_manifest(esc10), folds)]
    return with_made_up(clips, rng, variants=variants, made_up=made_up, foreground=foreground)


def with_made_up(
    clips: Sequence[Sound],
    rng: np.random.Generator,
    *,
    variants: int,
    made_up: int,
    foreground: Mapping[str, Maker] = FOREGROUND,
) -> Pool:
    """A pool of these clips, their variants, and made-up sounds."""
    labelled: list[list[Sound]] = [[] for _ in LABELS]
    for sound in clips:
        if sound.label is None:
            raise ValueError("a clip needs a label")
        labelled[sound.label] += [sound, *(varied(sound, rng) for _ in range(variants))]
    labelled[SMOKE_ALARM] += [in_some_room(smoke_alarm(rng), rng) for _ in range(made_up)]
    labelled[SIREN] += [in_some_room(siren(rng), rng) for _ in range(made_up)]
    around = [in_some_room(make(rng), rng) for make in foreground.values() for _ in range(made_up)]
    background = [make(rng) for make in BACKGROUND.values() for _ in range(made_up)]
    return Pool(labelled, around, background)


def varied(sound: Sound, rng: np.random.Generator) -> Sound:
    """A sound at a slightly different speed and pitch, in some room."""
    speed = rng.uniform(0.87, 1.15)
    samples = np.asarray(soxr.resample(sound.samples, RATE * speed, RATE, quality="MQ"), np.float32)
    spans = tuple((int(start / speed), min(len(samples), int(stop / speed))) for start, stop in sound.spans)
    return in_some_room(Sound(samples, sound.label, spans, sound.steady), rng)


def in_some_room(sound: Sound, rng: np.random.Generator, *, dry: float = 0.35) -> Sound:
    """A sound as it arrives in a random room, or unchanged with a chance of `dry`."""
    if rng.random() < dry:
        return sound
    echo = room_response(rng)
    heard = scipy.signal.oaconvolve(sound.samples, echo)[: len(sound.samples) + (0 if sound.steady else RATE // 2)]
    return normalised(Sound(heard.astype(np.float32), sound.label, sound.spans, sound.steady))


def room_response(rng: np.random.Generator) -> Samples:
    """A direct path and a tail of noise that decays exponentially, darker where the room is furnished."""
    reverberation_seconds = np.exp(rng.uniform(np.log(0.12), np.log(1.3)))
    n = round(0.7 * reverberation_seconds * RATE)
    t = np.arange(n) / RATE
    tail = _darkened(rng.standard_normal(n) * 10 ** (-3 * t / reverberation_seconds), rng)
    tail[: round(rng.uniform(0.001, 0.012) * RATE)] = 0
    tail *= 10 ** (-rng.uniform(-4, 14) / 20) / np.sqrt(np.sum(tail**2) + 1e-12)
    tail[0] = 1
    return tail.astype(np.float32)


def _darkened(wave: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    pole = rng.uniform(0, 0.8)
    return np.asarray(scipy.signal.lfilter([1 - pole], [1, -pole], wave))
