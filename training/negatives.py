"""Sounds that must not be reported: speech, noise, hum, music-like tones, clicks, beeps.

A student that never heard them in training reports some label for each of them.
"""

import io
import subprocess
from collections.abc import Callable

import numpy as np
import scipy.signal
import soundfile
import soxr
from numpy.typing import NDArray

from ssondo_stream.types import Samples
from training.sounds import RATE, Sound, activity, normalised

Wave = NDArray[np.float64]
VOICES = ("en-gb", "en-us", "de", "fr-fr", "es", "it", "pl", "sv", "pt-br", "nl", "tr", "ru")
UNHEARD_VOICES = ("en-gb-scotland", "da", "cs", "fi", "hu", "ro")
"""Voices that are kept out of training, to measure with."""
_VARIANTS = ("", "+m1", "+m3", "+m7", "+f1", "+f2", "+f4", "+croak", "+whisper")
_WORDS = {
    "en": "could you please bring the other box over here before the guests arrive tonight we might need it for dinner "
    "no I do not think that would work at all because yesterday it rained",
    "de": "gestern haben wir noch lange über das neue Haus gesprochen und niemand wusste genau wann es fertig wird "
    "vielleicht kommt er morgen früh wieder zurück",
    "fr": "nous avons acheté du pain et du fromage pour le petit déjeuner mais il ne reste plus rien dans la cuisine "
    "demain peut être",
    "es": "mañana vamos a caminar por la playa con los niños y después comemos en casa de mi hermana si no llueve",
}


def speech(rng: np.random.Generator, voices: tuple[str, ...] = VOICES) -> Sound:
    """A made-up sentence, spoken by espeak-ng in a random voice, language, pitch and rate."""
    voice = str(rng.choice(voices))
    words = _WORDS.get(voice[:2], _WORDS["en"]).split()
    text = " ".join(rng.choice(words, size=int(rng.integers(3, 16))))
    command = ["espeak-ng", "-v", voice + str(rng.choice(_VARIANTS)), "-s", str(rng.integers(110, 230))]
    command += ["-p", str(rng.integers(15, 85)), "--stdout", text]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    return _heard(np.asarray(soxr.resample(samples, rate, RATE), np.float32))


def coloured_noise(rng: np.random.Generator, seconds: float = 10.0) -> Sound:
    """Noise with a random slope (white to brown), band and slow modulation."""
    n = round(seconds * RATE)
    frequency = np.fft.rfftfreq(n, 1 / RATE) + 20
    shape = frequency ** -rng.uniform(0, 1.1)
    if rng.random() < 0.5:
        centre, width = np.exp(rng.uniform(np.log(80), np.log(8000))), rng.uniform(0.3, 1.5)
        shape *= 0.05 + np.exp(-0.5 * (np.log(frequency / centre) / width) ** 2)
    noise = np.fft.irfft(shape * np.exp(2j * np.pi * rng.random(len(frequency))), n)
    return _steady(noise * _drift(rng, n))


def hum(rng: np.random.Generator, seconds: float = 10.0) -> Sound:
    """Mains hum and its harmonics, or a fan's blades, over a little noise."""
    n = round(seconds * RATE)
    t = np.arange(n) / RATE
    base = rng.choice([50.0, 60.0, 100.0, 120.0, rng.uniform(40, 400)])
    orders = np.arange(1, int(rng.integers(4, 14)))
    tones = [rng.random() / order * np.sin(2 * np.pi * (base * order * t + rng.random())) for order in orders]
    noise = 10 ** rng.uniform(-2.5, -0.5) * rng.standard_normal(n)
    return _steady((np.sum(tones, axis=0) + scipy.signal.lfilter([1], [1, -0.9], noise)) * _drift(rng, n))


def music(rng: np.random.Generator, seconds: float = 10.0) -> Sound:
    """Notes of a scale as melody, chords or arpeggio, on an instrument with a random timbre."""
    out = np.zeros(round(seconds * RATE))
    root, beat = rng.uniform(80, 500), rng.uniform(0.12, 0.7)
    scale = rng.choice([[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10], [0, 2, 4, 7, 9, 12, 14]])
    timbre, decay = rng.random(8) ** 2 / np.arange(1, 9), rng.uniform(0.5, 8)
    voices = int(rng.integers(1, 4))
    start = 0.0
    while start < seconds - 0.2:
        length = beat * rng.choice([1, 1, 2, 0.5])
        for step in rng.choice(scale, size=voices, replace=False):
            _add(out, start, _note(root * 2 ** (step / 12), length * rng.uniform(0.8, 2), timbre, decay))
        start += length
    return _steady(out)


