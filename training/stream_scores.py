"""A recording's column scores as the monitor computes them: through the streaming engine, window after window.

They are kept in a form from which events, and the moments at which they would have been announced, follow for any
thresholds without running the student again.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ssondo_stream.cutting import Segment
from ssondo_stream.engine import StreamingEngine, Student
from ssondo_stream.errors import AudioError
from ssondo_stream.types import AudioBlock, Frames, Prediction
from ssondo_stream.verifier import certainty
from training.annotations import Heard
from training.errors import AudioFileError
from training.verdicts import Verdicts


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How the stream is run; the defaults are the monitor's.

    Attributes:
        hop_columns: columns between inferences.
        early_windows: that must have scored a column before it can announce anything.
        settle_seconds: after which a column's score is final, at the latest.
        block_seconds: of audio that are handed over at once.
    """

    hop_columns: int = 1
    early_windows: int = 1
    settle_seconds: float = 10.0
    block_seconds: float = 0.5

    def __post_init__(self) -> None:
        if min(self.hop_columns, self.early_windows) < 1:
            raise ValueError(f"need hops and windows >= 1, got {self.hop_columns} and {self.early_windows}")
        if not all(0 < seconds < math.inf for seconds in (self.settle_seconds, self.block_seconds)):
            raise ValueError(
                f"need durations > 0, got {self.settle_seconds} s to settle, {self.block_seconds} s a block"
            )


@dataclass(frozen=True, slots=True)
class StreamScores:
    """Scores of a recording on its grid of columns.

    Attributes:
        means: [columns, windows, labels], mean over the first 1, 2, ... windows in which a column is not the newest;
            after the last one that counts, the mean stays. The recording's last column has only the one score that it
            got as the newest.
        ready: [hops] seconds from the recording's first sample until a prediction can be made.
        settled: [hops] columns whose score is final after each prediction.
        hop_columns: columns between predictions.
        column, lead: seconds in a column, and by which the first begins before the recording.
        seconds: length of the recording.
        verdicts: of the student's verifier, if it has one.
    """

    means: NDArray[np.float32]
    ready: NDArray[np.float64]
    settled: NDArray[np.int64]
    hop_columns: int
    column: float
    lead: float
    seconds: float
    verdicts: Verdicts | None = field(default=None, compare=False, repr=False)

    def final(self, label: int) -> NDArray[np.float32]:
        """[columns], what the settled events of a label are cut from."""
        return self.means[:, -1, label]

    def early(self, hop: int, first: int, windows: int, label: int) -> NDArray[np.float32]:
        """Provisional scores after a prediction: from column `first` to the last that so many windows have scored."""
        columns = np.arange(first, max(first, (hop - windows + 1) * self.hop_columns))
        since = hop - 1 - columns // self.hop_columns
        return np.asarray(self.means[columns, np.minimum(since, self.means.shape[1] - 1), label])

    def at(self, position: float) -> float:
        """Seconds from the recording's first sample of a position on the grid; columns may reach beyond its ends."""
        return min(max(0.0, position * self.column - self.lead), self.seconds)

    def certainty(self, label: int, segment: Segment) -> float:
        """Of a label in a segment, by its score and the verifier together; 1 where no verifier can be asked."""
        found = self.verdicts.of(self.at(segment.begins), self.at(segment.ends)) if self.verdicts else None
        return 1.0 if found is None else certainty(segment.score, float(found[label]))

    def edges(self) -> NDArray[np.float64]:
        """[columns + 1] seconds at which columns begin and end, within the recording."""
        return np.clip(np.arange(len(self.means) + 1) * self.column - self.lead, 0, self.seconds)


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording's scores, and what is really heard in it.

    Attributes:
        name: for people.
        scores: of the student.
        heard: annotated sounds; none in a negative.
    """

    name: str
    scores: StreamScores
    heard: tuple[Heard, ...] = ()


def score_samples(
    student: Student, samples: NDArray[np.float32], sample_rate: int, settings: StreamSettings | None = None
) -> StreamScores:
    """Stream mono samples [n] through a student.

    Raises:
        AudioError: they are too short for a single column, or not finite.
    """
    size = max(1, round((settings or StreamSettings()).block_seconds * sample_rate))
    blocks = (samples[start : start + size] for start in range(0, len(samples), size))
    return _score(student, blocks, sample_rate, settings or StreamSettings())


def score_file(student: Student, path: Path, settings: StreamSettings | None = None) -> StreamScores:
    """Stream an audio file of any rate and channels, which are averaged, block by block.

    Raises:
        AudioFileError: it cannot be read, or not be used as audio.
    """
    settings = settings or StreamSettings()
    try:
        with soundfile.SoundFile(path) as file:
            size = max(1, round(settings.block_seconds * file.samplerate))
            blocks = (block.mean(axis=1) for block in file.blocks(size, dtype="float32", always_2d=True))
            return _score(student, blocks, file.samplerate, settings)
    except (OSError, soundfile.LibsndfileError, AudioError) as error:
        raise AudioFileError(f"{path}: cannot be streamed ({error})") from error


def _score(
    student: Student, blocks: Iterator[NDArray[np.float32]], sample_rate: int, settings: StreamSettings
) -> StreamScores:
    frames: list[Frames] = []
    keep = frames.append if student.spec.verifies else (lambda _: None)
    engine = StreamingEngine(student, sample_rate, settings.hop_columns, on_frames=keep)
    heard = 0
    predictions: list[Prediction] = []
    for block in blocks:
        predictions += engine.push(AudioBlock(heard, block))
        heard += len(block)
    predictions = list(chain(predictions, engine.flush()))
    if not predictions:
        raise AudioError(f"{heard} samples at {sample_rate} Hz are too short for a single column")
    rate, seconds = student.spec.mel.sample_rate, heard / sample_rate
    column = student.spec.column / rate
    means, settled = _means([p.scores for p in predictions], settings, max(1, round(settings.settle_seconds / column)))
    ready = np.minimum([p.end / rate for p in predictions], seconds)
    lead = student.spec.column_lead / rate
    scores = StreamScores(means, ready, settled, settings.hop_columns, column, lead, seconds)
    return with_verdicts(scores, student, np.concatenate(frames)) if student.spec.verifies else scores


def with_verdicts(scores: StreamScores, student: Student, frames: Frames) -> StreamScores:
    """The same with a verifier to ask, which hears the recording's frames [t, n_mels] again."""
    return replace(scores, verdicts=Verdicts(frames, student.spec.mel, student.verify))


def _means(
    windows: Sequence[NDArray[np.float32]], settings: StreamSettings, settle: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`means` and `settled` of `StreamScores`, from the scores [columns, labels] of each window."""
    hop, longest = settings.hop_columns, max(map(len, windows))
    columns = 1 + (len(windows) - 1) * hop
    scores = np.zeros((columns, max(1, -(-(longest - 1) // hop)), windows[0].shape[1]), np.float32)
    counts, settled = np.zeros(columns, np.int64), np.zeros(len(windows), np.int64)
    for number, window in enumerate(windows):
        end, taken = 1 + number * hop, settled[number - 1] if number else 0
        first = end - len(window)
        these = np.arange(max(first, taken), end - 1)
        scores[these, counts[these]] = window[these - first]
        counts[these] += 1
        settled[number] = max(taken, first, end - settle)
    scores[-1, 0], counts[-1] = windows[-1][-1], 1
    used = np.minimum(np.arange(1, scores.shape[1] + 1), np.maximum(counts, 1)[:, None])
    return np.asarray(np.cumsum(scores, axis=1) / used[:, :, None].astype(np.float32), np.float32), settled
