"""Short clips of two labels, one steady and one with pauses, and backgrounds."""

from pathlib import Path

import numpy as np
import soundfile

from training.manifest import Entry, Manifest, open_manifest
from training.sounds import RATE


def chirps(seconds: float = 1.6, on: float = 0.2, off: float = 0.6, pitch: float = 900.0) -> np.ndarray:
    """Beeps with pauses, from a quarter of a second on."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = 0.3 * np.sin(2 * np.pi * pitch * time) * ((time - 0.25) % (on + off) < on) * (time >= 0.25)
    return wave.astype(np.float32)


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def clips(folder: Path) -> Manifest:
    """Chirps at 48 kHz with two channels, and rain."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        wave = np.repeat(chirps(pitch=700.0 + 300 * number)[:, None], 2, axis=1)
        soundfile.write(folder / f"chirp{number}.wav", wave, RATE)
        soundfile.write(folder / f"rain{number}.flac", noise(4, seed=number), RATE)
    entries = [Entry(f"chirp{i}.wav", ("Chirp",), i) for i in range(2)]
    return Manifest(folder, (*entries, *(Entry(f"rain{i}.flac", ("Rain",), i) for i in range(2))))


def backgrounds(folder: Path) -> Manifest:
    """Soft noise, of three seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / "room.wav", noise(3, 0.01, seed=9), RATE)
    return open_manifest(folder)
