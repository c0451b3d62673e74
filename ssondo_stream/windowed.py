"""The whole-window stream: any student can be run again on the newest window at each hop.

The window grows from one column to its full length, then slides, always by whole columns, so that the columns of
successive windows coincide.
"""

from collections.abc import Callable

import numpy as np

from ssondo_stream.bundle import StudentSpec
from ssondo_stream.types import Frames, Inference


class WindowedStream:
    """Keeps the frames of the newest window and runs the student on it at each hop.

    State is the frames of the window, at most `window_frames` plus a hop, how many are awaited, and how many the next
    inference will have that the last had not.
    """

    def __init__(self, spec: StudentSpec, infer: Callable[[Frames], Inference], hop_columns: int = 1) -> None:
        columns = spec.columns_in(spec.window_frames)
        if not 1 <= hop_columns <= columns:
            raise ValueError(f"need 1 <= hop_columns <= {columns}, got {hop_columns}")
        self._infer = infer
        self._longest = spec.window_frames
        self._hop = hop_columns * spec.column_frames
        self._first = spec.window_frames - (columns - 1) * spec.column_frames  # frames that make the first column
        self._frames: Frames = np.empty((0, spec.mel.n_mels), np.float32)
        self._awaited = self._added = self._first

    def push(self, frames: Frames) -> list[Inference]:
        """Take frames [t, n_mels]; return an inference for each hop that they complete."""
        inferences = []
        while len(frames) >= self._awaited:
            self._take(frames[: self._awaited])
            frames = frames[self._awaited :]
            inferences.append(self._infer(self._frames))
            self._awaited = self._added = self._hop
        if len(frames):
            self._frames = np.concatenate((self._frames, frames))
            self._awaited -= len(frames)
        return inferences

    def reset(self) -> None:
        """Forget the frames so far."""
        self._frames = self._frames[:0]
        self._awaited = self._added = self._first

    def _take(self, frames: Frames) -> None:
        """Append up to a hop's boundary, then let go of whole columns until the window fits."""
        self._frames = np.concatenate((self._frames, frames))
        surplus = len(self._frames) - self._longest
        if surplus > 0:
            self._frames = self._frames[surplus:]
