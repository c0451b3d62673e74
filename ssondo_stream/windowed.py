"""Streams that infer at every hop: on the whole newest window, or with the network's local parts kept.

The window grows from one column to its full length, then slides, always by whole columns, so that the columns of
successive windows coincide.
"""

from collections.abc import Callable, Iterator

import numpy as np

from ssondo_stream.bundle import StudentSpec
from ssondo_stream.local import FeatureMap, LocalParts
from ssondo_stream.types import Frames, Inference


class Hops:
    """Cuts a stream of frames into the frames that each inference has and the last had not.

    The first inference has as many as make one column. State is the frames of the hop that is not complete yet.
    """

    def __init__(self, spec: StudentSpec, hop_columns: int) -> None:
        columns = spec.columns_in(spec.window_frames)
        if not 1 <= hop_columns <= columns:
            raise ValueError(f"need 1 <= hop_columns <= {columns}, got {hop_columns}")
        self._first = spec.window_frames - (columns - 1) * spec.column_frames
        self._hop = hop_columns * spec.column_frames
        self._pending: Frames = np.empty((0, spec.mel.n_mels), np.float32)
        self._awaited = self._first

    def push(self, frames: Frames) -> Iterator[Frames]:
        """Take frames [t, n_mels]; give each hop that they complete."""
        self._pending = np.concatenate((self._pending, frames))
        while len(self._pending) >= self._awaited:
            hop, self._pending = self._pending[: self._awaited], self._pending[self._awaited :]
            self._awaited = self._hop
            yield hop

    def reset(self) -> None:
        """Forget the frames so far."""
        self._pending = self._pending[:0]
        self._awaited = self._first


class WindowedStream:
    """Keeps the frames of the newest window and runs the student on it at each hop.

    State is the frames of the window, at most `window_frames`, and of the hop after it.
    """

    def __init__(self, spec: StudentSpec, infer: Callable[[Frames], Inference], hop_columns: int = 1) -> None:
        self._hops = Hops(spec, hop_columns)
        self._infer = infer
        self._longest = spec.window_frames
        self._window: Frames = np.empty((0, spec.mel.n_mels), np.float32)

    def push(self, frames: Frames) -> list[Inference]:
        """Take frames [t, n_mels]; return an inference for each hop that they complete."""
        inferences = []
        for hop in self._hops.push(frames):
            self._window = np.concatenate((self._window, hop))[-self._longest :]
            inferences.append(self._infer(self._window))
        return inferences

    def reset(self) -> None:
        """Forget the frames so far."""
        self._hops.reset()
        self._window = self._window[:0]


class LocalStream:
    """Computes the network's local parts once for each stretch of audio, and the rest at each hop.

    State is that of the local parts, and the frames of the hop after the newest window.
    """

    def __init__(
        self, spec: StudentSpec, parts: LocalParts, infer_map: Callable[[FeatureMap], Inference], hop_columns: int = 1
    ) -> None:
        self._hops = Hops(spec, hop_columns)
        self._parts = parts
        self._infer_map = infer_map

    def push(self, frames: Frames) -> list[Inference]:
        """Take frames [t, n_mels]; return an inference for each hop that they complete."""
        return [self._infer_map(self._parts.push(hop)) for hop in self._hops.push(frames)]

    def reset(self) -> None:
        """Forget the frames so far."""
        self._hops.reset()
        self._parts.reset()
