"""How loud it is: level in dB of full scale, and the A-weighted equivalent level in dB(A).

The weighting of IEC 61672-1 is applied by fast convolution with a kernel that has the analogue curve at the source's
own rate: a recursive filter would bend it near half that rate, and `scipy.signal` alone takes 50 MB of memory.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ssondo_stream.types import Samples

FLOOR_DBFS = -120.0
_FULL_SCALE_SINE = 10 * math.log10(2)  # a full-scale sine lies so far below a full-scale square, in dB
_POLES = (20.598997, 107.65265, 737.86223, 12194.217)  # Hz; IEC 61672-1, annex E
_REACH_SECONDS = 0.1  # of the kernel to either side; by then the slowest pole has decayed by 100 dB


@dataclass(frozen=True, slots=True)
class Level:
    """Levels over an interval.

    Attributes:
        dbfs: 20 log10 of the RMS, full scale being 1: a full-scale sine has -3.01, a square 0; at least -120.
        laeq_dba: A-weighted equivalent level in dB re 20 µPa; none without calibration.
    """

    dbfs: float
    laeq_dba: float | None


class LevelMeter:
    """Measures the level of a stream: push samples, read about once a second what came since the last read.

    State is the energy since the last read, and the samples that the weighting still needs. The A-weighted level lags
    by up to 0.3 s. However the samples were cut, the sums are the same.
    """

    def __init__(self, sample_rate: int, calibration_db: float | None = None) -> None:
        """Make a meter.

        Args:
            sample_rate: Hz.
            calibration_db: sound pressure level of a full-scale 1 kHz sine, dB re 20 µPa.
        """
        self._sample_rate = sample_rate
        self._calibration_db = calibration_db
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a gap."""
        self._plain = _Energy()
        self._weighting = None if self._calibration_db is None else _Weighting(self._sample_rate)

    def push(self, samples: Samples) -> None:
        """Take samples, [n], full scale 1; what is not finite counts as silence."""
        if not np.isfinite(samples).all():
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        self._plain.add(samples)
        if self._weighting is not None:
            self._weighting.push(samples)

    def read(self) -> Level | None:
        """The levels since the last read, none if nothing came; starts a new interval."""
        dbfs = self._plain.take()
        if dbfs is None:
            return None
        weighted = self._weighting.energy.take() if self._weighting is not None else None
        if weighted is None or self._calibration_db is None:
            return Level(dbfs, None)
        return Level(dbfs, weighted + _FULL_SCALE_SINE + self._calibration_db)


def a_weighting(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gain of the A-weighting at some frequencies, 1 at 1 kHz. Source: IEC 61672-1, annex E."""

    def raw(squared: NDArray[np.float64]) -> NDArray[np.float64]:
        low, second, third, high = (pole**2 for pole in _POLES)
        middle = np.sqrt((squared + second) * (squared + third))
        return squared**2 / ((squared + low) * middle * (squared + high))

    gain: NDArray[np.float64] = raw(np.square(hertz)) / raw(np.array(1e6))
    return gain


class _Energy:
    """A running mean square."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, samples: Samples) -> None:
        self._sum += float(np.square(samples, dtype=np.float64).sum())
        self._count += len(samples)

    def take(self) -> float | None:
        """In dB re 1, and start anew; none if nothing came."""
        total, count = self._sum, self._count
        self._sum, self._count = 0.0, 0
        if count == 0:
            return None
        return max(FLOOR_DBFS, 10 * math.log10(total / count)) if total > 0 else FLOOR_DBFS


class _Weighting:
    """A-weights a stream by overlap-save, and keeps the energy of what comes out.

    State is one frame: the block before, and the block that is being filled.
    """

    def __init__(self, sample_rate: int) -> None:
        self.energy = _Energy()
        self._response = _response(sample_rate)
        self._block = len(self._response) - 1
        self._frame = np.zeros(2 * self._block, np.float32)
        self._filled = 0
        self._early = self._block // 2  # outputs before the first sample, as the kernel reaches both ways

    def push(self, samples: Samples) -> None:
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
