"""The values that flow through the stream: audio blocks in, predictions out.

Time is a sample index everywhere, an integer that never wraps; seconds and UTC exist only at the edges.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.errors import AudioError

Samples = NDArray[np.float32]
"""Mono audio, [n], full scale is -1 to 1."""
Frames = NDArray[np.float32]
"""Log-mel frames, [t, n_mels]."""


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """Consecutive mono samples of one source.

    Attributes:
        start: index of the first sample, counted from the start of capture at the source's own rate.
        samples: [n] float32.

    Raises:
        AudioError: the samples have another shape or type.
    """

    start: int
    samples: Samples

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            raise AudioError(f"need mono float32 samples [n], got {self.samples.dtype} {list(self.samples.shape)}")

    @property
    def end(self) -> int:
        """Index one past the last sample."""
        return self.start + len(self.samples)


@dataclass(frozen=True, slots=True)
class Inference:
    """What a student says about one window.

    Attributes:
        logits: [columns, labels], one row for each column of the window.
        embedding: [dim], of the whole window.
    """

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Scores of one window, laid on the absolute column grid.

    Attributes:
        start: sample index, at the student's rate, at which the first column begins. The first column of a
            stream is centred on its first frame, so it may begin before sample 0.
        column: samples in a column.
        scores: [columns, labels], 0 to 1.
        embedding: [dim], of the window.
        levels: [columns] dBFS of the audio in each column, where the engine measured it.
    """

    start: int
    column: int
    scores: NDArray[np.float32]
    embedding: NDArray[np.float32]
    levels: NDArray[np.float32] | None = None

    @property
    def end(self) -> int:
        """Sample index one past the last column."""
        return self.start + len(self.scores) * self.column
