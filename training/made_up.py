"""Made-up sounds as clips in files: alarms and sirens with their labels, and what must not be reported.

As files with a manifest they go the way of recorded clips: through a teacher, into clusters, and into soundscapes.
"""

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from training.alarms import siren, smoke_alarm
from training.clips import write_clip
from training.files import locked, make_folder, remember
from training.labels import LABELS, SIREN, SMOKE_ALARM
from training.manifest import Entry, Manifest, write_manifest
from training.negatives import BACKGROUND, FOREGROUND
from training.progress import bar
from training.sounds import RATE, Sound

Maker = Callable[[np.random.Generator], Sound]
MANIFEST_FILE, SETTINGS_FILE = "manifest.csv", "made_up.json"
ALARMS: Mapping[str, Maker] = {"smoke_alarm": smoke_alarm, "siren": siren}
NEGATIVES: Mapping[str, Maker] = {**FOREGROUND, **BACKGROUND}
_NAMES = {"smoke_alarm": LABELS[SMOKE_ALARM], "siren": LABELS[SIREN]}
_PEAK = 0.5


def write_made_up(
    folder: Path, makers: Mapping[str, Maker], count: int, *, folds: int = 4, seed: int = 0, progress: bool = True
) -> Manifest:
    """Write so many clips of each kind as 16 bit WAV at 32 kHz, and a manifest of them; what is there is left alone.

    Args:
        folder: of the clips and `manifest.csv`.
        makers: by the name of the kind, such as `ALARMS` and `NEGATIVES`; the latter have no label.
        count: of each kind; may grow from run to run.
        folds: among which the clips of a kind are dealt out, from 1.
        seed: of everything.
        progress: whether a bar is shown.

    Raises:
        SettingsError: the folder holds clips of another seed or other folds.
        StorageError: a file cannot be written.
    """
    if count < 1 or folds < 1:
        raise ValueError(f"need count >= 1 and folds >= 1, got {count} and {folds}")
    make_folder(folder)
    with locked(folder):
        remember(folder / SETTINGS_FILE, {"seed": seed, "folds": folds})
        shown, entries = bar("made up", count * len(makers), unit="clip", shown=progress), []
        for kind, make in makers.items():
            for number in range(count):
                name = f"{kind}-{number:05d}.wav"
                if not (folder / name).exists():
                    _write(folder / name, make(np.random.default_rng([seed, zlib.crc32(kind.encode()), number])))
                entries.append(Entry(name, (_NAMES[kind],) if kind in _NAMES else (), number % folds + 1))
                shown.update()
        shown.close()
        manifest = Manifest(folder, tuple(entries))
        write_manifest(folder / MANIFEST_FILE, manifest.entries)
    return manifest


def _write(path: Path, sound: Sound) -> None:
    write_clip(path, sound.samples * np.float32(_PEAK / max(1e-9, float(np.abs(sound.samples).max()))), RATE)
