"""What is read off the running monitor once a second, and the trends in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
from scipy.stats import theilslopes

WARM_UP_HOURS = 1.0
"""Of the longest life, or a third of it where that is less, before a trend is looked for."""
JUDGED_HOURS = 2.0
"""A shorter stretch shows how pools and caches fill, and no trend."""
_POINTS = 400  # most points in a slope: their pairs are as many squared


@dataclass(frozen=True, slots=True)
class Sample:
    """The monitor at one moment.

    Attributes:
        at: seconds of audio since the beginning of the soak.
        life: counts the monitor's starts.
        captured, analyzed, gaps: seconds, by source.
        restarts: times that a source was opened again.
    """

    at: float
    life: int
    rss_mb: float
    descriptors: int
    threads: int
    spooled: int
    captured: dict[str, float]
    analyzed: dict[str, float]
    gaps: dict[str, float]
    restarts: dict[str, float]

    @classmethod
    def of(
        cls, at: float, life: int, vitals: psutil.Process, metrics: dict[str, float], sources: Sequence[str]
    ) -> "Sample":
        """Put together; gaps are summed over their reasons."""

        def by_source(name: str) -> dict[str, float]:
            mine = {key: value for key, value in metrics.items() if key.startswith(name)}
            return {source: sum(v for k, v in mine.items() if f'source="{source}"' in k) for source in sources}

        return cls(
            at=at,
            life=life,
            rss_mb=vitals.memory_info().rss / 1e6,
            descriptors=vitals.num_fds(),
            threads=vitals.num_threads(),
            spooled=int(metrics["ssondo_spool_messages"]),
            captured=by_source("ssondo_audio_captured_seconds_total"),
            analyzed=by_source("ssondo_audio_analyzed_seconds_total"),
            gaps=by_source("ssondo_audio_gap_seconds_total"),
            restarts=by_source("ssondo_source_restarts_total"),
        )


def lives(samples: Sequence[Sample]) -> list[list[Sample]]:
    """The samples of each life, in order."""
    numbers = sorted({sample.life for sample in samples})
    return [[sample for sample in samples if sample.life == number] for number in numbers]


def settled(samples: Sequence[Sample]) -> list[Sample]:
    """The samples of the longest life after its warm-up."""
    longest = max(lives(samples), key=_seconds)
    warm = longest[0].at + min(WARM_UP_HOURS * 3600, _seconds(longest) / 3)
    return [sample for sample in longest if sample.at >= warm]


def is_long(samples: Sequence[Sample]) -> bool:
    """Whether a trend in these can be judged."""
    return _seconds(samples) >= JUDGED_HOURS * 3600


def _seconds(samples: Sequence[Sample]) -> float:
    return samples[-1].at - samples[0].at


def slope(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """How much a value rises per hour of audio: the median over pairs, which spikes do not move (Theil and Sen)."""
    kept = samples[:: max(1, len(samples) // _POINTS)]
    hours = np.array([sample.at for sample in kept]) / 3600
    return float(theilslopes([value(sample) for sample in kept], hours)[0])


def unaccounted(samples: Sequence[Sample], source: str) -> tuple[float, float]:
    """Seconds of one life that are neither analysed nor in a gap, and how long that life was.

    Audio that is merely late is not lost, so the least that is outstanding near the end is compared with the
    least near the beginning.
    """
    heard = [sample for sample in samples if sample.captured[source] > 0]
    edge = min(10, len(heard) // 3)
    if not edge:
        return 0.0, 0.0
    open_seconds = [sample.at - sample.analyzed[source] - sample.gaps[source] for sample in heard]
    return min(open_seconds[-edge:]) - min(open_seconds[:edge]), heard[-1].at - heard[0].at
