"""The parts of a network that are local in time, computed once for each stretch of audio instead of once a window.

A convolution sees a few columns to either side and nothing else, so all but the columns at the window's borders, where
the network pads with zeros, are those of the window before. What is left to compute at each hop are the columns near
the old and the new end and, if the window has a left border, near its start. The result is that of the whole window, to
float32 rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import LocalPart
from ssondo_stream.sliding import SlidingMap
from ssondo_stream.types import Frames

FeatureMap = NDArray[np.float32]
"""Features [channels, columns, bands]: a stretch of columns is a block of memory in each channel."""
RunPart = Callable[[int, Sequence[NDArray[np.float32]]], Sequence[FeatureMap]]
"""Part i: its inputs, frames [t, n_mels] or maps -> its outputs."""


class LocalParts:
    """All local parts of a network, over a window of frames that grows and slides.

    State is the frames and the maps of the newest window, and where that window lies in the stream.

    Args:
        parts: in order, as the spec lists them.
        run: computes part i.
        span: most frames of a window.
        bordered: the network pads with zeros before the window's start; else only before the stream's, and every
            column sees its whole past.
    """

    def __init__(self, parts: Sequence[LocalPart], run: RunPart, span: int, *, bordered: bool) -> None:
        self._frames = _Map(1, SlidingMap(axis=0, capacity=span if bordered else 1))
        self._maps = [self._frames]
        self._parts: list[_Part] = []
        for i, part in enumerate(parts):
            held = -(-span // part.stride) if bordered or i == len(parts) - 1 else 1
            outputs = [_Map(part.stride, SlidingMap(axis=1, capacity=held)) for _ in range(part.outputs)]
            self._parts.append(_Part(part, [self._maps[j] for j in part.inputs], outputs, partial(run, i)))
            self._maps += outputs
        self._span = span
        self._bordered = bordered
        self._start = self._end = 0

    def reset(self) -> None:
        """Forget the stream."""
        for each in self._maps:
            each.held.reset()
        self._start = self._end = 0

    def push(self, frames: Frames) -> FeatureMap:
        """Take the frames of a hop [t, n_mels]; return the last map of the newest window."""
        end = self._end + len(frames)
        start = max(0, end - self._span)
        border = start if self._bordered else 0
        self._forget(start)
        self._frames.held.write(self._end, frames)
        for part in self._parts:
            part.update(self._end, border, end, slid=border > self._start)
        self._start, self._end = start, end
        last = self._maps[-1].held
        return np.concatenate(last.read(start // self._maps[-1].stride, last.end), axis=last.axis)

    def _forget(self, start: int) -> None:
        """Let go of what the window that begins here, and all later ones, do not need."""
        for each in self._maps:
            before = start // each.stride
            if not self._bordered and each is not self._maps[-1]:
                before = min(part.needed(self._end, each.stride) for part in self._parts if each in part.inputs)
            each.held.forget(before)


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """One of the network's maps: frames per column, and what is held of it."""

    stride: int
    held: SlidingMap


@dataclass(frozen=True, slots=True)
class _Part:
    """One part, between the maps that it takes and those that it makes."""

    part: LocalPart
    inputs: Sequence[_Map]
    outputs: Sequence[_Map]
    run: Callable[[Sequence[NDArray[np.float32]]], Sequence[FeatureMap]]

    def update(self, old_end: int, start: int, end: int, *, slid: bool) -> None:
        """Make the outputs those of a new window, from inputs that are.

        Args:
            old_end: frame after the last window.
            start: first frame of the new window.
            end: frame after it.
            slid: the network pads with zeros before `start`, where it did not for the last window.
        """
        stride = self.part.stride
        first, border = start // stride, -(-self.part.reach // stride)
        begin = first + border if slid else first
        stop = self._settled(old_end)
        if stop <= begin:  # nothing to keep
            begin = stop = first
        self._compute(range(first, begin), range(stop, -(-end // stride)))

    def needed(self, end: int, stride: int) -> int:
        """First column of an input that the next window's end will need, after one that ended with this frame."""
        return max(0, self._settled(end) - self.part.context) * (self.part.stride // stride)

    def _settled(self, end: int) -> int:
        """Columns before this one will not change any more, whatever comes after this frame."""
        return max(0, (end - 1 - self.part.reach) // self.part.stride + 1)

    def _compute(self, left: range, right: range) -> None:
        """Both stretches of columns in one run, side by side: what mixes at the seam belongs to neither."""
        left_end = left.stop + self.part.context if left else left.start
        right_start = max(left.start, right.start - self.part.context)
        if left_end >= right_start:
            wanted = computed = [range(left.start, right.stop)]
        elif left:
            wanted, computed = [left, right], [range(left.start, left_end), range(right_start, right.stop)]
        else:
            wanted, computed = [right], [range(right_start, right.stop)]
        results = self.run([self._read(each, computed) for each in self.inputs])
        for output, result in zip(self.outputs, results, strict=True):
            _write(output.held, result, wanted, computed)

    def _read(self, source: _Map, stretches: Sequence[range]) -> NDArray[np.float32]:
        """What these columns of the outputs see of an input."""
        ratio, held = self.part.stride // source.stride, source.held
        views = [held.read(each.start * ratio, min(each.stop * ratio, held.end)) for each in stretches]
        return np.concatenate([*chain(*views)], axis=held.axis)


def _write(held: SlidingMap, result: FeatureMap, wanted: Sequence[range], computed: Sequence[range]) -> None:
    """Keep the wanted columns of what was computed in stretches that lie side by side."""
    offset = 0
    for want, each in zip(wanted, computed, strict=True):
        start = max(want.start, held.first)
        held.write(start, result[:, offset + start - each.start : offset + want.stop - each.start])
        offset += len(each)
