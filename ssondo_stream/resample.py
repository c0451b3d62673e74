"""Streaming resampling to the student's rate, by soxr.

soxr holds back what its filter still needs, and gives it with the last call; output sample i is always the input at
i * source_rate / target_rate.
"""

import numpy as np
import soxr

from ssondo_stream.types import Samples


class Resampler:
    """Resamples one stream; equal rates pass through untouched.

    State is soxr's filter history.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        if source_rate <= 0 or target_rate <= 0:
            raise ValueError(f"need sample rates above 0, got {source_rate} and {target_rate}")
        self.source_rate = source_rate
        self.target_rate = target_rate
        self.reset()

    def push(self, samples: Samples, *, last: bool = False) -> Samples:
        """Take samples [n], return those that are ready [m]; `last` gives what was held back."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples, last=last), np.float32)

    def reset(self) -> None:
        """Forget the audio so far."""
        same = self.source_rate == self.target_rate
        self._stream = None if same else soxr.ResampleStream(self.source_rate, self.target_rate, 1, dtype="float32")
