"""The incremental prefix against the whole window, on a real exported network."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssondo_stream.bundle import Label, Prefix, StudentSpec
from ssondo_stream.onnx_student import OnnxStudent
from ssondo_stream.prefix import PrefixStream
from ssondo_stream.students import tagger
from ssondo_stream.windowed import WindowedStream
from training.export import write_bundle
from training.first_student import STUDENT

FRAMES = np.random.default_rng(0).uniform(-7, 3, (1_500, 128)).astype(np.float32)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> OnnxStudent:
    """A student with gates and statistics that matter."""
    torch.manual_seed(0)
    network = tagger(STUDENT, 2).train()
    for _ in range(3):
        network(torch.randn(4, 80, 128) - 4)
    folder = tmp_path_factory.mktemp("bundles") / "tried"
    write_bundle(network.eval(), folder, [Label("Low sound"), Label("High sound")])
    return OnnxStudent(folder)


def assert_streams_agree(student: OnnxStudent, hop: int, cuts: list[int]) -> None:
    incremental, whole = student.stream(hop), WindowedStream(student.spec, student.infer, hop)
    assert isinstance(incremental, PrefixStream)
    for part in np.split(FRAMES, np.minimum(np.cumsum(cuts), len(FRAMES))):
        for ours, theirs in zip(incremental.push(part), whole.push(part), strict=True):
            np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-5)
            np.testing.assert_allclose(ours.embedding, theirs.embedding, atol=1e-5)


@pytest.mark.parametrize("hop", [1, 2, 3, 7, 19, 20])
def test_incremental_prefix_equals_the_whole_window(student: OnnxStudent, hop: int) -> None:
    assert_streams_agree(student, hop, [])


@given(st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=5, deadline=None)
def test_it_does_so_however_the_frames_are_cut(student: OnnxStudent, cuts: list[int]) -> None:
    assert_streams_agree(student, 1, cuts)


def test_reset_forgets_the_window(student: OnnxStudent) -> None:
    used = student.stream()
    used.push(FRAMES[:900])
    used.reset()
    for ours, theirs in zip(used.push(FRAMES[:700]), student.stream().push(FRAMES[:700]), strict=True):
        np.testing.assert_array_equal(ours.logits, theirs.logits)


def test_two_streams_of_a_student_do_not_disturb_each_other(student: OnnxStudent) -> None:
    one, other, alone = student.stream(), student.stream(), student.stream()
    mixed = []
    for at in range(0, 1_200, 100):
        mixed += one.push(FRAMES[at : at + 100])
        other.push(FRAMES[::-1][at : at + 100])
    for ours, theirs in zip(mixed, alone.push(FRAMES[:1_200]), strict=True):
        np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-5)


def test_extent_is_the_published_one(student: OnnxStudent) -> None:
    assert student.spec.prefix == Prefix(stride=4, reach=9)


@pytest.mark.parametrize("wrong", [(0, 9), (4, -1)])
def test_impossible_extent_is_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="prefix: need stride"):
        StudentSpec(name="x", labels=(), embedding_dim=1, prefix=Prefix(*wrong))
