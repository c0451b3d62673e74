"""A-weighting of a stream, IEC 61672-1.

It is a fast convolution with a kernel that has the analogue curve at the source's own rate: a recursive filter would
bend it near half that rate.
"""

from functools import cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from monitor.level import Energy
from ssondo_stream.types import Samples

_POLES = (20.598997, 107.65265, 737.86223, 12194.217)  # Hz; IEC 61672-1, annex E
_REACH_SECONDS = 0.1  # of the kernel to either side; by then the slowest pole has decayed by 100 dB


def a_weighting(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gain of the A-weighting at some frequencies, 1 at 1 kHz. Source: IEC 61672-1, annex E."""

    def raw(squared: NDArray[np.float64]) -> NDArray[np.float64]:
        low, second, third, high = (pole**2 for pole in _POLES)
        middle = np.sqrt((squared + second) * (squared + third))
        return squared**2 / ((squared + low) * middle * (squared + high))

    gain: NDArray[np.float64] = raw(np.square(hertz)) / raw(np.array(1e6))
    return gain


class AWeighting:
    """A-weights a stream by overlap-save, and keeps the energy of what comes out.

    State is one frame: the block before, and the block that is being filled.
    """

    def __init__(self, sample_rate: int) -> None:
        self.energy = Energy()
        self._response = _response(sample_rate)
        self._block = len(self._response) - 1
        self._frame = np.zeros(2 * self._block, np.float32)
        self._filled = 0
        self._early = self._block // 2  # outputs before the first sample, as the kernel reaches both ways

    def push(self, samples: Samples) -> None:
        """Take samples [n]; `energy` gets what they complete."""
        while len(samples):
            taken = samples[: self._block - self._filled]
            place = self._block + self._filled
            self._frame[place : place + len(taken)] = taken
            samples = samples[len(taken) :]
            self._filled += len(taken)
            if self._filled == self._block:
                self._finish()

    def _finish(self) -> None:
        weighted = scipy.fft.irfft(scipy.fft.rfft(self._frame) * self._response, len(self._frame))[self._block :]
        self.energy.add(weighted[self._early :])
        self._frame[: self._block] = self._frame[self._block :]
        self._filled, self._early = 0, 0


@cache
def _response(sample_rate: int) -> NDArray[np.complex64]:
    """Response of the kernel in a frame of two blocks, [block + 1].

    The kernel is the analogue magnitude without phase, sampled up to half the rate. Cut to 0.2 s it keeps within
    0.01 dB of that from 10 Hz to half the rate.
    """
    block = scipy.fft.next_fast_len(2 * round(_REACH_SECONDS * sample_rate), real=True)
    magnitude = a_weighting(scipy.fft.rfftfreq(block, 1 / sample_rate))
    kernel = np.roll(scipy.fft.irfft(magnitude, block), block // 2)
    response: NDArray[np.complex64] = scipy.fft.rfft(kernel, 2 * block).astype(np.complex64)
    return response
