"""CPU time and memory of every published student, beside what a user of the published package pays.

The baseline keeps ten seconds of audio and runs mel and student on all of it at each hop of 0.512 s, in torch eager.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ssondo_stream import AudioBlock, EngineError, StreamingEngine, load_student
from ssondo_stream.mel import MelConfig, filterbank, log_mel
from ssondo_stream.students import ColumnTagger
from ssondo_stream.students.heads import image
from tests.bench.published_form import as_published
from tests.bench.rows import Row
from tests.parts_shared import seeded
from tests.parts_students import golden_bundle, golden_student

HOP = 16_384
RATE = 32_000
WARM_UP = 24  # hops, past the growth of the window
ROUNDS, STRETCH = 12, 5


@dataclass(frozen=True, slots=True)
class Case:
    """One way to run a student.

    Attributes:
        student: golden student by name.
        bar: times less CPU than the baseline.
        arguments: of `load_student`.
    """

    student: str
    what: str
    bar: float
    arguments: Mapping[str, str] = field(default_factory=dict)


CASES = (
    Case("mn10", "MobileNetV3, fp32", 4),
    Case("mn10", "MobileNetV3, OpenVINO bf16", 7, {"engine": "openvino", "precision": "bf16"}),
    Case("eres2net", "ERes2Net windowed, fp32", 6),
    Case("eres2net", "ERes2Net continuous, fp32", 10, {"mode": "continuous"}),
    Case("dymn10", "DyMN, OpenVINO fp32", 2.5, {"engine": "openvino"}),
)
MEMORY = {
    "MobileNetV3": ("mn10", {}),
    "ERes2Net windowed": ("eres2net", {}),
    "ERes2Net continuous": ("eres2net", {"mode": "continuous"}),
}


def students(folder: Path) -> list[Row]:
    """Speed, accuracy and memory, a student after the other."""
    audio = seeded().audio(40, RATE, 5)
    rows = [_peak()]
    for name in dict.fromkeys(case.student for case in CASES):
        bundle = golden_bundle(name, folder / name)
        rows += _speed(bundle, golden_student(name), [case for case in CASES if case.student == name], audio)
    for what, (name, arguments) in MEMORY.items():
        rows.append(_memory(what, folder / name, arguments))
    return rows


def _speed(bundle: Path, network: ColumnTagger, cases: list[Case], audio: np.ndarray) -> list[Row]:
    """All cases and the baseline take turns, so that whatever else the machine does falls on all of them."""
    steps: dict[str, Callable[[], None]] = {}
    rows = []
    for case in cases:
        try:
            steps[case.what] = _streaming(bundle, case.arguments, audio)
        except EngineError as error:
            rows.append(Row(f"{case.what}: not run", 0, "", None, note=str(error)))
    baseline = _eager(network, audio)
    taken: dict[str, list[float]] = {what: [] for what in [*steps, "baseline"]}
    for _ in range(ROUNDS):
        for what, step in (*steps.items(), ("baseline", baseline)):
            taken[what] += _cpu(step)
    theirs = float(np.median(taken["baseline"]))
    for case in cases:
        if case.what in steps:
            rows += _rows(case, float(np.median(taken[case.what])), theirs, _accuracy(bundle, case, network, audio))
    return rows


def _rows(case: Case, ours: float, theirs: float, accuracy: tuple[float, float]) -> list[Row]:
    difference, cosine = accuracy
    note = f"{ours * 1e3:.1f} ms against {theirs * 1e3:.1f} ms a hop; embedding differs by {difference:.0e}"
    rows = [Row(f"{case.what}: times less than torch eager", theirs / ours, "", case.bar, at_least=True, note=note)]
    if case.arguments.get("precision") == "bf16":
        rows.append(Row(f"{case.what}: embedding's cosine", cosine, "", None, note="random weights amplify rounding"))
        rows.append(_shipped_in(case))
    return rows


def _shipped_in(case: Case) -> Row:
    """How far reduced precision turns the embeddings of the shipped student, which is trained."""
    audio = AudioBlock(0, seeded().audio(40, RATE, 5))
    exact, rounded = (
        [each.embedding for each in StreamingEngine(load_student(**arguments), RATE).push(audio)]  # type: ignore[arg-type]
        for arguments in ({}, case.arguments)
    )
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(exact, rounded, strict=True)]
    note = f"smallest of {len(cosines)} windows"
    return Row("shipped student, OpenVINO bf16: embedding's cosine", float(min(cosines)), "", 0.999, True, note)


def _streaming(bundle: Path, arguments: Mapping[str, str], audio: np.ndarray) -> Callable[[], None]:
    """The engine as the service runs it, pushed one hop further by each call."""
    engine = _engine(bundle, arguments)
    position = 0

    def step() -> None:
        nonlocal position
        at = position % (len(audio) - HOP)
        engine.push(AudioBlock(position, audio[at : at + HOP]))
        position += HOP

    for _ in range(WARM_UP):
        step()
    return step


def _engine(bundle: Path, arguments: Mapping[str, str]) -> StreamingEngine:
    student = load_student(bundle, **arguments)  # type: ignore[arg-type]
    return StreamingEngine(student, RATE, hop_columns=HOP // student.spec.column)


def _eager(network: ColumnTagger, audio: np.ndarray) -> Callable[[], None]:
    """Mel and student of ten seconds in torch, in the published form."""
    torch.set_num_threads(1)
    as_published(network)
    mel, window = MelConfig(), torch.hann_window(MelConfig().n_fft)
    filters, samples = torch.tensor(filterbank(mel)), torch.from_numpy(audio[: 10 * RATE].copy())

    @torch.inference_mode()
    def step() -> None:
        spectrum = torch.stft(samples, mel.n_fft, mel.hop, window=window, center=False, return_complex=True)
        network(torch.log(spectrum.abs().square().T @ filters + mel.offset)[None])

    return step


def _accuracy(bundle: Path, case: Case, network: ColumnTagger, audio: np.ndarray) -> tuple[float, float]:
    """Of a stream's last embedding against torch: largest difference over largest value, and cosine."""
    hops = 30
    found = _engine(bundle, case.arguments).push(AudioBlock(0, audio[: hops * HOP]))[-1].embedding
    spec = load_student(bundle).spec
    frames = log_mel(audio[: hops * HOP])
    end = len(frames) - (len(frames) - spec.window_frames) % (HOP // spec.mel.hop)
    heard = frames[:end] if case.arguments.get("mode") == "continuous" else frames[end - spec.window_frames : end]
    with torch.inference_mode():
        maps = network.backbone(image(torch.from_numpy(heard)[None]))
        columns = spec.columns_in(spec.window_frames)
        expected = network.pool(maps[..., -columns:]).embedding[0].numpy()
    cosine = float(found @ expected / np.linalg.norm(found) / np.linalg.norm(expected))
    return float(np.abs(found - expected).max() / np.abs(expected).max()), cosine


def _peak() -> Row:
    """What one core can do: no network takes less time than its multiply-adds over this."""
    torch.set_num_threads(1)
    a, b = torch.randn(2, 1024, 1024).unbind()
    taken = float(np.median(_cpu(lambda: a @ b, 20)))
    return Row("float32 multiply-adds of one core", 1024**3 / taken / 1e9, "G/s", None, note="a product of 1024 x 1024")


def _memory(what: str, bundle: Path, arguments: Mapping[str, str]) -> Row:
    """Of a process that streams for half a minute of audio."""
    command = [sys.executable, "-m", "tests.bench.one_stream", str(bundle), json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    if found["torch"]:
        raise RuntimeError("torch was imported")
    return Row(f"memory of one stream, {what}", found["bytes"] / 1e6, "MB", 120, note="RSS of a process without torch")


def _cpu(step: Callable[[], object], times: int = STRETCH) -> list[float]:
    taken = []
    for _ in range(times):
        begun = time.process_time()
        step()
        taken.append(time.process_time() - begun)
    return taken
