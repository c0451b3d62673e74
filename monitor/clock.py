"""Time, passed in: the machine's clocks behind one small protocol, so that tests need not wait.

Durations come from the monotonic clock, dates from the wall clock, and audio keeps its own time in samples.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
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


class ScaledClock:
    """The machine's clocks, sped up: for rehearsals in which everything that is heard plays as fast.

    Args:
        speed: seconds that pass for each of the machine's.
        since: Unix time at which both wall clocks agree; the moment of its making by default.
    """

    def __init__(self, speed: float, since: float | None = None) -> None:
        if not speed > 0:
            raise ValueError(f"need a speed above 0, got {speed}")
        self.speed = speed
        self.since = time.time() if since is None else since

    def monotonic(self) -> float:
        """Sped-up seconds that never jump."""
        return time.monotonic() * self.speed

    def wall(self) -> float:
        """Sped-up seconds since 1970 UTC."""
        return self.since + (time.time() - self.since) * self.speed

    async def sleep(self, seconds: float) -> None:
        """Let so many sped-up seconds pass."""
        await asyncio.sleep(seconds / self.speed)


PAUSE_SECONDS = 1.0
"""As this long counts any time without arrivals: what was before a standstill must not be forgotten over it."""


class DelayEnvelope:
    """The smallest delay of the recent past, which jitter, always late, does not move.

    State is the smallest delay in each of the last `window_seconds` one-second slots in which any was observed.
    """

    def __init__(self, window_seconds: int = 60) -> None:
        self._window = window_seconds
        self._slots: deque[tuple[int, float]] = deque()
        self._seen: float | None = None
        self._observed = 0.0

    def observe(self, now: float, delay: float) -> None:
        """Take in a delay in seconds, seen at `now`."""
        self._observed += 0.0 if self._seen is None else min(now - self._seen, PAUSE_SECONDS)
        self._seen = now
        slot = int(self._observed)
        if self._slots and self._slots[-1][0] == slot:
            delay = min(delay, self._slots.pop()[1])
        self._slots.append((slot, delay))
        while self._slots[0][0] <= slot - self._window:
            self._slots.popleft()

    @property
    def smallest(self) -> float:
        """Seconds; the delay of what came with the least of it."""
        return min(delay for _, delay in self._slots)

    def excess(self, slots: int, tolerance: float) -> float:
        """Seconds by which even the promptest arrival of the last full `slots` was later than before them.

        None while delays shrink by more than the tolerance: a backlog comes in, and its end shows what is missing.
        """
        delays = [delay for _, delay in self._slots]
        older, recent = delays[: -slots - 1], delays[-slots - 1 :]
        if not older or min(recent) < recent[0] - tolerance:
            return 0.0
        return min(recent[:-1]) - min(older)

    def forget(self, slots: int) -> None:
        """Drop the newest slot and so many full ones before it."""
        for _ in range(min(slots + 1, len(self._slots))):
            self._slots.pop()


class SampleClock:
    """Dates for sample indices, learned from when samples arrive.

    A sample cannot arrive before it was heard, so of all arrivals in the last minute the promptest ones tell when
    index 0 was: jitter and bursts do not move the mapping, and the drift of a sound card's crystal is followed. The
    wall clock is read when a date is asked for, so a step of it changes later dates only.

    Attributes:
        sample_rate: in Hz.
    """

    def __init__(self, sample_rate: int, clock: Clock) -> None:
        if sample_rate < 1:
            raise ValueError(f"need a sample rate of at least 1 Hz, got {sample_rate}")
        self.sample_rate = sample_rate
        self._clock = clock
        self._created = clock.monotonic()
        self._delays = DelayEnvelope()
        self._observed = False

    @classmethod
    def fixed(cls, sample_rate: int, wall_start: float) -> "SampleClock":
        """A clock for recordings: index 0 was at `wall_start`, seconds since 1970 UTC, and nothing is learned."""
        return _FixedSampleClock(sample_rate, wall_start)

    def observe(self, end: int) -> None:
        """Take note that the samples before index `end` have arrived by now."""
        now = self._clock.monotonic()
        self._delays.observe(now, now - end / self.sample_rate)
        self._observed = True

    def monotonic(self, index: int) -> float:
        """The monotonic time, in seconds, at which the sample was there to be had."""
        zero = self._delays.smallest if self._observed else self._created
        return zero + index / self.sample_rate

    @property
    def wall_offset(self) -> float:
        """Seconds since 1970 UTC less monotonic ones, as of now."""
        return self._clock.wall() - self._clock.monotonic()

    def utc(self, index: int) -> datetime:
        """The date of the sample, aware, in UTC."""
        return datetime.fromtimestamp(self.monotonic(index) + self.wall_offset, UTC)


class _FixedSampleClock(SampleClock):
    def __init__(self, sample_rate: int, wall_start: float) -> None:
        super().__init__(sample_rate, _Stopped(wall_start))

    def observe(self, end: int) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Stopped:
    """A clock that stands still."""

    start: float

    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return self.start

    async def sleep(self, seconds: float) -> None:
        raise RuntimeError("nothing can wait on a stopped clock")
