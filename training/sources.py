"""Sounds for soundscapes, read from manifests as they are drawn: trimmed to what is heard, and marked where.

A data set may be larger than memory, so only those used last are kept.
"""

from collections import OrderedDict
from dataclasses import dataclass, field, replace

import numpy as np
import soxr
from numpy.typing import NDArray

from training.clips import read_clip
from training.errors import AudioFileError, ManifestError
from training.manifest import Entry, Manifest, Skipped
from training.sounds import RATE, Sound, activity, normalised

LONGEST_SECONDS = 30.0
STEADY_SECONDS = 10.0  # of a sound that is heard all along
_STEADY_SHARE = 0.8  # heard in so much of a clip, a sound is steady and may be cut anywhere
_BRIDGE_SECONDS = 0.5
_EDGE = RATE // 100
_KEPT = 256
_SHORTEST_SECONDS = 1.5  # of a steady sound's part


@dataclass(slots=True)
class Clips:
    """The clips of a manifest as sounds.

    State is the sounds that were read last, and the clips that could not be read.

    Args:
        manifest: of clips.
        labels: in whose order labels are numbered; None for sounds that have none, such as backgrounds.
        whole: labels whose pauses belong to them, as those of a smoke alarm do.
        steady: labels that are heard all along, as rain is: their clips may be cut and repeated at will.
        most_skipped: share of the clips that may be unreadable.
    """

    manifest: Manifest
    labels: tuple[str, ...] | None = None
    whole: frozenset[str] = frozenset()
    steady: frozenset[str] = frozenset()
    most_skipped: float = 0.05
    skipped: dict[str, str] = field(default_factory=dict)
    _read: OrderedDict[str, Sound] = field(default_factory=OrderedDict)
    _by_label: list[list[Entry]] = field(init=False)

    def __post_init__(self) -> None:
        """Sort clips by label.

        Raises:
            ManifestError: a clip has no label or several, or a label has no clip.
        """
        if self.labels is None:
            self._by_label = [list(self.manifest.entries)]
            return
        self._by_label = [[entry for entry in self.manifest.entries if entry.labels == (name,)] for name in self.labels]
        if not self.labels:
            raise ManifestError(
                f"{self.manifest.root}: no clip has a label; a CSV names one each in the column 'labels'"
            )
        placed = {entry.id for entries in self._by_label for entry in entries}
        if strange := [entry for entry in self.manifest.entries if entry.id not in placed]:
            told = ", ".join(strange[0].labels) or "none"
            raise ManifestError(f"{strange[0].id}: expected one label of {', '.join(self.labels)}, found {told}")
        if empty := [name for name, entries in zip(self.labels, self._by_label, strict=True) if not entries]:
            raise ManifestError(f"{self.manifest.root}: no clip is labelled {empty[0]!r}")

    def draw(self, rng: np.random.Generator) -> Sound:
        """A random clip of a random label; one that cannot be read is left for another.

        Raises:
            ManifestError: too many cannot be read.
        """
        while True:
            entries = self._by_label[rng.integers(len(self._by_label))]
            entry = entries[rng.integers(len(entries))]
            try:
                return self._sound(entry)
            except AudioFileError as error:
                self._skip(entry, error)

    def not_read(self) -> list[Skipped]:
        """The clips that were drawn and could not be read."""
        return [Skipped(name, reason) for name, reason in sorted(self.skipped.items())]

    def _sound(self, entry: Entry) -> Sound:
        if entry.id in self.skipped:
            raise AudioFileError(self.skipped[entry.id])
        if entry.id in self._read:
            self._read.move_to_end(entry.id)
            return self._read[entry.id]
        label = None if self.labels is None else self.labels.index(entry.labels[0])
        clip = read_clip(self.manifest.path(entry), RATE, LONGEST_SECONDS)
        length = min(len(clip.samples), round(clip.duration * RATE))
        sound = marked(clip.samples[:length], label)
        if self.steady.intersection(entry.labels):
            sound = repeated(sound)
        elif self.whole.intersection(entry.labels):
            sound = normalised(replace(sound, spans=((0, len(sound.samples)),), steady=False))
        self._read[entry.id] = sound
        if len(self._read) > _KEPT:
            self._read.popitem(last=False)
        return sound

    def _skip(self, entry: Entry, error: AudioFileError) -> None:
        self.skipped[entry.id] = str(error)
        most = min(int(self.most_skipped * len(self.manifest)), len(self.manifest) - 1)
        if len(self.skipped) > most:
            told = f"{len(self.skipped)} of {len(self.manifest)} clips cannot be read, at most {most} may be"
            raise ManifestError(f"{told}; the last is {error}") from error


def marked(samples: NDArray[np.float32], label: int | None) -> Sound:
    """A clip trimmed to what is heard, with where that is.

    Raises:
        AudioFileError: nothing is heard in it.
    """
    if not len(samples) or float(np.abs(samples).max()) < 1e-5:
        raise AudioFileError("the clip is silent")
    padded = np.pad(samples, (0, max(0, _EDGE - len(samples))))
    spans = activity(padded, bridge_seconds=_BRIDGE_SECONDS)
    first, last = spans[0][0], spans[-1][1]
    steady = sum(stop - start for start, stop in spans) >= _STEADY_SHARE * len(samples)
    if steady:
        spans = ((first, last),)
    trimmed = tuple((start - first, stop - first) for start, stop in spans)
    return normalised(Sound(padded[first:last], label, trimmed, steady))


def part_of(sound: Sound, rng: np.random.Generator, longest_seconds: float) -> Sound:
    """A sound cut to a length: a steady one anywhere, another at one of its onsets; cut edges are softened."""
    n, longest = len(sound.samples), round(longest_seconds * RATE)
    if sound.steady:
        length = min(n, round(rng.uniform(min(_SHORTEST_SECONDS, longest_seconds), longest_seconds) * RATE))
        start = int(rng.integers(n - length + 1))
    elif n > longest:
        onsets = [span[0] for span in sound.spans if span[0] <= n - longest] or [0]
        start, length = int(onsets[rng.integers(len(onsets))]), longest
    else:
        return sound
    spans = tuple(
        (max(0, a - start), min(length, b - start)) for a, b in sound.spans if a < start + length and b > start
    )
    return replace(sound, samples=_softened(sound.samples[start : start + length]), spans=spans)


def repeated(sound: Sound, seconds: float = STEADY_SECONDS) -> Sound:
    """A sound that is heard all along, over and over for so long; a longer one is left as long as it is."""
    samples = np.resize(sound.samples, max(len(sound.samples), round(seconds * RATE)))
    return normalised(Sound(samples, sound.label, ((0, len(samples)),), steady=True))


def faster(sound: Sound, speed: float) -> Sound:
    """A sound played at another speed, and so at another pitch."""
    samples = np.asarray(soxr.resample(sound.samples, RATE * speed, RATE, quality="MQ"), np.float32)
    spans = tuple((int(start / speed), max(int(start / speed) + 1, int(stop / speed))) for start, stop in sound.spans)
    return replace(sound, samples=samples, spans=tuple((a, min(len(samples), b)) for a, b in spans if a < len(samples)))


def looped(sound: Sound, rng: np.random.Generator, n: int) -> Sound:
    """N samples of a sound from a random place on, around in a circle."""
    place = np.arange(n) + rng.integers(len(sound.samples))
    return Sound(np.take(sound.samples, place, mode="wrap"), sound.label, ((0, n),), steady=True)


def _softened(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    n = len(samples)
    ramp = np.minimum(1, (np.arange(n, dtype=np.float32) + 1) / min(_EDGE, n))
    return samples * ramp * ramp[::-1]
