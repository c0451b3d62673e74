"""When events were: each keeps to the clocks as they were at its start.

While a sound lasts, the sound card's crystal drifts against the machine's clock, and somebody may step the wall clock.
So a start is dated once, and the end by the time that has passed since then.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from monitor.detection import Detection


@dataclass(frozen=True, slots=True)
class _Start:
    """Of an event: its onset as it was told first, a sample index; when that was, monotonic; what the wall adds."""

    index: int
    heard: float
    wall: float


class EventDates:
    """Dates for the samples of one source's events. State is the start of each event that is open."""

    def __init__(self, sample_rate: int) -> None:
        """Date sample indices at a rate in Hz."""
        self._sample_rate = sample_rate
        self._starts: dict[int, _Start] = {}

    def of(self, found: Detection, heard: Callable[[int], float], wall: float) -> Callable[[int], datetime]:
        """Dates for the onset and the offset of a detection.

        Args:
            found: a start, or the end of one that was given before.
            heard: monotonic time of a sample, in seconds, right for samples of the last minute.
            wall: seconds since 1970 UTC less monotonic ones, as of now.
        """
        start = self._starts.pop(found.key, None) or _Start(found.onset, heard(found.onset), wall)
        if found.kind == "started":
            self._starts[found.key] = start
        onset = start.heard + (found.onset - start.index) / self._sample_rate

        def date(index: int) -> datetime:
            when = onset if index == found.onset else max(onset, heard(index))
            return datetime.fromtimestamp(when + start.wall, UTC)

        return date
