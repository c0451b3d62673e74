"""A data set of soundscapes in files: sounds in rooms over backgrounds, with annotations exact to the sample.

Each soundscape is drawn from its own seed, so that a run that was killed goes on where it was and gives the same files,
and more of them can be added later.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.annotations import Annotated, Heard, annotation_path, merged, read_annotations, write_annotations
from training.clips import write_clip
from training.files import locked, make_folder, remember
from training.manifest import Manifest, write_skipped
from training.negatives import BACKGROUND
from training.progress import bar
from training.rooms import heard_in, impulse_response, random_room
from training.scenes import Scene
from training.sounds import RATE, Sound, normalised
from training.sources import Clips, faster, looped, part_of

SETTINGS_FILE = "soundscapes.json"
SKIPPED_FILE = "skipped.csv"
_TRIES = 50
_QUIET = 1e-10  # power below which a background is silence

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SoundscapeSettings:
    """What the soundscapes are like; ranges are drawn from evenly.

    Attributes:
        count: soundscapes; may grow from run to run.
        seconds: of each.
        events: sounds that are annotated, at least and at most.
        distractors: sounds that are not, at least and at most.
        snr_db: power of a sound, where it is heard, over that of the background there.
        longest_seconds: of a sound.
        polyphony: sounds at once, annotated or not; 1 keeps them apart.
        speed: played faster or slower by so much, which changes the pitch as well.
        in_rooms: share of the sounds that are heard in a room of their own.
        bridge_seconds: what is heard of a label twice within this time is one event.
        peak_dbfs: of the loudest sample.
        margin_seconds: made longer by this at either end and then cut, so that sounds may go on beyond the edges.
        seed: of everything.
    """

    count: int = 60
    seconds: float = 60.0
    events: tuple[int, int] = (5, 5)
    distractors: tuple[int, int] = (0, 0)
    snr_db: Range = (8.0, 22.0)
    longest_seconds: float = 5.0
    polyphony: int = 2
    speed: Range = (1.0, 1.0)
    in_rooms: float = 0.65
    bridge_seconds: float = 1.0
    peak_dbfs: Range = (-18.0, -1.0)
    margin_seconds: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for low, high in (self.events, self.distractors, self.snr_db, self.peak_dbfs, self.speed):
            if low > high:
                raise ValueError(f"need ranges from low to high, got {self}")
        if self.count < 1 or self.polyphony < 1 or self.least < 0:
            raise ValueError(f"need count and polyphony >= 1 and nothing negative, got {self}")
        if self.speed[0] <= 0:
            raise ValueError(f"need speeds above 0, got {self.speed}")
        if (
            not 0 < self.longest_seconds + 1 < self.whole_seconds
            or not 0 <= self.in_rooms <= 1
            or self.peak_dbfs[1] > 0
        ):
            raise ValueError(f"need longest_seconds + 1 < seconds, in_rooms in 0..1 and peaks up to 0 dBFS, got {self}")

    @property
    def least(self) -> float:
        """The smallest of what must not be negative."""
        return min(self.events[0], self.distractors[0], self.bridge_seconds, self.margin_seconds)

    @property
    def whole_seconds(self) -> float:
        """With the margins."""
        return self.seconds + 2 * self.margin_seconds


@dataclass(frozen=True, slots=True)
class Materials:
    """What soundscapes are made of.

    Attributes:
        clips: with one label each; None for negatives, in which nothing is annotated.
        backgrounds: of any length; None for made-up noise, hum and rumble.
        distractors: sounds that must not be reported; needed where the settings ask for some.
        labels: to draw from evenly; those of the clips in alphabetical order if not given.
        whole: labels whose pauses belong to them, as those of a smoke alarm do.
        steady: labels that are heard all along, as rain is: their clips are cut and repeated at will.
        most_skipped: share of a manifest's clips that may be unreadable.
    """

    clips: Manifest | None = None
    backgrounds: Manifest | None = None
    distractors: Manifest | None = None
    labels: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    steady: tuple[str, ...] = ()
    most_skipped: float = 0.05


def write_soundscapes(
    folder: Path, materials: Materials, settings: SoundscapeSettings | None = None, *, progress: bool = True
) -> list[Annotated]:
    """Write soundscapes as 16 bit WAV at 32 kHz, with a table of onset, offset and label beside each.

    What is complete is left alone. Clips that cannot be read are listed in `skipped.csv`.

    Args:
        folder: of the data set.
        materials: what they are made of.
        settings: what they are like.
        progress: whether a bar is shown.

    Raises:
        ManifestError: a clip has no label or several, or too many cannot be read.
        SettingsError: the folder holds soundscapes of other materials or settings.
        StorageError: a file cannot be written.
    """
    settings = settings or SoundscapeSettings()
    maker = Maker(materials, settings)
    make_folder(folder)
    with locked(folder):
        remember(folder / SETTINGS_FILE, _resolved(materials, settings))
        paths = [folder / f"soundscape-{number:05d}.wav" for number in range(settings.count)]
        shown = bar("soundscapes", settings.count, unit="soundscape", shown=progress)
        for number, path in enumerate(paths):
            if not (path.exists() and annotation_path(path).exists()):
                _write(path, *maker.make(number))
            shown.update()
        shown.close()
        if skipped := [clip for clips in maker.sources for clip in clips.not_read()]:
            write_skipped(folder / SKIPPED_FILE, skipped)
    return [Annotated(path, read_annotations(annotation_path(path))) for path in paths]


class Maker:
    """Makes soundscapes by their number, each the same whenever it is made.

    State is the clips that were read last.
    """

    def __init__(self, materials: Materials, settings: SoundscapeSettings) -> None:
        """Sort the clips.

        Raises:
            ManifestError: a clip has no label or several.
            ValueError: the settings ask for what there is none of.
        """
        missing = (settings.events[1] and not materials.clips, settings.distractors[1] and not materials.distractors)
        if any(missing):
            raise ValueError("events need clips, and distractors their own; with none of either ask for (0, 0)")
        self.settings, self.labels, share = settings, _labels(materials), materials.most_skipped
        whole, steady = frozenset(materials.whole), frozenset(materials.steady)
        others = (materials.backgrounds, materials.distractors)
        self._clips = Clips(materials.clips, self.labels, whole, steady, share) if materials.clips else None
        self._backgrounds, self._distractors = (Clips(m, most_skipped=share) if m else None for m in others)

    @property
    def sources(self) -> list[Clips]:
        """All manifests that sounds are drawn from."""
        return [clips for clips in (self._clips, self._backgrounds, self._distractors) if clips]

    def make(self, number: int) -> tuple[Scene, tuple[Heard, ...]]:
        """Soundscape by its number: the scene, and its events in seconds."""
        settings, rng = self.settings, np.random.default_rng([self.settings.seed, number])
        scene = Scene(np.zeros(round(settings.whole_seconds * RATE), np.float32))
        scene.add(self._background(rng), 0, 1.0)
        background, busy = scene.samples.copy(), list[tuple[int, int]]()
        for clips, (least, most) in ((self._clips, settings.events), (self._distractors, settings.distractors)):
            for _ in range(rng.integers(least, most, endpoint=True) if clips else 0):
                sound = self._sound(clips, rng) if clips else None
                start = _free(sound, len(scene.samples), busy, settings.polyphony, rng) if sound else None
                if sound and start is not None:
                    scene.add(sound, start, _gain(sound, background[start:], rng.uniform(*settings.snr_db)))
        scene = scene.part(round(settings.margin_seconds * RATE), round(settings.seconds * RATE))
        scene.scale_to(rng.uniform(*settings.peak_dbfs))
        heard = [Heard(e.start / RATE, e.stop / RATE, self.labels[e.label]) for e in scene.heard]
        spans = [(name, span) for name in self.labels for span in merged(heard, name, settings.bridge_seconds)]
        return scene, tuple(sorted(Heard(onset, offset, name) for name, (onset, offset) in spans))

    def _background(self, rng: np.random.Generator) -> Sound:
        makers = list(BACKGROUND.values())
        drawn = self._backgrounds.draw(rng) if self._backgrounds else makers[rng.integers(len(makers))](rng)
        return looped(drawn, rng, round(self.settings.whole_seconds * RATE))

    def _sound(self, clips: Clips, rng: np.random.Generator) -> Sound:
        drawn = clips.draw(rng)
        if self.settings.speed != (1.0, 1.0):
            drawn = faster(drawn, rng.uniform(*self.settings.speed))
        sound = part_of(drawn, rng, self.settings.longest_seconds)
        if rng.random() >= self.settings.in_rooms:
            return sound
        response = impulse_response(random_room(rng), rng)
        return normalised(Sound(heard_in(sound.samples, response), sound.label, sound.spans, sound.steady))


def _free(sound: Sound, n: int, busy: list[tuple[int, int]], polyphony: int, rng: np.random.Generator) -> int | None:
    """A random place with fewer than `polyphony` sounds, which it then counts among; None if none was found."""
    length = sound.spans[-1][1]
    for _ in range(_TRIES):
        start = int(rng.integers(RATE // 2, max(RATE // 2 + 1, n - length - RATE // 2)))
        if sum(start < stop and first < start + length for first, stop in busy) < polyphony:
            busy.append((start, start + length))
            return start
    return None


def _gain(sound: Sound, background: np.ndarray[tuple[int], np.dtype[np.float32]], snr_db: float) -> float:
    """Of a sound of power 1 where it is heard, for this ratio to the background there."""
    there = np.concatenate([background[start:stop] for start, stop in sound.spans])
    power = float(np.mean(np.square(there, dtype=np.float64))) if len(there) else 0.0
    return float(np.sqrt(max(power, _QUIET) * 10 ** (snr_db / 10)))


def _labels(materials: Materials) -> tuple[str, ...]:
    entries = materials.clips.entries if materials.clips else ()
    return materials.labels or tuple(sorted({name for entry in entries for name in entry.labels}))


def _write(path: Path, scene: Scene, heard: Sequence[Heard]) -> None:
    """The annotations come last: where they are, the recording is complete."""
    write_clip(path, scene.samples, RATE)
    write_annotations(annotation_path(path), heard)


def _resolved(materials: Materials, settings: SoundscapeSettings) -> dict[str, object]:
    """What each soundscape depends on; not how many there are."""
    manifests = {"clips": materials.clips, "backgrounds": materials.backgrounds, "distractors": materials.distractors}
    fingerprints = {name: manifest.fingerprint if manifest else None for name, manifest in manifests.items()}
    plain = {name: value for name, value in asdict(settings).items() if name != "count"}
    return {
        "manifests": fingerprints,
        "labels": _labels(materials),
        "whole": sorted(materials.whole),
        "steady": sorted(materials.steady),
        **plain,
    }
