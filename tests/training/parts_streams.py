"""A student that hears levels, and changes its mind about them."""

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import Label, StudentSpec
from ssondo_stream.types import Frames, Inference
from ssondo_stream.windowed import WindowedStream
from training.annotations import Heard
from training.stream_scores import Recording, StreamScores

RATE = 32_000
COLUMN = 0.512


class Fickle:
    """Scores rise with the level of a column, and differ by `doubt` from window to window; label 1 is the reverse."""

    def __init__(self, doubt: float = 0.0, *, verifies: bool = False) -> None:
        self.doubt = doubt
        self.spec = StudentSpec("fickle", (Label("Loud"), Label("Quiet")), 1, verifies=verifies)

    def infer(self, frames: Frames) -> Inference:
        level = np.array([frames[max(0, i - 16) : i + 16].mean() for i in range(0, len(frames), 32)])
        doubt = self.doubt * np.sin(1e3 * float(frames.sum()) + np.arange(len(level)) ** 2)
        logits = 2 * (level + 4.5) + doubt
        return Inference(np.stack((logits, -logits), 1).astype(np.float32), np.zeros(1, np.float32))

    def verify(self, frames: Frames) -> NDArray[np.float32]:
        """Against what is loud for more than a second."""
        evidence = (70 - len(frames)) / 10
        return np.array([evidence, -evidence], np.float32)

    def stream(self, hop_columns: int = 1) -> WindowedStream:
        return WindowedStream(self.spec, self.infer, hop_columns)


def bursts(seed: int, seconds: float = 60.0) -> NDArray[np.float32]:
    """Noise at a level that jumps every second."""
    rng = np.random.default_rng(seed)
    gain = np.repeat(10 ** rng.uniform(-4, 0, size=round(seconds)), RATE)
    return (0.2 * gain * rng.standard_normal(len(gain))).astype(np.float32)


def scored(scores: NDArray[np.float64] | list[list[float]], column: float = 1.0, windows: int = 3) -> StreamScores:
    """A recording whose columns [columns, labels] score the same in each of so many windows; no lead."""
    final = np.array(scores, np.float32)
    hops = np.arange(1, len(final) + 1)
    settled = np.maximum(0, hops - windows - 1)
    means = np.repeat(final[:, None, :], windows, axis=1)
    return StreamScores(means, hops * column, settled, 1, column, 0.0, len(final) * column)


def recording(scores: list[list[float]], *heard: tuple[float, float, str], name: str = "a") -> Recording:
    return Recording(name, scored(scores), tuple(Heard(*sound) for sound in heard))
