"""How much of the last hour's audio was analysed: one number that says whether a sensor hears."""

import threading
from collections import deque
from dataclasses import dataclass

from monitor.clock import Clock

SLOTS = 60
SLOT_SECONDS = 60.0
UNDER_WAY_SECONDS = 5.0
"""Audio that is older and neither analysed nor missed waits for something that hangs."""


@dataclass(slots=True)
class _Slot:
    number: int
    analyzed: float = 0.0
    missed: float = 0.0


class Coverage:
    """State is the seconds analysed and missed in each of the last 60 minutes; any thread may add to it.

    Attributes:
        begun: monotonic time of the first addition, none before it.
    """

    def __init__(self, clock: Clock) -> None:
        self.begun: float | None = None
        self._clock = clock
        self._slots: deque[_Slot] = deque()
        self._lock = threading.Lock()

    def add(self, *, analyzed: float = 0.0, missed: float = 0.0) -> float:
        """Take in seconds of audio, of now; returns the share of the hour that was analysed, 0 to 1.

        What came to nothing for longer than `UNDER_WAY_SECONDS` was not analysed.
        """
        with self._lock:
            slot = self._present()
            slot.analyzed += analyzed
            slot.missed += missed
            heard = sum(slot.analyzed for slot in self._slots)
            due = max(heard + sum(slot.missed for slot in self._slots), self._passed() - UNDER_WAY_SECONDS)
        return heard / due if due > 0 else 1.0

    def _passed(self) -> float:
        """Seconds of the last hour in which there was listening."""
        now = self._clock.monotonic()
        if self.begun is None:
            self.begun = now
        return now - max(self.begun, (now // SLOT_SECONDS - SLOTS + 1) * SLOT_SECONDS)

    def _present(self) -> _Slot:
        number = int(self._clock.monotonic() // SLOT_SECONDS)
        if not self._slots or self._slots[-1].number != number:
            self._slots.append(_Slot(number))
        while self._slots[0].number <= number - SLOTS:
            self._slots.popleft()
        return self._slots[-1]
