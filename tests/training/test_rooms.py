from dataclasses import replace

import numpy as np
import pytest

from training.rooms import EARLY_SECONDS, SOUND_SPEED, Room, heard_in, impulse_response, random_room
from training.sounds import RATE

ROOM = Room((6.0, 5.0, 3.0), 0.5, (1.0, 1.0, 1.5), (4.0, 3.0, 1.2), 0.0)


def decay_seconds(response: np.ndarray) -> float:
    """Time for 60 dB, from the slope between 5 and 25 dB of what is left (Schroeder 1965)."""
    left = np.cumsum(response[::-1].astype(float) ** 2)[::-1]
    level = 10 * np.log10(left / left[0] + 1e-12)
    from_, to = np.argmax(level < -5), np.argmax(level < -25)
    return 3 * (to - from_) / RATE


def reverberant_share(room: Room) -> float:
    response = impulse_response(room, np.random.default_rng(0)).astype(float)
    return float(np.sum(response[1:] ** 2))


@pytest.mark.parametrize("seconds", [0.3, 0.5, 1.0])
def test_room_rings_as_long_as_it_says(seconds: float) -> None:
    room = replace(ROOM, reverberation_seconds=seconds)
    response = impulse_response(room, np.random.default_rng(0))
    assert decay_seconds(response[round(EARLY_SECONDS * RATE) :]) == pytest.approx(seconds, rel=0.1)
    assert decay_seconds(response[1:]) == pytest.approx(seconds, rel=0.3)


def test_direct_sound_comes_first_and_the_floor_next() -> None:
    response = impulse_response(ROOM, np.random.default_rng(0))
    assert response[0] == 1
    mirrored = np.linalg.norm(np.subtract((1.0, 1.0, -1.5), ROOM.microphone))
    delay = round((mirrored - ROOM.distance) / SOUND_SPEED * RATE)
    assert np.flatnonzero(response[1:])[0] + 1 == delay
    assert abs(response[delay]) == pytest.approx(ROOM.reflection * ROOM.distance / mirrored, rel=1e-4)


def test_far_microphone_hears_more_of_the_room() -> None:
    near = replace(ROOM, source=(3.8, 2.8, 1.2))
    assert 5 * reverberant_share(near) < reverberant_share(ROOM)


def test_dark_room_takes_the_treble() -> None:
    def treble(darkness: float) -> float:
        spectrum = np.abs(np.fft.rfft(impulse_response(replace(ROOM, darkness=darkness), np.random.default_rng(0))[1:]))
        return float(spectrum[len(spectrum) // 2 :].mean() / spectrum[: len(spectrum) // 8].mean())

    assert treble(0.7) < 0.5 * treble(0.0)


def test_sound_begins_when_it_did_and_rings_on() -> None:
    click = np.zeros(1000, np.float32)
    click[300] = 1
    heard = heard_in(click, impulse_response(ROOM, np.random.default_rng(0)), 0.25)
    assert len(heard) == 1000 + RATE // 4
    assert np.abs(heard[:300]).max() < 1e-6
    assert heard[300] == pytest.approx(1, abs=1e-5)
    assert np.abs(heard[1000:]).max() > 1e-3


def test_random_rooms_differ_and_come_again_with_the_seed() -> None:
    rooms = [random_room(np.random.default_rng(seed)) for seed in range(200)]
    assert len(set(rooms)) == 200
    assert rooms[7] == random_room(np.random.default_rng(7))
    seconds = [room.reverberation_seconds for room in rooms]
    assert 0.1 < min(seconds) < 0.25
    assert 0.8 < max(seconds) < 2.5
    assert np.isfinite(impulse_response(rooms[0], np.random.default_rng(0))).all()


@pytest.mark.parametrize(
    "wrong",
    [{"source": (7.0, 1.0, 1.0)}, {"microphone": (1.0, 1.0, 1.5)}, {"reverberation_seconds": 0.0}, {"darkness": 1.0}],
)
def test_impossible_rooms_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be inside|need reverberation"):
        replace(ROOM, **wrong)
