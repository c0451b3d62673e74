"""The last seconds of one source's audio, between the thread that captures and the loop that reads.

The ring is the queue: writing never waits and never fails, and a reader that falls behind sees a later start.
"""

import numpy as np

from ssondo_stream.types import AudioBlock, Samples


class RingBuffer:
    """The newest `capacity` samples, addressed by an index that never wraps.

    One thread writes and one reads, without a lock, because the audio callback must never wait. That is safe:
    the writer announces in `_claimed` how far it is about to write before it copies, and publishes `_end` only
    afterwards. The reader copies no further than `_end`, so it never sees samples that are not there yet, and
    looks at `_claimed` after its copy: whatever the writer may have touched meanwhile lies more than `capacity`
    before that, and is cut off the front. Both are plain attributes holding an int, written by one thread only,
    and the interpreter makes each store and load whole and keeps their order.

    Attributes:
        capacity: samples that are kept.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"need a capacity of at least one sample, got {capacity}")
        self.capacity = capacity
        self._samples = np.zeros(capacity, np.float32)
        self._claimed = 0
        self._end = 0

    @property
    def end(self) -> int:
        """Samples written so far: the index one past the newest."""
        return self._end

    def write(self, samples: Samples) -> None:
        """Append samples [n], over the oldest ones."""
        end = self._end + len(samples)
        self._claimed = end
        kept = samples[-self.capacity :]
        at = (end - len(kept)) % self.capacity
        head = min(len(kept), self.capacity - at)
        self._samples[at : at + head] = kept[:head]
        self._samples[: len(kept) - head] = kept[head:]
        self._end = end

    def read(self, start: int, stop: int | None = None) -> AudioBlock:
        """Copy the samples of [start, stop) that exist; without `stop`, up to the newest.

        Returns:
            A block that starts later than asked where samples were overwritten; it is empty where none is left,
            and its `start` is then the oldest index that may still be had.
        """
        if start < 0:
            raise ValueError(f"need an index of at least 0, got {start}")
        end = self._end
        stop = end if stop is None else min(stop, end)
        start = max(start, end - self.capacity)
        copied = self._copy(start, max(start, stop))
        overwritten = max(0, self._claimed - self.capacity - start)
        return AudioBlock(start + overwritten, copied[overwritten:])

    def _copy(self, start: int, stop: int) -> Samples:
        at = start % self.capacity
        head = min(stop - start, self.capacity - at)
        return np.concatenate([self._samples[at : at + head], self._samples[: stop - start - head]])
