"""A second opinion on a sound that scores have found: what its whole extent says, beside what each column said.

Columns tell when a sound is heard, half a second at a time. What tells rain from the sea is told by seconds of it, and
by nothing but them: so once a sound's extent is known, a verifier hears it whole, and speaks for or against each label.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.cutting import Segment
from ssondo_stream.mel import MelConfig
from ssondo_stream.types import Frames

Verify = Callable[[int, int], NDArray[np.float32] | None]
"""Evidence [labels] of a sound by its first sample and the one past its last; None where they are forgotten."""
EXTENT_FRAMES = 640
"""Most frames of a sound that are heard, its last."""
LEAST_FRAMES = 16
"""Fewest frames: shorter sounds are heard with what surrounds them."""
_PATIENT_COLUMNS = 20
_KEPT = 2000  # frames that are remembered, 32 s: of a window, a pause that is bridged, and an extent
_CERTAIN = 1e-6


def certainty(score: float, evidence: float) -> float:
    """Probability of a sound by its score, a probability too, and a verifier's evidence, which adds to its log odds."""
    score = min(max(score, _CERTAIN), 1 - _CERTAIN)
    return 1 / (1 + math.exp(-(math.log(score / (1 - score)) + evidence)))


def extent(onset: int, offset: int, mel: MelConfig, known: range) -> slice | None:
    """Which of a stream's frames a verifier hears of a sound, the last of many; None if they are not known.

    Args:
        onset: its first sample.
        offset: one past its last.
        mel: the front end.
        known: numbers of the frames that there are; frame 0 begins at sample 0.
    """
    first, last = (round((sample - mel.n_fft // 2) / mel.hop) for sample in (onset, offset))
    stop = min(max(last, known.start + LEAST_FRAMES), known.stop)
    start = max(known.start, min(max(first, stop - EXTENT_FRAMES), stop - LEAST_FRAMES))
    forgotten = last < 0 or known.start > max(0, last - 1)
    return slice(start, stop) if first < stop and stop - start >= LEAST_FRAMES and not forgotten else None


@dataclass(slots=True)
class Patience:
    """When to ask again about a sound that goes on: once it is longer by a quarter, or ten seconds.

    State is the sound's first column and the last one at which it is due.
    """

    first: int = -1
    due: int = 0

    def over(self, segment: Segment) -> bool:
        """Whether it is time to ask about a sound, which then is asked about."""
        if segment.first != self.first:
            self.first, self.due = segment.first, segment.last
        if segment.last < self.due:
            return False
        self.due = segment.last + min(max(1, (segment.last - segment.first + 1) // 4), _PATIENT_COLUMNS)
        return True


class RecentFrames:
    """The newest frames of a stream, so that sounds in them can be heard again.

    State is the frames and the number of the first.

    Args:
        mel: the front end.
    """

    def __init__(self, mel: MelConfig) -> None:
        self._mel = mel
        self._frames: Frames = np.zeros((2 * _KEPT, mel.n_mels), np.float32)
        self.reset(0)

    def reset(self, start: int) -> None:
        """Forget all; the next frame begins at this sample."""
        self._start, self._dropped, self._count = start, 0, 0

    def push(self, frames: Frames) -> None:
        """Take the next frames [t, n_mels]."""
        for at in range(0, len(frames), _KEPT):
            self._push(frames[at : at + _KEPT])

    def of(self, onset: int, offset: int) -> Frames | None:
        """Frames of a sound from sample `onset` to `offset`, as far as they are remembered; None if they are not.

        Args:
            onset: its first sample.
            offset: one past its last.
        """
        known = range(self._dropped, self._dropped + self._count)
        found = extent(onset - self._start, offset - self._start, self._mel, known)
        return None if found is None else self._frames[found.start - self._dropped : found.stop - self._dropped]

    def _push(self, frames: Frames) -> None:
        if self._count + len(frames) > len(self._frames):
            kept = min(_KEPT, self._count)
            self._frames[:kept] = self._frames[self._count - kept : self._count]
            self._dropped += self._count - kept
            self._count = kept
        self._frames[self._count : self._count + len(frames)] = frames
        self._count += len(frames)
