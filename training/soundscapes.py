"""A data set of soundscapes in files: sounds in rooms over backgrounds, with annotations exact to the sample.

Each soundscape is drawn from its own seed, so that a run that was killed goes on where it was and gives the same files,
and more of them can be added later.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.annotations import Annotated, Heard, annotation_path, merged, read_annotations, write_annotations
from training.clips import write_clip
from training.errors import ManifestError
from training.files import locked, make_folder, refuse_other, remember
from training.manifest import Manifest, write_skipped
from training.negatives import BACKGROUND
from training.progress import bar
from training.rooms import heard_in, impulse_response, random_room
from training.scenes import Scene
from training.skipping import SKIPPED_FILE
from training.sounds import RATE, Sound, normalised
from training.sources import Clips, faster, looped, part_of

SETTINGS_FILE = "soundscapes.json"
_TRIES = 50
_QUIET = 1e-10  # power below which a background is silence
_RANGES = ("events", "distractors", "snr_db", "peak_dbfs", "speed")
_LEAST = {"count": 1, "polyphony": 1, "seed": 0, "bridge_seconds": 0, "margin_seconds": 0}

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
        for name in _RANGES:
            low, high = getattr(self, name)
            if not -math.inf < low <= high < math.inf:
                raise ValueError(f"need {name} from low to high, got {low} to {high}")
        for name, least in _LEAST.items():
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"need {name} of at least {least}, got {getattr(self, name)}")
        fewest = self.events[0], self.distractors[0]
        if min(fewest) < 0:
            raise ValueError(f"need events and distractors of at least 0, got {fewest[0]} and {fewest[1]}")
        if self.speed[0] <= 0 or self.peak_dbfs[1] > 0:
            raise ValueError(f"need speed above 0 and peak_dbfs up to 0, got {self.speed[0]} and {self.peak_dbfs[1]}")
        if not 0 <= self.in_rooms <= 1:
            raise ValueError(f"need a share in_rooms of 0 to 1, got {self.in_rooms}")
        if not 0 < self.seconds < math.inf or not 0 < self.longest_seconds < self.whole_seconds - 1:
            told = f"{self.longest_seconds}, {self.seconds} and margins of {self.margin_seconds}"
            raise ValueError(f"need 0 < longest_seconds < seconds - 1, or longer margins, got {told}")

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

    def __post_init__(self) -> None:
        if not 0 <= self.most_skipped <= 1:
            raise ValueError(f"need a share most_skipped of 0 to 1, got {self.most_skipped}")


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
        StorageError: a file cannot be written; soundscapes before it are complete.
    """
    return write_made(folder, Maker(materials, settings or SoundscapeSettings()), progress=progress)


def write_made(folder: Path, maker: "Maker", *, progress: bool = True) -> list[Annotated]:
    """Write what a maker makes, as `write_soundscapes` does.

    Raises:
        ManifestError: too many clips cannot be read.
        SettingsError, StorageError: as for `write_soundscapes`.
    """
    make_folder(folder)
    count = maker.settings.count
    with locked(folder):
        remember(folder / SETTINGS_FILE, _resolved(maker.materials, maker.settings))
        paths = [folder / f"soundscape-{number:05d}.wav" for number in range(count)]
        shown = bar("soundscapes", count, unit="soundscape", shown=progress)
        for number, path in enumerate(paths):
            if not (path.exists() and annotation_path(path).exists()):
                _write(path, *maker.make(number))
            shown.update()
        shown.close()
        if skipped := [clip for clips in maker.sources for clip in clips.not_read()]:
            write_skipped(folder / SKIPPED_FILE, skipped)
    return [Annotated(path, read_annotations(annotation_path(path))) for path in paths]


def plan_soundscapes(folder: Path, maker: "Maker") -> Mapping[str, object]:
    """The dry run: clips of each kind and settings of what `write_made` would write; writes nothing.

    Raises:
        SettingsError: the folder holds soundscapes of other materials or settings.
    """
    materials, settings = maker.materials, maker.settings
    refuse_other(folder / SETTINGS_FILE, _resolved(materials, settings))
    found = {f"listed {name}": len(one) if one else 0 for name, one in _manifests(materials).items()}
    return {**found, **asdict(settings)}


class Maker:
    """Makes soundscapes by their number, each the same whenever it is made.

    State is the clips that were read last, and how many sounds were left out because there was no room.
    """

    def __init__(self, materials: Materials, settings: SoundscapeSettings) -> None:
        """Sort the clips.

        Raises:
            ManifestError: a clip has no label or several, or none has a label that is named.
            ValueError: the settings ask for what there is none of.
        """
        for name, wanted, given in (
            ("clips", settings.events, materials.clips),
            ("distractors", settings.distractors, materials.distractors),
        ):
            if wanted[1] and not given:
                raise ValueError(
                    f"{wanted[0]} to {wanted[1]} {name} need a manifest of {name}: name one, or ask for 0 0"
                )
        self.materials, self.settings, self.labels = materials, settings, _labels(materials)
        self.no_room, share = 0, materials.most_skipped
        whole, steady = frozenset(materials.whole), frozenset(materials.steady)
        if strange := sorted((whole | steady) - {*self.labels}):
            raise ManifestError(f"no clip is labelled {strange[0]!r}; known: {', '.join(self.labels) or 'none'}")
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
            if clips is None:
                continue
            for _ in range(rng.integers(least, most, endpoint=True)):
                sound = self._sound(clips, rng)
                start = _free(sound, len(scene.samples), busy, settings.polyphony, rng)
                if start is None:
                    self.no_room += 1
                else:
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


def _manifests(materials: Materials) -> Mapping[str, Manifest | None]:
    return {"clips": materials.clips, "backgrounds": materials.backgrounds, "distractors": materials.distractors}


def _resolved(materials: Materials, settings: SoundscapeSettings) -> dict[str, object]:
    """What each soundscape depends on; not how many there are."""
    fingerprints = {name: one.fingerprint if one else None for name, one in _manifests(materials).items()}
    plain = {name: value for name, value in asdict(settings).items() if name != "count"}
    return {
        "manifests": fingerprints,
        "labels": _labels(materials),
        "whole": sorted(materials.whole),
        "steady": sorted(materials.steady),
        **plain,
    }
