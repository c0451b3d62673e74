"""Scenes with events at known samples."""

from dataclasses import dataclass, field

import numpy as np

from ssondo_stream.types import Samples
from training.sounds import Sound

_AUDIBLE = 0.05  # rms of a placed part, against 1 for the sound, below which nobody could hear it


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

    def part(self, start: int, n: int) -> "Scene":
        """N samples from `start` on, and what is heard in them."""
        stops = [(event, max(event.start - start, 0), min(event.stop - start, n)) for event in self.heard]
        return Scene(self.samples[start : start + n], [Occurrence(e.label, a, b) for e, a, b in stops if a < b])

    def scale_to(self, peak_dbfs: float) -> None:
        """Set the level of the loudest sample."""
        peak = float(np.abs(self.samples).max())
        if peak > 0:
            self.samples *= np.float32(10 ** (peak_dbfs / 20) / peak)
