"""CPU time of a hop on one thread, beside that of computing the whole window again in torch."""

import time
from collections.abc import Callable

import numpy as np
import torch

from monitor.config import DetectionSettings
from monitor.pipeline import Pipeline
from ssondo_stream import AudioBlock, load_student
from ssondo_stream.mel import filterbank
from ssondo_stream.students import ColumnTagger, build, classifier
from tests.bench.rows import Row
from training.recipe import load_recipe

HOPS = 200
STRETCH = 10
RATE = 32_000


def cpu_of_a_hop() -> list[Row]:
    """Both sides take turns, so that whatever else the machine does falls on both.

    A turn is a stretch of hops, since on a sensor either side runs alone, with its own data in the processor's caches.
    """
    ours, theirs = streaming_hop(), eager_hop()
    for _ in range(25):  # past the warm-up, where the window is shorter
        ours()
    rounds = [(_cpu(ours), _cpu(theirs)) for _ in range(HOPS // STRETCH)]
    mine, other = np.median(np.concatenate(rounds, axis=1), axis=1) * 1000
    turns = np.median([(_cpu(ours, 1), _cpu(theirs, 1)) for _ in range(HOPS)], axis=0).ravel() * 1000
    return [
        Row(
            "CPU per 0.512 s hop: mel, student, detection",
            float(mine),
            "ms",
            4,
            note=f"median of {HOPS} in stretches of {STRETCH}, 1 thread",
        ),
        Row(
            "times less than mel and student of 10 s in torch eager",
            float(other / mine),
            "",
            5,
            at_least=True,
            note=f"torch {other:.1f} ms; hop by hop in turns, with cold caches, {turns[1] / turns[0]:.1f} times",
        ),
    ]


def streaming_hop() -> Callable[[], None]:
    """The pipeline as the service runs it, pushed one hop further by each call."""
    pipeline = Pipeline(load_student(scores_only=True), RATE, DetectionSettings())
    hop = pipeline.spec.column
    noise = np.random.default_rng(0).normal(0, 0.02, hop * 16).astype(np.float32)
    position = 0

    def step() -> None:
        nonlocal position
        at = position % len(noise)
        pipeline.push(AudioBlock(position, noise[at : at + hop]))
        position += hop

    return step


def eager_hop() -> Callable[[], None]:
    """What a user of the published package does: mel and student of the last 10 s, in torch.

    Without the statistics beside what the student learns, which the service leaves out too.
    """
    torch.set_num_threads(1)
    student = load_student()
    shipped = load_recipe("esc10_mobilenetv3").student
    backbone = build(shipped.architecture.removeprefix("textured_"), shipped.options)
    head = classifier(backbone.embedding_dim, len(student.spec.labels))
    network = ColumnTagger(backbone, head).eval()  # speed does not depend on the weights
    mel, window = student.spec.mel, torch.hann_window(student.spec.mel.n_fft)
    filters = torch.tensor(filterbank(mel))
    audio = torch.randn(10 * mel.sample_rate) * 0.02

    @torch.inference_mode()
    def step() -> None:
        spectrum = torch.stft(audio, mel.n_fft, mel.hop, window=window, center=False, return_complex=True)
        network(torch.log(spectrum.abs().square().T @ filters + mel.offset)[None])

    return step


def _cpu(work: Callable[[], None], times: int = STRETCH) -> list[float]:
    """CPU seconds of the whole process, for each call."""
    taken = []
    for _ in range(times):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return taken
