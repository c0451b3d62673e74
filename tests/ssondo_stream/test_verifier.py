"""What a verifier hears of a stream, and bundles that have one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ssondo_stream.bundle import Label, StudentSpec, load_spec, save_bundle
from ssondo_stream.cutting import Segment
from ssondo_stream.engine import StreamingEngine
from ssondo_stream.errors import BundleError
from ssondo_stream.loading import load_student
from ssondo_stream.mel import MelConfig, log_mel
from ssondo_stream.onnx_student import OnnxVerifier
from ssondo_stream.students.terse_onnx import terse
from ssondo_stream.types import AudioBlock
from ssondo_stream.verifier import EXTENT_FRAMES, LEAST_FRAMES, Patience, RecentFrames, certainty, extent
from tests.parts_onnx import LABELS, tiny_network

MEL = MelConfig()
RATE = MEL.sample_rate
SPEC = StudentSpec("tiny", LABELS, 128, verifies=True)


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def mean_verifier(labels: int = 2) -> bytes:
    """Evidence is the mean of a sound's frames over time, in its first bands."""
    nodes = [
        helper.make_node("ReduceMean", ["frames"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Gather", ["mean", "bands"], ["evidence"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, [1, "time", 128])],
        [helper.make_tensor_value_info("evidence", TensorProto.FLOAT, [1, labels])],
        [numpy_helper.from_array(np.arange(labels), "bands")],
    )
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    ).SerializeToString()
    onnx.checker.check_model(content)
    return content


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    save_bundle(tmp_path / "tiny", SPEC, tiny_network(), {"verifier.onnx": mean_verifier()})
    return tmp_path / "tiny"


def test_certainty_adds_evidence_to_the_log_odds_of_a_score() -> None:
    assert certainty(0.3, 0.0) == pytest.approx(0.3)
    assert certainty(0.5, np.log(4)) == pytest.approx(0.8)
    assert certainty(0.8, -np.log(4)) == pytest.approx(0.5)
    assert 0 < certainty(0.0, -10) < 1e-9
    assert 1 - 1e-9 < certainty(1.0, 10) <= 1


def test_extent_is_what_is_centred_in_the_sound() -> None:
    known = range(1000)
    assert extent(100 * 512 + 512, 200 * 512 + 512, MEL, known) == slice(100, 200)
    assert extent(0, 900 * 512 + 512, MEL, known) == slice(900 - EXTENT_FRAMES, 900), "of a long sound the last"
    assert extent(100 * 512 + 512, 104 * 512 + 512, MEL, known) == slice(104 - LEAST_FRAMES, 104)
    assert extent(0, 512, MEL, known) == slice(0, LEAST_FRAMES), "of a short one at the beginning what follows"
    assert extent(990 * 512, 1100 * 512, MEL, known) == slice(984, 1000), "what is not heard yet is left out"
    assert extent(0, 510 * 512 + 512, MEL, range(500, 1000)) == slice(500, 516), "the beginning is forgotten"
    assert extent(0, 400 * 512, MEL, range(500, 1000)) is None
    assert extent(1100 * 512, 1200 * 512, MEL, known) is None
    assert extent(0, 512 * 9, MEL, range(LEAST_FRAMES - 1)) is None


def test_a_sound_that_goes_on_is_asked_about_ever_less_often() -> None:
    patience, asked = Patience(), []
    for last in range(10, 110):
        if patience.over(Segment(10, last, 10, last + 1, 0.5, 0.5)):
            asked.append(last - 9)
    assert asked == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22, 27, 33, 41, 51, 63, 78, 97]
    assert patience.over(Segment(200, 200, 200, 201, 0.5, 0.5)), "another sound"


@pytest.mark.parametrize("block", [1, 7, 400, 5000])
def test_recent_frames_are_those_of_the_stream_however_they_come(block: int) -> None:
    frames = np.random.default_rng(0).normal(size=(9000, MEL.n_mels)).astype(np.float32)
    recent = RecentFrames(MEL)
    recent.reset(3 * RATE)
    for at in range(0, len(frames), block):
        recent.push(frames[at : at + block])
    onset, offset = 3 * RATE + 8500 * 512 + 512, 3 * RATE + 8600 * 512 + 512
    np.testing.assert_array_equal(recent.of(onset, offset), frames[8500:8600])
    back = 3 * RATE + 7100 * 512 + 512
    np.testing.assert_array_equal(recent.of(back, back + 100 * 512), frames[7100:7200])


def test_frames_are_forgotten_after_a_while_and_at_a_new_beginning() -> None:
    recent = RecentFrames(MEL)
    recent.push(np.zeros((100_000, MEL.n_mels), np.float32))
    assert recent.of(0, RATE) is None
    assert recent.of(99_900 * 512, 99_990 * 512) is not None
    recent.reset(0)
    assert recent.of(0, RATE) is None


