"""A stand-in for recordings."""

import numpy as np

from training.data import LABELS, RATE, Sound, normalised


def tones() -> list[Sound]:
    """A stand-in for recordings: two seconds of a tone, another one for each label."""
    t = np.arange(2 * RATE) / RATE
    waves = [np.sin(2 * np.pi * 300 * 1.35**label * t).astype(np.float32) for label in range(len(LABELS))]
    return [normalised(Sound(wave, label, ((0, len(wave)),))) for label, wave in enumerate(waves)]
