from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.config import DetectionSettings
from monitor.detection import Detection
from monitor.pipeline import Pipeline
from ssondo_stream.types import AudioBlock, Frames, Samples
from tests.fakes import LoudnessStudent

RATE = 32_000
LIMITS = DetectionSettings.model_validate({"threshold": 0.5, "off": 0.4, "early": 0.6, "hold_seconds": 0})


def noise(seconds: float, *loud: tuple[float, float], rate: int = RATE) -> Samples:
    audio = np.random.default_rng(0).normal(0, 0.001, int(seconds * rate)).astype(np.float32)
    for begin, end in loud:
        audio[int(begin * rate) : int(end * rate)] *= 300
    return audio


def run(pipeline: Pipeline, audio: Samples, start: int = 0, size: int = 3_200) -> list[Detection]:
    found = []
    for at in range(0, len(audio), size):
        found += pipeline.push(AudioBlock(start + at, audio[at : at + size]))
    return found


@pytest.mark.parametrize("rate", [16_000, 32_000, 48_000])
def test_sound_at_a_known_sample_is_one_event_within_half_a_second(rate: int) -> None:
    pipeline = Pipeline(LoudnessStudent(), rate, LIMITS)
    found = run(pipeline, noise(20, (5.3, 7.1), rate=rate)) + pipeline.close()
    ended = [d for d in found if d.kind == "ended" and d.slug == "low_sound"]
    assert len(ended) == 1
    assert ended[0].confirmed
    assert ended[0].onset / RATE == pytest.approx(5.3, abs=0.5)
    assert (ended[0].offset or 0) / RATE == pytest.approx(7.1, abs=0.5)


@pytest.mark.parametrize("size", [1_000, 16_384, 50_000])
def test_cutting_of_the_audio_changes_no_detection(size: int) -> None:
    audio = noise(20, (5.3, 7.1), (12, 13))
    one, other = (Pipeline(LoudnessStudent(), RATE, LIMITS) for _ in range(2))
    assert run(one, audio, size=size) + one.close() == run(other, audio) + other.close()


def test_every_second_is_analysed_also_across_gaps() -> None:
    seconds: list[float] = []
    pipeline = Pipeline(LoudnessStudent(), RATE, LIMITS, on_analyzed=seconds.append)
    run(pipeline, noise(3.3))
    run(pipeline, noise(2.7), start=1_000_000)
    pipeline.close()
    assert sum(seconds) == pytest.approx(6.0, abs=1e-6)


def test_events_do_not_reach_beyond_the_audio() -> None:
    pipeline = Pipeline(LoudnessStudent(), RATE, LIMITS)
    start = 1_000_001
    found = run(pipeline, noise(3, (0, 3)), start=start) + pipeline.close()
    assert found
    assert {d.onset for d in found} == {start}
    assert all(start + 2.5 * RATE < (d.offset or 0) <= start + 3 * RATE for d in found if d.kind == "ended")


def test_gap_ends_the_event_and_what_follows_is_another() -> None:
    pipeline = Pipeline(LoudnessStudent(), RATE, LIMITS)
    found = run(pipeline, noise(3, (1, 3)))
    found += run(pipeline, noise(3, (0, 1)), start=10 * RATE) + pipeline.close()
    spans = [(d.onset / RATE, (d.offset or 0) / RATE) for d in found if d.kind == "ended" and d.slug == "low_sound"]
    assert [span[0] for span in spans] == [pytest.approx(1, abs=0.5), pytest.approx(10, abs=0.5)]
    assert 2.5 < spans[0][1] <= 3


class DoubtfulStudent(LoudnessStudent):
    """Its verifier speaks for sounds that last, and against short ones."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, verifies=True)

    def verify(self, frames: Frames) -> NDArray[np.float32]:
        return np.full(2, 9 if len(frames) > 100 else -9, np.float32)


def test_students_verifier_confirms_one_sound_and_refutes_another() -> None:
    audio = noise(20, (5, 8), (12, 12.8))
    for confirm, expected in ((0.0, [True, True]), (0.5, [True, False])):
        pipeline = Pipeline(DoubtfulStudent(), RATE, LIMITS.model_copy(update={"confirm": confirm}))
        found = run(pipeline, audio) + pipeline.close()
        assert [d.confirmed for d in found if d.kind == "ended" and d.slug == "low_sound"] == expected


def test_configured_certainty_changes_nothing_without_a_verifier() -> None:
    audio = noise(20, (5, 8), (12, 12.8))
    one, other = (
        Pipeline(LoudnessStudent(), RATE, limits) for limits in (LIMITS, LIMITS.model_copy(update={"confirm": 1.0}))
    )
    assert run(one, audio) + one.close() == run(other, audio) + other.close()
