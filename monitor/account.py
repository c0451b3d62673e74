"""Every second since listening began, as heard or as missed: an index that goes with time, and what belongs where.

Sources stall, burst, vanish and come back, and what they then send may be from before. Nothing is counted twice:
samples heard and samples missed are always the index reached, and no outage puts that ahead of the clock.
"""

from collections.abc import Callable

from monitor.clock import Clock, DelayEnvelope
from monitor.sources import AudioSource
from ssondo_stream.types import AudioBlock

TOLERANCE_SECONDS = 0.25
"""Arrivals of live audio vary by less than this."""
RECORDING_SECONDS = 10.0
"""What is further ahead of the clock has been recorded, and owes no time to it."""
KEPT_SECONDS = 30.0
"""Of what was counted as missed, so much may have been kept for us, and still come."""
SLEW = 0.0005
"""The index follows a device's crystal by at most so much of what is heard."""
PROVISIONAL_RATE = 48_000
_ENVELOPE_SECONDS = 10


class Account:
    """The index reached, and the time that it stands for.

    A session is what comes of one opening of the source. Its first block goes where the clock says; where more comes
    than time has passed, the oldest of it is left out as far as it was counted as missed already. From a source that
    waits for us nothing is left out; time that it is ahead is taken off the next outage.

    State is the index, the monotonic time of index 0, where the session's index 0 lies, and what may be left out.

    Args:
        gap: told of so many more seconds that were missed, and why.

    Attributes:
        end: index reached.
        sample_rate: in Hz, of the index; the source's own from its first block on.
    """

    def __init__(self, clock: Clock, gap: Callable[[float, str], None]) -> None:
        self.end = 0
        self.sample_rate = PROVISIONAL_RATE
        self._now = clock.monotonic
        self._gap = gap
        self._zero = clock.monotonic()
        self._base: int | None = None
        self._delays = DelayEnvelope(_ENVELOPE_SECONDS)
        self._unbroken = True
        self._owed = 0.0

    def begin(self) -> None:
        """Time counts from now on."""
        self._zero = self._now()

    def lose(self) -> None:
        """The session is over, and time goes on without it."""
        self._base, self._unbroken = None, False
        if self._lead(self.end) > RECORDING_SECONDS:
            self._zero = self._now() - self.end / self.sample_rate

    def grow(self, margin_seconds: float = 0.0) -> None:
        """While nothing is heard: count what was missed so far, but for a margin that may still come."""
        self._reach(round((self._now() - margin_seconds - self._zero) * self.sample_rate), "outage")

    def place(self, block: AudioBlock, source: AudioSource) -> AudioBlock | None:
        """The block on the account's index, without what was counted as missed; none if that is all of it."""
        reason = "outage" if self._base is None else source.gap_reason
        base = self._open(block, source) if self._base is None else self._base
        self._base = base = self._corrected(base, block, source)
        self._follow(base + source.arrived, len(block.samples))
        left_out = max(0, self.end - base - block.start)
        if left_out >= len(block.samples):
            return None
        self._reach(base + block.start, reason)
        placed = AudioBlock(base + block.start + left_out, block.samples[left_out:])
        self.end = placed.end
        return placed

    def index(self, session_index: int) -> int:
        """Where a sample of the session under way lies."""
        return (self._base or 0) + session_index

    def _open(self, first: AudioBlock, source: AudioSource) -> int:
        if source.sample_rate != self.sample_rate:
            self.end = round(self.end * source.sample_rate / self.sample_rate)
            self.sample_rate = source.sample_rate
        self._delays = DelayEnvelope(_ENVELOPE_SECONDS)
        if self._unbroken:
            self._zero = self._now() - (source.arrived - first.start) / self.sample_rate
        due = round((self._now() - self._zero) * self.sample_rate)
        return max(due - source.arrived, self.end - first.start)

    def _corrected(self, base: int, block: AudioBlock, source: AudioSource) -> int:
        """The session's base, set back where more has come than there was time for since it was opened."""
        lead = max(0.0, self._lead(base + source.arrived))
        if self._unbroken:
            self._zero -= lead
            return base
        stale = min(lead, self._owed)
        if source.waits or stale <= TOLERANCE_SECONDS:
            return base
        self._owed -= stale
        self._delays = DelayEnvelope(_ENVELOPE_SECONDS)
        if base + block.start == self.end and self._base is not None:
            self._reach(self.end + 1, source.gap_reason)  # what follows does not adjoin, and this shows it
        return base - round(stale * self.sample_rate)

    def _follow(self, arrived: int, heard: int) -> None:
        """Let the index's time follow the device's, slowly."""
        seconds = heard / self.sample_rate
        self._delays.observe(self._now(), self._now() - arrived / self.sample_rate)
        limit = SLEW * seconds
        self._zero += min(max(self._delays.smallest - self._zero, -limit), limit)

    def _lead(self, index: int) -> float:
        """Seconds by which an index is ahead of the clock."""
        return self._zero + index / self.sample_rate - self._now()

    def _reach(self, index: int, reason: str) -> None:
        """Go on to an index without having heard what lies before it."""
        if index <= self.end:
            return
        seconds = (index - self.end) / self.sample_rate
        self.end, self._unbroken = index, False
        self._owed = min(KEPT_SECONDS, self._owed + seconds)
        self._gap(seconds, reason)
