"""The part of a network that is local in time, computed once for each stretch of audio instead of once a window.

The first layers of a convolutional student see a few frames to either side and nothing else, so all but the columns at
the window's borders, where the network pads with zeros, are those of the window before. The result is that of the
whole window, to float32 rounding.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import Prefix, StudentSpec
from ssondo_stream.types import Frames, Inference
from ssondo_stream.windowed import WindowedStream

FeatureMap = NDArray[np.float32]
"""Features of the prefix, [channels, bands, columns]."""

_ALIGNMENT = 8  # frames; slices begin on it, so that the strided layers sample them as they do the window


class PrefixCache:
    """The prefix's feature map of a window that grows and slides.

    State is the map of the last window and that window's length.
    """

    def __init__(self, prefix: Prefix, run: Callable[[Frames], FeatureMap]) -> None:
        self._stride = prefix.stride
        self._reach = prefix.reach
        self._border = -(-prefix.reach // prefix.stride)  # columns that see beyond the window's start
        self._run = run
        self._map: FeatureMap | None = None
        self._length = 0

    def reset(self) -> None:
        """Forget the window."""
        self._map = None
        self._length = 0

    def update(self, frames: Frames, added: int) -> FeatureMap:
        """The map of a window [t, n_mels] whose last `added` frames are new since the last call."""
        slid = self._length + added - len(frames)
        kept = self._kept(slid)
        if kept is None or slid < 0 or slid % self._stride:
            result = self._run(frames)
        else:
            result = self._extend(frames, slid, kept)
        self._map, self._length = result, len(frames)
        return result

    def _kept(self, slid: int) -> FeatureMap | None:
        """Columns of the last map that stay as they are, from the first that lies clear of the new left border on."""
        if self._map is None:
            return None
        stop = (self._length - 1 - self._reach) // self._stride + 1
        start = slid // self._stride + (self._border if slid else 0)
        return self._map[:, :, start:stop] if stop > start else None

    def _extend(self, frames: Frames, slid: int, kept: FeatureMap) -> FeatureMap:
        first = self._border if slid else 0
        parts = [self._left(frames)] if slid else []
        parts += [kept, self._right(frames, first + kept.shape[2])]
        return np.concatenate(parts, axis=2)

    def _left(self, frames: Frames) -> FeatureMap:
        """The columns that see the window's start."""
        needed = (self._border - 1) * self._stride + self._reach + 1
        return self._run(frames[: _up(needed)])[:, :, : self._border]

    def _right(self, frames: Frames, column: int) -> FeatureMap:
        """The columns from this one to the window's end."""
        start = max(0, (column * self._stride - self._reach) // _ALIGNMENT * _ALIGNMENT)
        return self._run(frames[start:])[:, :, column - start // self._stride :]


class PrefixStream(WindowedStream):
    """A windowed stream that computes the network's local part incrementally.

    State is that of the windowed stream and the prefix's map.
    """

    def __init__(
        self,
        spec: StudentSpec,
        cache: PrefixCache,
        infer_map: Callable[[FeatureMap], Inference],
        hop_columns: int = 1,
    ) -> None:
        super().__init__(spec, lambda frames: infer_map(cache.update(frames, self._added)), hop_columns)
        self._cache = cache

    def reset(self) -> None:
        """Forget the frames so far."""
        super().reset()
        self._cache.reset()


def _up(frames: int) -> int:
    return -(-frames // _ALIGNMENT) * _ALIGNMENT
