"""One source's path from audio to predictions: resampler, incremental mel, student, column grid.

It is synchronous and owns no clock or thread: blocks in, predictions out. The weights live in the `Student`, shared by
all streams; the engine and the `StudentStream` in it hold one stream's state.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import Activation, StudentSpec
from ssondo_stream.errors import AudioError
from ssondo_stream.levels import ColumnLevels
from ssondo_stream.mel import MelStream
from ssondo_stream.resample import Resampler
from ssondo_stream.types import AudioBlock, Frames, Inference, Prediction, Samples
from ssondo_stream.verifier import RecentFrames

Stage = Callable[[str], AbstractContextManager[object]]
"""Wraps the work of a stage, named resample, mel or infer: a place to measure from outside."""


class StudentStream(Protocol):
    """The state of one stream through a student."""

    def push(self, frames: Frames) -> list[Inference]:
        """Take frames [t, n_mels]; return an inference for each hop that they complete."""

    def reset(self) -> None:
        """Forget the frames so far."""


class Student(Protocol):
    """A loaded student: weights and spec, shared by all streams."""

    @property
    def spec(self) -> StudentSpec:
        """What the student hears and says."""

    def verify(self, frames: Frames) -> NDArray[np.float32]:
        """What a sound's frames [t, n_mels] say for or against each label, [labels]; if the spec verifies."""

    def stream(self, hop_columns: int = 1) -> StudentStream:
        """The state of a new stream that infers every `hop_columns` columns."""


class StreamingEngine:
    """Turns the audio blocks of one source into predictions on one absolute grid of columns.

    State is that of resampler, mel and student, the sample index that should come next, and the column reached. A
    block that does not follow on the last is a gap: everything is reset and the window warms up again, from the
    grid column in which the block begins; what that column misses is silence.
    """

    def __init__(
        self,
        student: Student,
        sample_rate: int,
        hop_columns: int = 1,
        stage: Stage | None = None,
        on_frames: Callable[[Frames], None] = lambda _: None,
    ) -> None:
        """Make the parts.

        Args:
            student: shared by all engines.
            sample_rate: of the blocks, in Hz.
            hop_columns: columns between inferences.
            stage: measures the stages.
            on_frames: sees the frames before the student does.
        """
        self.spec = student.spec
        self._student = student
        self.sample_rate = sample_rate
        self._hop = hop_columns
        self._stage: Stage = stage or (lambda _: nullcontext())
        self._resampler = Resampler(sample_rate, self.spec.mel.sample_rate)
        self._mel = MelStream(self.spec.mel)
        self._stream = student.stream(hop_columns)
        self._recent = RecentFrames(self.spec.mel) if self.spec.verifies else None
        self._on_frames = on_frames
        self._levels = ColumnLevels(self.spec.column)
        self._expected: int | None = None
        self._analyzed = 0.0
        self._anchor = 0
        self._reached = 0

    @property
    def pending(self) -> float:
        """Seconds of audio that were pushed and are in no prediction yet."""
        if self._expected is None:
            return 0.0
        return max(0.0, self._expected / self.sample_rate - self._analyzed)

    def push(self, block: AudioBlock) -> list[Prediction]:
        """Take a block, return the predictions that it completes.

        Raises:
            AudioError: the samples are not finite.
        """
        if not np.isfinite(block.samples).all():
            raise AudioError(f"samples {block.start} to {block.end} are not all finite: replace NaN and infinities")
        if block.start != self._expected:
            self._begin(block.start)
        self._expected = block.end
        with self._stage("resample"):
            samples = self._resampler.push(block.samples)
        return self._analyze(samples)

    def flush(self) -> list[Prediction]:
        """End the stream: analyse what is left, completed by silence. The next block begins anew."""
        if self._expected is None:
            return []
        samples = self._resampler.push(np.empty(0, np.float32), last=True)
        predictions = self._analyze(samples)
        rate = self.spec.mel.sample_rate
        if round(self.pending * rate) >= 1:
            hop = self._hop * self.spec.column
            predictions += self._analyze(np.zeros(hop, np.float32))[:1]
        self.reset()
        return predictions

    def verify(self, onset: int, offset: int) -> NDArray[np.float32] | None:
        """What the student's verifier makes of a sound, of which it hears the last ten seconds, [labels].

        Args:
            onset: its first sample, at the student's rate.
            offset: one past its last.

        Returns:
            None if the student has no verifier, or the sound was too long ago: half a minute is remembered.
        """
        frames = self._recent.of(onset, offset) if self._recent else None
        return None if frames is None else self._student.verify(frames)

    def reset(self) -> None:
        """Forget the stream; the next block begins anew."""
        self._expected = None
        self._analyzed = 0.0

    def _begin(self, start: int) -> None:
        self._resampler.reset()
        self._mel.reset()
        self._stream.reset()
        first = round(start * self.spec.mel.sample_rate / self.sample_rate)
        self._anchor, missing = divmod(first, self.spec.column)
        self._reached = 0  # columns after the anchor that are in some prediction
        self._analyzed = start / self.sample_rate
        self._levels.reset(self.spec.column_lead)
        if self._recent:
            self._recent.reset(self._anchor * self.spec.column)
        if missing:
            self._analyze(np.zeros(missing, np.float32))

    def _analyze(self, samples: Samples) -> list[Prediction]:
        self._levels.push(samples)
        with self._stage("mel"):
            frames = self._mel.push(samples)
        self._on_frames(frames)
        if self._recent:
            self._recent.push(frames)
        with self._stage("infer"):
            inferences = self._stream.push(frames)
        return [self._place(inference) for inference in inferences]

    def _place(self, inference: Inference) -> Prediction:
        columns = len(inference.logits)
        self._reached += self._hop if self._reached else 1
        first = self._reached - columns
        start = (self._anchor + first) * self.spec.column - self.spec.column_lead
        prediction = Prediction(
            start=start,
            column=self.spec.column,
            scores=activate(inference.logits, self.spec.activation),
            embedding=inference.embedding,
            levels=self._levels.read(first, self._reached),
        )
        self._analyzed = max(self._analyzed, prediction.end / self.spec.mel.sample_rate)
        return prediction


def activate(logits: NDArray[np.float32], activation: Activation) -> NDArray[np.float32]:
    """Scores of logits [columns, labels]: independent labels by sigmoid, exclusive ones by softmax."""
    if activation == "sigmoid":
        return np.float32(0.5) * (1 + np.tanh(logits / 2))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
