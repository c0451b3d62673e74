"""Short clips of single sounds, to learn labels on: as loud, as fast and cut where chance has it."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.clips import write_clip
from training.files import locked, make_folder, remember
from training.manifest import Entry, Manifest, open_manifest, write_manifest
from training.progress import bar
from training.sounds import RATE, Sound
from training.sources import Clips, faster, part_of

MANIFEST_FILE, SETTINGS_FILE = "manifest.csv", "crops.json"
_LEAST_SHARE = 0.3  # of a crop's length, or of the sound, that is in it at least
_LOUD = 0.5


@dataclass(frozen=True, slots=True)
class CropSettings:
    """What crops are like.

    Attributes:
        count: of crops; may grow from run to run.
        seconds: of each.
        speed: from and to; a sound is played faster or slower by so much, which changes its pitch as well.
        peak_dbfs: of the loudest sample, from and to.
        seed: of everything.
    """

    count: int
    seconds: float
    speed: tuple[float, float] = (1.0, 1.0)
    peak_dbfs: tuple[float, float] = (-30.0, -1.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.seconds <= 0 or not 0 < self.speed[0] <= self.speed[1]:
            raise ValueError(f"need count >= 1, seconds > 0 and speeds above 0 that do not fall, got {self}")
        if not self.peak_dbfs[0] <= self.peak_dbfs[1] <= 0:
            raise ValueError(f"need peaks up to 0 dBFS that do not fall, got {self.peak_dbfs}")


def write_crops(
    folder: Path, clips: Manifest, labels: tuple[str, ...], settings: CropSettings, *, progress: bool = True
) -> Manifest:
    """Write crops as 16 bit WAV at 32 kHz, and a manifest of them with their labels; what is there is left alone.

    Labels are drawn alike, then clips of the label.

    Args:
        folder: of the crops.
        clips: with one label each.
        labels: all that clips have.
        settings: what crops are like.
        progress: whether a bar is shown.

    Raises:
        ManifestError: a clip has no label or several, or too many cannot be read.
        SettingsError: the folder holds crops of other clips or settings.
        StorageError: a file cannot be written.
    """
    sounds = Clips(clips, labels)
    make_folder(folder)
    with locked(folder):
        plain = {name: value for name, value in asdict(settings).items() if name != "count"}
        remember(folder / SETTINGS_FILE, {"clips": clips.fingerprint, "labels": labels, **plain})
        shown, entries = bar("crops", settings.count, unit="crop", shown=progress), []
        for number in range(settings.count):
            rng = np.random.default_rng([settings.seed, number])
            sound, name = sounds.draw(rng), f"crop-{number:05d}.wav"
            if not (folder / name).exists():
                write_clip(folder / name, crop(sound, settings, rng), RATE)
            entries.append(Entry(name, (labels[sound.label or 0],)))
            shown.update()
        shown.close()
        write_manifest(folder / MANIFEST_FILE, entries)
    return open_manifest(folder / MANIFEST_FILE)


def crop(
    sound: Sound, settings: CropSettings, rng: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A part of a sound somewhere in silence, [seconds]; at least a third of it, or of the crop, is heard."""
    n = round(settings.seconds * RATE)
    part = part_of(faster(sound, rng.uniform(*settings.speed)), rng, settings.seconds).samples
    least = round(_LEAST_SHARE * min(n, len(part)))
    start = int(rng.integers(least - len(part), n - least + 1)) if len(part) < n else 0
    out = np.zeros(n, np.float32)
    first, stop = max(0, start), min(n, start + len(part))
    out[first:stop] = part[first - start : stop - start]
    return out * np.float32(10 ** (rng.uniform(*settings.peak_dbfs) / 20) / max(1e-9, float(np.abs(out).max())))
