"""How loud it is: level in dB of full scale, and the A-weighted equivalent level in dB(A).

The weighting, and the memory that its library takes, is loaded only for a source that is calibrated.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ssondo_stream.levels import FLOOR_DBFS
from ssondo_stream.types import Samples

if TYPE_CHECKING:
    from monitor.weighting import AWeighting

_FULL_SCALE_SINE = 10 * math.log10(2)  # a full-scale sine lies so far below a full-scale square, in dB


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
        self._plain = Energy()
        self._weighting = None if self._calibration_db is None else _weighting(self._sample_rate)

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


class Energy:
    """A running mean square."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, samples: Samples) -> None:
        """Take samples [n]."""
        self._sum += float(np.square(samples, dtype=np.float64).sum())
        self._count += len(samples)

    def take(self) -> float | None:
        """In dB re 1, and start anew; none if nothing came."""
        total, count = self._sum, self._count
        self._sum, self._count = 0.0, 0
        if count == 0:
            return None
        return max(FLOOR_DBFS, 10 * math.log10(total / count)) if total > 0 else FLOOR_DBFS


def _weighting(sample_rate: int) -> "AWeighting":
    from monitor.weighting import AWeighting  # noqa: PLC0415  # scipy takes 25 MB

    return AWeighting(sample_rate)
