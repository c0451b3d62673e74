"""The same bundle in each engine, and what engines refuse."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ssondo_stream import AudioBlock, BundleError, EngineError, StreamingEngine, load_student
from ssondo_stream.loading import resolve
from ssondo_stream.mel import log_mel
from ssondo_stream.student import EngineOptions, LoadedStudent
from tests.parts import PATIENCE
from tests.parts_onnx import tiny_bundle
from tests.parts_shared import seeded

NAMES = ("mn10", "dymn10", "eres2net")


def last_of_stream(student: LoadedStudent) -> tuple[np.ndarray, np.ndarray]:
    """Logits and embedding of a stream's newest window after some seconds."""
    stream = student.stream(2)
    inference = stream.push(log_mel(seeded().audio(12, 32_000, 1), student.spec.mel))[-1]
    return inference.logits, inference.embedding


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_engines_agree(golden_bundles: dict[str, Path], name: str, engine: str) -> None:
    expected = last_of_stream(load_student(golden_bundles[name], engine="onnx"))
    found = last_of_stream(load_student(golden_bundles[name], engine=engine))  # type: ignore[arg-type]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs).max() < 5e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("name", ["mn10", "default"])
def test_bf16_points_in_the_same_direction(golden_bundles: dict[str, Path], name: str) -> None:
    """Of the published MobileNetV3 and the shipped student; the other golden weights amplify any rounding."""
    bundle = golden_bundles[name] if name in NAMES else name
    try:
        student = load_student(bundle, precision="bf16")
    except EngineError as error:
        assert "this processor has no bf16" in str(error)
        return
    _, exact = last_of_stream(load_student(bundle))
    _, rounded = last_of_stream(student)
    assert exact @ rounded / np.linalg.norm(exact) / np.linalg.norm(rounded) >= 0.999


@pytest.mark.parametrize(
    ("options", "engine"),
    [
        (EngineOptions(), "onnx"),
        (EngineOptions(precision="bf16"), "openvino"),
        (EngineOptions(device="cuda"), "torch"),
    ],
)
def test_auto_takes_the_engine_that_can(options: EngineOptions, engine: str) -> None:
    assert resolve("auto", options) == engine


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"engine": "onnx", "precision": "bf16"}, "use engine 'openvino' for bf16"),
        ({"engine": "openvino", "device": "cuda"}, "runs on the CPU here, not on 'cuda'"),
        ({"engine": "torch", "device": "nonsense"}, "no device 'nonsense'"),
        ({"engine": "tensorflow"}, "no engine 'tensorflow': expected one of auto, onnx, openvino, torch"),
    ],
)
def test_engine_that_cannot_is_refused(golden_bundles: dict[str, Path], arguments: dict[str, str], what: str) -> None:
    with pytest.raises(EngineError, match=what):
        load_student(golden_bundles["mn10"], **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("engine", "module", "extra"), [("openvino", "openvino_student", "openvino"), ("torch", "torch_student", "torch")]
)
def test_engine_that_is_not_installed_is_named(
    golden_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, engine: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    monkeypatch.delitem(sys.modules, f"ssondo_stream.{module}", raising=False)
    with pytest.raises(EngineError, match=rf"pip install 'ssondo-monitor\[{extra}\]'"):
        load_student(golden_bundles["mn10"], engine=engine)  # type: ignore[arg-type]


def test_openvino_reports_nothing_to_its_maker() -> None:
    program = (
        "import sys, threading, ssondo_stream.openvino_student\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE * 120)


def test_bundle_without_weights_for_torch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no weights.safetensors with an architecture"):
        load_student(tiny_bundle(tmp_path), engine="torch")


def test_weights_of_another_architecture_are_refused(golden_bundles: dict[str, Path], tmp_path: Path) -> None:
    for path in golden_bundles["mn10"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    spec = json.loads((tmp_path / "bundle.json").read_text())
    spec["architecture"]["options"] = {"width_mult": 0.5}
    (tmp_path / "bundle.json").write_text(json.dumps(spec))
    with pytest.raises(BundleError, match=r"weights.safetensors: not the weights of mobilenetv3"):
        load_student(tmp_path, engine="torch")


@pytest.mark.parametrize("name", NAMES)
def test_engine_of_every_student_accounts_for_its_audio(golden_bundles: dict[str, Path], name: str) -> None:
    audio = seeded().audio(6, 32_000, 2)
    engine = StreamingEngine(load_student(golden_bundles[name]), 32_000)
    predictions = [*engine.push(AudioBlock(0, audio)), *engine.flush()]
    assert predictions[-1].end >= len(audio)
    steps = {b.end - a.end for a, b in pairwise(predictions)}
    assert steps == {engine.spec.column}
