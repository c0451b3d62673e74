"""Impulse responses of made-up rooms: a sound recorded close by, as a microphone across the room would hear it.

Early reflections are those of a box by the image-source method (Allen & Berkley 1979), which gives them the right times
and strengths; what follows is noise that decays as the room does, for by then there are too many to tell apart.
"""

from dataclasses import dataclass

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from ssondo_stream.types import Samples
from training.sounds import RATE

Place = tuple[float, float, float]
SOUND_SPEED = 343.0
EARLY_SECONDS = 0.08
_SABINE = 0.161
_WALL = 0.3  # metres that neither source nor microphone comes closer to a wall
_NEAREST = 0.3


@dataclass(frozen=True, slots=True)
class Room:
    """A box with a source and a microphone in it.

    Attributes:
        size: in metres.
        reverberation_seconds: in which sound decays by 60 dB.
        source, microphone: in metres from one corner.
        darkness: 0 to below 1, how much of the treble the walls and the air take.
    """

    size: Place
    reverberation_seconds: float
    source: Place
    microphone: Place
    darkness: float = 0.3

    def __post_init__(self) -> None:
        inside = all(
            0 < x < side for at in (self.source, self.microphone) for x, side in zip(at, self.size, strict=True)
        )
        if not inside or self.distance < _NEAREST / 2:
            raise ValueError(f"source and microphone must be inside the room and apart, got {self}")
        if self.reverberation_seconds <= 0 or not 0 <= self.darkness < 1:
            raise ValueError(f"need reverberation_seconds > 0 and 0 <= darkness < 1, got {self}")

    @property
    def distance(self) -> float:
        """Metres from the source to the microphone."""
        return float(np.linalg.norm(np.subtract(self.source, self.microphone)))

    @property
    def reflection(self) -> float:
        """Share of the pressure that a wall throws back, for this reverberation by Eyring's formula."""
        x, y, z = self.size
        surface = 2 * (x * y + y * z + x * z)
        return float(np.exp(-_SABINE * x * y * z / (2 * surface * self.reverberation_seconds)))


def random_room(rng: np.random.Generator) -> Room:
    """From a bathroom to a hall, with source and microphone anywhere in it."""
    size = (rng.uniform(2, 10), rng.uniform(2, 8), rng.uniform(2.2, 4))
    volume = float(np.prod(size))
    while True:
        source, microphone = (tuple(rng.uniform(_WALL, side - _WALL) for side in size) for _ in range(2))
        if np.linalg.norm(np.subtract(source, microphone)) >= _NEAREST:
            break
    seconds = rng.uniform(0.12, 0.3) * volume ** rng.uniform(0.1, 0.4)  # larger rooms ring longer
    return Room(size, seconds, source, microphone, rng.uniform(0, 0.8))  # type: ignore[arg-type]  # triples


def impulse_response(room: Room, rng: np.random.Generator) -> Samples:
    """What the microphone hears of a click, [n] at 32 kHz.

    The direct sound is sample 0 and has height 1, so that what is convolved begins when it did.

    Args:
        room: with source and microphone.
        rng: of the late noise.
    """
    early = _reflections(room)
    late = _tail(room, early, rng)
    late[: len(early)] += early
    response = late
    response[1:] = _darkened(response[1:], room.darkness)
    response[0] = 1
    return response.astype(np.float32)


def heard_in(samples: Samples, response: Samples, tail_seconds: float = 0.5) -> Samples:
    """Samples as heard in a room, with so much of what rings on after them."""
    length = len(samples) + round(tail_seconds * RATE)
    return np.asarray(scipy.signal.oaconvolve(samples, response)[:length], np.float32)


def _reflections(room: Room) -> NDArray[np.float64]:
    """The first reflections, relative to the direct sound and from its arrival on."""
    reach = SOUND_SPEED * EARLY_SECONDS + room.distance
    places, bounces = zip(*(_images(*axis, reach) for axis in zip(room.source, room.size, strict=True)), strict=True)
    gaps = [at - ear for at, ear in zip(places, room.microphone, strict=True)]
    distance = np.sqrt(gaps[0][:, None, None] ** 2 + gaps[1][None, :, None] ** 2 + gaps[2][None, None, :] ** 2)
    count = bounces[0][:, None, None] + bounces[1][None, :, None] + bounces[2][None, None, :]
    delay = np.round((distance - room.distance) / SOUND_SPEED * RATE).astype(np.int64)
    kept = (delay >= 0) & (delay < round(EARLY_SECONDS * RATE)) & (count > 0)
    signs = np.where((count[kept] + delay[kept]) % 2, -1.0, 1.0)  # walls differ: all of one sign would ring
    strength = signs * room.reflection ** count[kept] * room.distance / distance[kept]
    return np.bincount(delay[kept], strength, round(EARLY_SECONDS * RATE)).astype(np.float64)


def _images(source: float, side: float, reach: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mirrored places of a source along an axis, and how many walls were passed on the way."""
    n = np.arange(-int(reach / (2 * side)) - 1, int(reach / (2 * side)) + 2)
    places = np.concatenate((2 * n * side + source, 2 * n * side - source))
    return places, np.concatenate((np.abs(2 * n), np.abs(2 * n - 1)))


def _tail(room: Room, early: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Decaying noise that takes over where the early reflections end, as strong as they are there."""
    time = np.arange(max(len(early), round(room.reverberation_seconds * RATE))) / RATE
    decay = 10 ** (-3 * time / room.reverberation_seconds)
    window = slice(len(early) // 2, len(early))
    level = np.sqrt(np.mean(early[window] ** 2) / np.mean(decay[window] ** 2))
    noise: NDArray[np.float64] = level * decay * rng.standard_normal(len(time))
    noise[: len(early)] = 0
    return noise


def _darkened(wave: NDArray[np.float64], pole: float) -> NDArray[np.float64]:
    return np.asarray(scipy.signal.lfilter([1 - pole], [1, -pole], wave))
