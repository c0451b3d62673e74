"""A generated stream for trying everything without a microphone: rain, a clock, a smoke alarm and a siren by schedule.

What sounds when is known in advance, so that anyone can check the events against it.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.clock import Clock
from monitor.config import DemoSettings
from monitor.sources.shaping import Shaper
from ssondo_stream.types import AudioBlock, Samples

SAMPLE_RATE = 32_000
BLOCK = 3_200
PERIOD_SECONDS = 72.0
BACKGROUND_DBFS = -52.0
LAG_SECONDS = 30.0
"""A reader that is further behind goes on with the present, as with a microphone."""

Times = NDArray[np.float64]
"""Seconds since the beginning of a sound, [n]."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A sound that begins so many seconds after the start of each period."""

    label: str
    start_seconds: float
    duration_seconds: float


SCHEDULE = (
    Scheduled("smoke_alarm", 4.0, 16.0),
    Scheduled("clock_tick", 26.0, 10.0),
    Scheduled("rain", 40.0, 12.0),
    Scheduled("siren", 56.0, 12.0),
)
"""What the demonstration plays in each period of `PERIOD_SECONDS`; labels are slugs."""


class DemoSource:
    """Generated audio without end; see `AudioSource` for the attributes."""

    live = False
    waits = True
    open_seconds = 0.0
    gap_reason = "overrun"

    def __init__(self, settings: DemoSettings, clock: Clock) -> None:
        self.name = settings.name
        self.sample_rate = SAMPLE_RATE
        self.arrived = 0
        self._settings = settings
        self._clock = clock

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        """Yield 0.1 s blocks for ever, in real time unless told otherwise; then what is long past is left out."""
        synthesis = Synthesis(self._settings.seed)
        shape = Shaper(self._settings, channels=1)
        started = self._clock.monotonic()
        self.arrived = 0
        while True:
            start, self.arrived = self.arrived, self.arrived + BLOCK
            early = started + self.arrived / SAMPLE_RATE - self._clock.monotonic() if self._settings.realtime else 0.0
            if early < -LAG_SECONDS:
                self.arrived += synthesis.skip(-early)
                continue
            await self._clock.sleep(max(0.0, early))
            yield AudioBlock(start, shape(synthesis.push()[:, np.newaxis]))


_HISS = 0.15 * 0.9 ** np.arange(64) + 0.37 * 0.5 ** np.arange(64)
_DROP = np.exp(-np.arange(64) / 6) * np.cos(2 * np.pi * 0.12 * np.arange(64))  # rings at 3.8 kHz
_RUMBLE = 0.435 * 0.9 ** np.arange(64)  # a gentle low pass; scipy's filters would take 50 MB of memory


class Synthesis:
    """Makes the stream block by block. State is the random generator, the background's last noise and the position."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._memory = np.zeros(len(_RUMBLE) - 1)
        self._position = 0

    def push(self) -> Samples:
        """The next `BLOCK` samples."""
        block = self._background()
        period = round(PERIOD_SECONDS * SAMPLE_RATE)
        seconds = ((self._position % period) + np.arange(BLOCK)) / SAMPLE_RATE
        for sound in SCHEDULE:
            times = seconds - sound.start_seconds
            if times[-1] >= 0 and times[0] < sound.duration_seconds:
                block += VOICES[sound.label](times, self._random) * _edges(times, sound.duration_seconds)
        self._position += BLOCK
        return block.astype(np.float32)

    def skip(self, seconds: float) -> int:
        """Leave out so much of the stream; returns how many samples."""
        samples = round(seconds * SAMPLE_RATE) // BLOCK * BLOCK
        self._position += samples
        return samples

    def _background(self) -> NDArray[np.float64]:
        noise = np.concatenate((self._memory, self._random.standard_normal(BLOCK)))
        self._memory = noise[BLOCK:]
        return np.convolve(noise, _RUMBLE, "valid") * 10 ** (BACKGROUND_DBFS / 20)


def _edges(times: Times, duration: float) -> NDArray[np.float64]:
    """Silent outside the sound, with 10 ms ramps within."""
    return np.clip(np.minimum(times, duration - times) / 0.01, 0.0, 1.0)


def _smoke_alarm(times: Times, _: np.random.Generator) -> NDArray[np.float64]:
    """Temporal-three of ISO 8201: three times half a second on and half a second off, then one second more of pause."""
    phase = times % 4.0
    on = np.where(phase < 3.0, phase % 1.0, 1.0)
    tone = np.sum([np.sin(2 * np.pi * 3_100 * k * times) / k**1.5 for k in (1, 2, 3)], axis=0)
    return np.asarray(0.12 * tone * np.clip(np.minimum(on, 0.5 - on) / 0.004, 0.0, 1.0))


def _clock_tick(times: Times, _: np.random.Generator) -> NDArray[np.float64]:
    """A short rattle of two resonances each half second, tick and tock of different pitch."""
    since = times % 0.5
    pitch = np.where(times % 1.0 < 0.5, 2_600.0, 2_100.0)
    ring = np.sin(2 * np.pi * pitch * since) + 0.6 * np.sin(2 * np.pi * 1.83 * pitch * since)
    return 0.35 * ring * np.exp(-since / 0.012)


def _rain(times: Times, random: np.random.Generator) -> NDArray[np.float64]:
    """The hiss of far drops, falling with frequency, and the short ringing of near ones."""
    count = len(times) + len(_HISS) - 1
    hiss = np.convolve(random.standard_normal(count), _HISS, "valid")
    near = (
        (random.random(count) < 0.003)
        * np.minimum(random.exponential(6.0, count), 20.0)
        * random.choice([-1.0, 1.0], count)
    )
    return 0.03 * (hiss + np.convolve(near, _DROP, "valid"))


def _siren(times: Times, _: np.random.Generator) -> NDArray[np.float64]:
    """A wail between 600 and 1400 Hz every four seconds, with the overtones of a horn."""
    cycles = 1_000 * times - 400 * 4 / (2 * np.pi) * np.sin(2 * np.pi * times / 4)
    overtones = [np.sin(2 * np.pi * k * cycles) / k for k in (1, 2, 3, 4)]
    return np.asarray(0.13 * np.sum(overtones, axis=0))


Voice = Callable[[Times, np.random.Generator], NDArray[np.float64]]
VOICES: dict[str, Voice] = {
    "smoke_alarm": _smoke_alarm,
    "clock_tick": _clock_tick,
    "rain": _rain,
    "siren": _siren,
}
