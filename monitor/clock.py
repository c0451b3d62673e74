"""Time, passed in: the machine's clocks behind one small protocol, so that tests need not wait.

Durations come from the monotonic clock, dates from the wall clock, and audio keeps its own time in samples.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the service may ask about time."""

    def monotonic(self) -> float:
        """Seconds that never jump."""

    def wall(self) -> float:
        """Seconds since 1970 UTC; may be stepped at any moment."""

    async def sleep(self, seconds: float) -> None:
        """Let so many monotonic seconds pass."""


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970 UTC."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        await asyncio.sleep(seconds)