def clicks(rng: np.random.Generator, seconds: float = 5.0) -> Sound:
    """Knocks, taps and keystrokes at irregular times."""
    out = np.zeros(round(seconds * RATE))
    for start in rng.uniform(0, seconds - 0.1, size=int(rng.integers(1, 14))):
        n = round(rng.uniform(0.004, 0.08) * RATE)
        body = np.sin(2 * np.pi * rng.uniform(120, 4000) * np.arange(n) / RATE) + rng.standard_normal(n)
        _add(out, float(start), rng.uniform(0.2, 1) * body * np.exp(-6 * np.arange(n) / n))
    return _heard(out.astype(np.float32))


def beeps(rng: np.random.Generator) -> Sound:
    """Beeps that are no alarm: appliances, reversing lorries, telephones; never groups of three half seconds."""
    on, off, count = [
        (rng.uniform(0.05, 0.25), rng.uniform(0.08, 0.3), rng.integers(1, 9)),  # appliance
        (rng.uniform(0.3, 1.2), rng.uniform(0.8, 1.5), rng.integers(1, 5)),  # reversing lorry
        (rng.uniform(0.8, 2.5), rng.uniform(2, 4), rng.integers(1, 3)),  # telephone, long tone
        (rng.uniform(0.02, 0.08), rng.uniform(0.5, 4), rng.integers(1, 4)),  # low battery
    ][int(rng.integers(4))]
    pitch = np.exp(rng.uniform(np.log(400), np.log(4500)))
    n, pause = round(on * RATE), np.zeros(round(off * RATE))
    tone = np.tanh(rng.uniform(0.1, 8) * np.sin(2 * np.pi * pitch * np.arange(n) / RATE))
    ramp = np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.004 * RATE))
    return _heard(np.concatenate([tone * ramp, pause] * int(count)).astype(np.float32))


def ambience(rng: np.random.Generator, seconds: float = 10.0) -> Sound:
    """A quiet place: rumble, a little hiss, sometimes hum."""
    n = round(seconds * RATE)
    rumble = scipy.signal.lfilter([0.05], [1, -rng.uniform(0.95, 0.995)], rng.standard_normal(n))
    out = rumble / rumble.std() + 10 ** rng.uniform(-2.5, -0.7) * rng.standard_normal(n)
    if rng.random() < 0.4:
        out += rng.uniform(0, 1) * hum(rng, seconds).samples
    return _steady(out * _drift(rng, n))


Maker = Callable[[np.random.Generator], Sound]
FOREGROUND: dict[str, Maker] = {
    "speech": speech,
    "music": music,
    "clicks": clicks,
    "beeps": beeps,
}
BACKGROUND: dict[str, Maker] = {
    "noise": coloured_noise,
    "hum": hum,
    "ambience": ambience,
}


def _note(pitch: float, seconds: float, timbre: Wave, decay: float) -> Wave:
    t = np.arange(round(seconds * RATE)) / RATE
    orders = np.arange(1, 1 + len(timbre))
    tone = timbre @ np.sin(2 * np.pi * pitch * orders[:, None] * t)
    return tone * np.minimum(1, t / 0.01) * np.exp(-decay * t) * np.minimum(1, (seconds - t) / 0.02)


def _add(out: Wave, start: float, part: Wave) -> None:
    first = round(start * RATE)
    part = part[: len(out) - first]
    out[first : first + len(part)] += part


def _drift(rng: np.random.Generator, n: int) -> Wave:
    """A slow change of level by a few dB."""
    knots = rng.normal(0, rng.uniform(0, 4), size=8)
    return 10 ** (np.interp(np.linspace(0, 7, n), np.arange(8), knots) / 20)


def _steady(wave: Wave) -> Sound:
    samples: Samples = wave.astype(np.float32)
    return normalised(Sound(samples, None, ((0, len(samples)),), steady=True))


def _heard(samples: Samples) -> Sound:
    return normalised(Sound(samples, None, activity(samples, bridge_seconds=0.3)))
