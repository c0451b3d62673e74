"""Smoke alarms and sirens, made up: every one sounds a little different, as devices do.

Source of the pattern: ISO 8201, temporal-three: three beeps of 0.5 s with pauses of 0.5 s, then 1.5 s of silence.
Residential alarms beep at about 3.1 kHz, those for sleepers and the hard of hearing with a 520 Hz square wave.
"""

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.types import Samples
from training.labels import SIREN, SMOKE_ALARM
from training.sounds import RATE, Sound, normalised

Wave = NDArray[np.float64]


def temporal_three(
    frequency: float = 3100.0,
    *,
    cycles: int = 3,
    beep_seconds: float = 0.5,
    gap_seconds: float = 0.5,
    pause_seconds: float = 1.5,
    drive: float = 0.0,
) -> Samples:
    """A smoke alarm from the first beep's start to the last beep's end, [n] at 32 kHz, peak 1.

    Args:
        frequency: of the tone, Hz.
        cycles: groups of three beeps.
        beep_seconds: length of a beep.
        gap_seconds: between the beeps of a group.
        pause_seconds: between groups.
        drive: 0 for a sine, above for a tone that saturates towards a square wave.
    """
    beep = _beep(frequency, beep_seconds, drive)
    gap, pause = np.zeros(round(gap_seconds * RATE)), np.zeros(round(pause_seconds * RATE))
    group = np.concatenate((beep, gap, beep, gap, beep))
    parts = [group] + [np.concatenate((pause, group))] * (cycles - 1)
    return np.concatenate(parts).astype(np.float32)


def smoke_alarm(rng: np.random.Generator) -> Sound:
    """A random temporal-three alarm. Its one span holds the pauses too: the train is one event."""
    low = rng.random() < 0.35
    scale = rng.uniform(0.92, 1.08)
    samples = temporal_three(
        rng.uniform(500, 545) if low else rng.uniform(2750, 3550),
        cycles=int(rng.integers(2, 6)),
        beep_seconds=0.5 * scale,
        gap_seconds=0.5 * scale * rng.uniform(0.9, 1.1),
        pause_seconds=1.5 * scale * rng.uniform(0.95, 1.05),
        drive=rng.uniform(8, 30) if low else rng.choice([0.0, 1.5, 4.0, 12.0]),
    )
    return normalised(Sound(samples, SMOKE_ALARM, ((0, len(samples)),)))


def siren(rng: np.random.Generator) -> Sound:
    """A random wail, yelp or two-tone siren, with harmonics of its horn."""
    seconds = rng.uniform(4, 14)
    pitch = (_wail, _yelp, _two_tone)[rng.integers(3)](rng, round(seconds * RATE))
    tone = np.sin(2 * np.pi * np.cumsum(pitch) / RATE)
    horn = np.tanh(tone * rng.uniform(0.5, 6)) + rng.uniform(0, 0.3) * tone**2
    fade = round(rng.uniform(0.02, 1.0) * RATE)
    samples = _faded(horn - horn.mean(), fade).astype(np.float32)
    return normalised(Sound(samples, SIREN, ((0, len(samples)),)))


def _beep(frequency: float, seconds: float, drive: float) -> Wave:
    tone = np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)
    shaped = np.tanh(drive * tone) / np.tanh(drive) if drive else tone
    return _faded(shaped, round(0.005 * RATE))


def _wail(rng: np.random.Generator, n: int) -> Wave:
    return _sweep(rng, n, seconds=rng.uniform(2.5, 8))


def _yelp(rng: np.random.Generator, n: int) -> Wave:
    return _sweep(rng, n, seconds=rng.uniform(0.25, 0.6))


def _sweep(rng: np.random.Generator, n: int, seconds: float) -> Wave:
    """Pitch that rises and falls between two tones, faster up than down in some devices."""
    low, high = rng.uniform(350, 800), rng.uniform(1000, 1900)
    rise = rng.uniform(0.3, 0.6)
    phase = (np.arange(n) / RATE / seconds + rng.random()) % 1
    position = np.where(phase < rise, phase / rise, (1 - phase) / (1 - rise))
    return low * (high / low) ** (position ** rng.uniform(0.7, 1.4))


def _two_tone(rng: np.random.Generator, n: int) -> Wave:
    low = rng.uniform(380, 800)
    ratio, seconds = rng.choice([4 / 3, 5 / 4, 6 / 5, 1.5]), rng.uniform(0.35, 0.9)
    high = (np.arange(n) / RATE / seconds + rng.random()) % 2 < 1
    return np.where(high, low * ratio, low)


def _faded(wave: Wave, n: int) -> Wave:
    ramp = np.minimum(1, (np.arange(len(wave)) + 0.5) / n)
    return wave * ramp * ramp[::-1]
