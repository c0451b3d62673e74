"""Data beside the checkout, and small stand-ins for it."""

import os
from pathlib import Path

import numpy as np
import pytest

from training.data import LABELS, RATE, Sound, normalised

SHARED = Path(__file__).parents[3] / "shared"


def shared(name: str) -> Path:
    """A path under `../shared`; without it the test fails in CI and is skipped elsewhere."""
    path = SHARED / name
    if not path.exists():
        tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        tell(f"needs {path}")
    return path


def tones() -> list[Sound]:
    """A stand-in for recordings: two seconds of a tone, another one for each label."""
    t = np.arange(2 * RATE) / RATE
    waves = [np.sin(2 * np.pi * 300 * 1.35**label * t).astype(np.float32) for label in range(len(LABELS))]
    return [normalised(Sound(wave, label, ((0, len(wave)),))) for label, wave in enumerate(waves)]
