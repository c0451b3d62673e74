"""Streams that keep the network's local parts, against the same network run once on everything."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssondo_stream.bundle import LocalPart, StudentSpec
from ssondo_stream.engine import StudentStream
from ssondo_stream.errors import EngineError
from ssondo_stream.loading import load_student
from ssondo_stream.mel import log_mel
from ssondo_stream.student import LoadedStudent
from ssondo_stream.types import Frames, Inference
from ssondo_stream.windowed import LocalStream, WindowedStream
from tests.parts_shared import seeded

NAMES = ("mn10", "eres2net")
TOLERANCE = 1e-5  # of the largest value


@pytest.fixture(scope="module")
def frames() -> Frames:
    """A window of tones, bursts and clicks, and half of the next."""
    return log_mel(seeded().audio(15, 32_000, 3))


@pytest.fixture(scope="module", params=NAMES)
def student(request: pytest.FixtureRequest, golden_bundles: dict[str, Path]) -> LoadedStudent:
    return load_student(golden_bundles[request.param], threads=2)


def one_shot(student: LoadedStudent, frames: Frames, hop: int, columns: int) -> Iterator[Inference]:
    """The convolutions over everything from the start to each hop, and the pooling over the newest columns."""
    network, stride = student._network, student.spec.column_frames
    for end in range(stride, len(frames) + 1, hop * stride):
        maps: list[np.ndarray] = [frames[:end]]
        for number, part in enumerate(student.spec.local):
            maps += network.run_local(number, [maps[i] for i in part.inputs])
        yield network.run_rest(maps[-1][:, -columns:])


def assert_same(ours: list[Inference], theirs: list[Inference]) -> None:
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        for mine, other in ((a.logits, b.logits), (a.embedding, b.embedding)):
            assert mine.shape == other.shape
            assert np.abs(mine - other).max() <= TOLERANCE * np.abs(other).max()


def pushed(stream: StudentStream, frames: Frames, cuts: list[int]) -> list[Inference]:
    return [each for part in np.split(frames, np.minimum(np.cumsum(cuts), len(frames))) for each in stream.push(part)]


@pytest.mark.parametrize("hop", [1, 2, 3, 7, 19, 20])
def test_windowed_stream_equals_the_network_on_each_window(student: LoadedStudent, frames: Frames, hop: int) -> None:
    stream = student.stream(hop)
    assert isinstance(stream, LocalStream)
    assert_same(stream.push(frames), WindowedStream(student.spec, student.infer, hop).push(frames))


@pytest.mark.parametrize(("hop", "seconds", "columns"), [(1, None, 39), (2, 2.56, 10), (5, 0.256, 1), (4, 12.8, 50)])
def test_continuous_stream_equals_the_network_on_the_whole_past(
    golden_bundles: dict[str, Path], frames: Frames, hop: int, seconds: float | None, columns: int
) -> None:
    student = load_student(golden_bundles["eres2net"], mode="continuous", span_seconds=seconds, threads=2)
    assert_same(student.stream(hop).push(frames), list(one_shot(student, frames, hop, columns)))


@pytest.fixture(scope="module", params=["windowed", "continuous"])
def at_once(
    request: pytest.FixtureRequest, golden_bundles: dict[str, Path], frames: Frames
) -> tuple[LoadedStudent, list[Inference]]:
    """A student, and what it says of the frames in one piece."""
    student = load_student(golden_bundles["eres2net"], mode=request.param, threads=2)
    return student, student.stream(2).push(frames)


@given(cuts=st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=5, deadline=None)
def test_streams_do_so_however_the_frames_are_cut(
    at_once: tuple[LoadedStudent, list[Inference]], frames: Frames, cuts: list[int]
) -> None:
    student, expected = at_once
    assert_same(pushed(student.stream(2), frames, cuts), expected)


@pytest.mark.parametrize("mode", ["windowed", "continuous"])
def test_reset_forgets_the_stream(golden_bundles: dict[str, Path], frames: Frames, mode: str) -> None:
    student = load_student(golden_bundles["eres2net"], mode=mode, threads=2)  # type: ignore[arg-type]
    used = student.stream(3)
    used.push(frames[:900])
    used.reset()
    assert_same(used.push(frames[:700]), student.stream(3).push(frames[:700]))


def test_two_streams_of_a_student_do_not_disturb_each_other(student: LoadedStudent, frames: Frames) -> None:
    one, other = student.stream(), student.stream()
    mixed = []
    for at in range(0, 800, 100):
        mixed += one.push(frames[at : at + 100])
        other.push(frames[::-1][at : at + 100])
    assert_same(mixed, student.stream().push(frames[:800]))


def test_extents_are_the_published_ones(golden_bundles: dict[str, Path]) -> None:
    assert load_student(golden_bundles["mn10"]).spec.local == (LocalPart(stride=8, reach=17, context=3),)
    extents = {(part.stride, part.reach) for part in load_student(golden_bundles["eres2net"]).spec.local}
    assert {(1, 7), (2, 23), (4, 71), (8, 119), (16, 215)} <= extents


def test_continuous_mode_is_refused_where_the_network_looks_at_its_whole_window(
    golden_bundles: dict[str, Path],
) -> None:
    with pytest.raises(EngineError, match="use mode 'windowed'"):
        load_student(golden_bundles["mn10"], mode="continuous")


@pytest.mark.parametrize(
    ("mode", "seconds", "what"), [("windowed", 5.0, "a span is for"), ("continuous", 0.01, "0.256 s")]
)
def test_spans_that_make_no_sense_are_refused(
    golden_bundles: dict[str, Path], mode: str, seconds: float, what: str
) -> None:
    with pytest.raises(EngineError, match=what):
        load_student(golden_bundles["eres2net"], mode=mode, span_seconds=seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "part", [{"stride": 0, "reach": 9}, {"stride": 4, "reach": -1}, {"stride": 4, "reach": 9, "inputs": (1,)}]
)
def test_impossible_parts_are_refused(part: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="local part"):
        StudentSpec(name="x", labels=(), embedding_dim=1, local=(LocalPart(context=0, **part),))  # type: ignore[arg-type]
