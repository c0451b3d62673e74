"""Scenes with events at known samples: windows to train on, soundscapes and negatives to measure on.

Everything that a deployed microphone changes is drawn at random: room, distance, background, level, digital silence.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.mel import MelConfig
from ssondo_stream.types import Samples
from training.data import LABELS, RATE, Sound, merge
from training.pool import Pool

MEL = MelConfig()
COLUMN_FRAMES = 32
COLUMN = COLUMN_FRAMES * MEL.hop
LEAD = COLUMN // 2 - MEL.n_fft // 2
"""Samples by which column 0 begins before the window: column i is centred on frame 32 i."""

_EDGE = RATE // 100
_AUDIBLE = 0.05  # rms of a placed part, against 1 for the sound, below which nobody could hear it
_POSITIVES = (0.30, 0.42, 0.19, 0.09)  # chances of 0, 1, 2, 3 labelled sounds in a training window
_NEGATIVES = (0.62, 0.28, 0.10)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A labelled sound in a scene, in samples."""

    label: int
    start: int
    stop: int


@dataclass(slots=True)
class Scene:
    """Audio under construction and what is heard in it."""

    samples: Samples
    heard: list[Occurrence] = field(default_factory=list)

    def add(self, sound: Sound, start: int, gain: float) -> None:
        """Mix a sound in; parts beyond the scene's edges are cut off."""
        first, stop = max(0, start), min(len(self.samples), start + len(sound.samples))
        part = sound.samples[first - start : stop - start]
        if len(part) == 0:
            return
        self.samples[first:stop] += np.float32(gain) * part
        if sound.label is not None and np.sqrt(np.mean(part**2)) >= _AUDIBLE:
            self.heard += [Occurrence(sound.label, start + a, start + b) for a, b in sound.spans]

    def silence_before(self, cut: int) -> None:
        """Digital silence up to a sample, as at the start of a stream."""
        self.samples[:cut] = 0
        self.heard = [Occurrence(e.label, max(e.start, cut), e.stop) for e in self.heard if e.stop > cut]

    def scale_to(self, peak_dbfs: float) -> None:
        """Set the level of the loudest sample."""
        peak = float(np.abs(self.samples).max())
        if peak > 0:
            self.samples *= np.float32(10 ** (peak_dbfs / 20) / peak)


def training_window(pool: Pool, rng: np.random.Generator, n: int) -> Scene:
    """A scene of n samples: background, sounds that must be reported, and sounds that must not."""
    scene = Scene(np.zeros(n, np.float32))
    if rng.random() < 0.88:
        _add_background(scene, pool, rng)
    for _ in range(rng.choice(3, p=_NEGATIVES)):
        _add_anywhere(scene, _pick(pool.foreground, rng), rng, _gain(rng.uniform(0, 28)))
    for _ in range(rng.choice(4, p=_POSITIVES)):
        sound = _pick(pool.labelled[rng.integers(len(LABELS))], rng)
        _add_anywhere(scene, _cut(sound, rng, n), rng, _gain(rng.uniform(3, 32)))
    if rng.random() < 0.12:
        scene.silence_before(int(rng.uniform(0.05, 0.95) * n))
    scene.scale_to(-33 * rng.random() ** 1.4 if scene.heard else rng.uniform(-60, 0))
    return scene


def soundscape(
    pool: Pool, rng: np.random.Generator, *, seconds: float = 60, events: int = 5, snr_db: tuple[float, float] = (8, 22)
) -> Scene:
    """Background with labelled sounds at random times; what is heard twice within a second is one event."""
    scene = Scene(np.zeros(round(seconds * RATE), np.float32))
    _add_background(scene, pool, rng)
    for _ in range(events):
        sound = _cut(_pick(pool.labelled[rng.integers(len(LABELS))], rng), rng, 5 * RATE, fill=0)
        start = int(rng.integers(RATE, max(RATE + 1, len(scene.samples) - len(sound.samples) - RATE)))
        scene.add(sound, start, _gain(rng.uniform(*snr_db)))
    scene.heard = occurrences(scene.heard, RATE)
    scene.scale_to(rng.uniform(-18, -1))
    return scene


def negative_scene(pool: Pool, rng: np.random.Generator, *, seconds: float = 60, sounds: int = 12) -> Scene:
    """A minute in which nothing should be reported: background, speech, music, clicks, beeps; at times silence."""
    scene = Scene(np.zeros(round(seconds * RATE), np.float32))
    if rng.random() < 0.9:
        _add_background(scene, pool, rng)
    for _ in range(rng.integers(sounds + 1)):
        sound = _pick(pool.foreground, rng)
        scene.add(sound, int(rng.integers(len(scene.samples))), _gain(rng.uniform(0, 25)))
    scene.scale_to(rng.uniform(-50, -1))
    return scene


def occurrences(heard: list[Occurrence], bridge: int) -> list[Occurrence]:
    """Join what is heard of a label within `bridge` samples."""
    return [
        Occurrence(label, start, stop)
        for label in range(len(LABELS))
        for start, stop in merge([(e.start, e.stop) for e in heard if e.label == label], bridge)
    ]


def column_targets(heard: list[Occurrence], n: int, labels: int = len(LABELS)) -> NDArray[np.float32]:
    """How much of each column, or of a sound shorter than it, is heard: [columns, labels] from 0 to 1.

    A column counts in full from three quarters and not at all up to one quarter, so a threshold of one half puts an
    onset at the nearest column's edge.
    """
    frames = MEL.frames_in(n)
    edges = np.arange(-(-frames // COLUMN_FRAMES) + 1) * COLUMN - LEAD
    begin, end = np.maximum(edges[:-1], 0), np.minimum(edges[1:], n)
    targets = np.zeros((len(begin), labels), np.float32)
    for event in heard:
        overlap = np.minimum(end, event.stop) - np.maximum(begin, event.start)
        share = overlap / np.minimum(end - begin, event.stop - event.start)
        targets[:, event.label] = np.maximum(targets[:, event.label], np.clip((share - 0.25) / 0.5, 0, 1))
    return targets


def _add_background(scene: Scene, pool: Pool, rng: np.random.Generator) -> None:
    n = len(scene.samples)
    scene.add(_repeated(_pick(pool.background, rng), rng, n), 0, 1.0)


def _add_anywhere(scene: Scene, sound: Sound, rng: np.random.Generator, gain: float) -> None:
    """At a random place of which at least a third of the sound, or of the scene, is left."""
    n, length = len(scene.samples), len(sound.samples)
    least = min(n, length) // 3
    scene.add(sound, int(rng.integers(least - length, n - least + 1)), gain)


def _cut(sound: Sound, rng: np.random.Generator, n: int, fill: float = 0.35) -> Sound:
    """A steady sound at a random length, at times longer than the scene; others as they are."""
    if not sound.steady:
        return sound
    length = 3 * n if rng.random() < fill else round(rng.uniform(1.5, 5) * RATE)
    return _repeated(sound, rng, length)


def _repeated(sound: Sound, rng: np.random.Generator, n: int) -> Sound:
    """N samples of a steady sound from a random place on, around in a circle, with soft edges."""
    samples = np.take(sound.samples, np.arange(n) + rng.integers(len(sound.samples)), mode="wrap")
    ramp = np.minimum(1, (np.arange(n, dtype=np.float32) + 1) / _EDGE)
    return Sound(samples * ramp * ramp[::-1], sound.label, ((0, n),), steady=True)


def _pick(sounds: list[Sound], rng: np.random.Generator) -> Sound:
    return sounds[rng.integers(len(sounds))]


def _gain(decibel: float) -> float:
    return float(10 ** (decibel / 20))