@pytest.mark.parametrize("block", [0.1, 3.0])
def test_engine_hears_a_sound_as_if_it_were_given_alone(bundle: Path, block: float) -> None:
    student, samples, size = load_student(bundle), noise(25.0), round(block * RATE)
    engine = StreamingEngine(student, RATE)
    for start in range(0, len(samples), size):
        engine.push(AudioBlock(start, samples[start : start + size]))
    frames = log_mel(samples, MEL)
    for onset, offset in ((0.0, 1.0), (7.3, 9.1), (24.0, 24.5)):
        span = round(onset * RATE), round(offset * RATE)
        found, heard = engine.verify(*span), extent(*span, MEL, range(len(frames)))
        assert heard and found is not None
        np.testing.assert_allclose(found, frames[heard].mean(0)[:2], rtol=1e-4)


def test_engine_remembers_where_a_stream_began_anew(bundle: Path) -> None:
    """A grid goes on over a gap; the frames of its second part are numbered from where that began."""
    student, before, after = load_student(bundle), noise(3.0), noise(6.0, seed=1)
    engine, start = StreamingEngine(student, RATE), 40 * RATE
    engine.push(AudioBlock(0, before))
    engine.push(AudioBlock(start, after))
    frames = log_mel(after, MEL)
    found = engine.verify(start + 100 * 512 + 512, start + 200 * 512 + 512)
    np.testing.assert_allclose(found, frames[100:200].mean(0)[:2], rtol=1e-4)
    assert engine.verify(0, RATE) is None


def test_student_without_a_verifier_is_not_asked(tmp_path: Path) -> None:
    save_bundle(tmp_path, replace(SPEC, verifies=False), tiny_network())
    engine = StreamingEngine(load_student(tmp_path), RATE)
    engine.push(AudioBlock(0, noise(2.0)))
    assert engine.verify(0, RATE) is None


def test_bundles_say_whether_they_verify(bundle: Path) -> None:
    assert load_spec(bundle) == replace(SPEC, network_sha256=load_spec(bundle).network_sha256)
    described = json.loads((bundle / "bundle.json").read_text())
    del described["files"]["verifier.onnx"]
    (bundle / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match=r"must list verifier\.onnx"):
        load_spec(bundle)
    (bundle / "bundle.json").write_text(json.dumps(described | {"verifies": "yes"}))
    with pytest.raises(BundleError, match="verifies must be true or false"):
        load_spec(bundle)


def test_bias_is_added_to_the_evidence_of_its_label(bundle: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).normal(size=(40, 128)).astype(np.float32)
    labels = tuple(replace(label, bias=bias) for label, bias in zip(LABELS, (2.5, -1.0), strict=True))
    save_bundle(tmp_path / "biased", replace(SPEC, labels=labels), tiny_network(), {"verifier.onnx": mean_verifier()})
    added = load_student(tmp_path / "biased").verify(frames) - load_student(bundle).verify(frames)
    assert added == pytest.approx([2.5, -1.0], abs=1e-6)


@pytest.mark.parametrize("labels", [1, 3])
def test_verifier_of_other_labels_is_refused(tmp_path: Path, labels: int) -> None:
    save_bundle(tmp_path, SPEC, tiny_network(), {"verifier.onnx": mean_verifier(labels)})
    with pytest.raises(BundleError, match="the verifier must speak of 2 labels"):
        load_student(tmp_path)


def test_damaged_verifier_is_refused(tmp_path: Path) -> None:
    save_bundle(tmp_path, SPEC, tiny_network(), {"verifier.onnx": tiny_network()})
    with pytest.raises(BundleError, match="expected inputs"):
        load_student(tmp_path)


def test_confirm_and_bias_need_a_verifier_and_make_sense() -> None:
    with pytest.raises(ValueError, match="confirm and bias need a verifier"):
        replace(SPEC, verifies=False, labels=(Label("Low sound", confirm=0.5),))
    with pytest.raises(ValueError, match="bias need a verifier"):
        replace(SPEC, verifies=False, labels=(Label("Low sound", bias=0.5),))
    with pytest.raises(ValueError, match="confirm from 0 to 1"):
        Label("Low sound", confirm=1.5)
    with pytest.raises(ValueError, match=r"Label\.bias must be a number"):
        Label("Low sound", bias=float("nan"))


def test_terse_network_is_the_same_and_one_that_branches_is_left_alone(tmp_path: Path) -> None:
    content, frames = mean_verifier(), np.random.default_rng(0).normal(size=(40, 128)).astype(np.float32)
    for name, data in (("a", content), ("b", terse(content))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "verifier.onnx").write_bytes(data)
    assert len(terse(content)) < len(content)
    np.testing.assert_array_equal(OnnxVerifier(tmp_path / "a").run(frames), OnnxVerifier(tmp_path / "b").run(frames))
    branch = helper.make_graph(
        [helper.make_node("Identity", ["frames"], ["branched"])],
        "branch",
        [],
        [helper.make_tensor_value_info("branched", TensorProto.FLOAT, None)],
    )
    node = helper.make_node("If", ["yes"], ["evidence"], then_branch=branch, else_branch=branch)
    yes = numpy_helper.from_array(np.array(True), "yes")
    inside = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("frames", "evidence")]
    branching = helper.make_model(helper.make_graph([node], "if", inside[:1], inside[1:], [yes])).SerializeToString()
    assert terse(branching) == branching
