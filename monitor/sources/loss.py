"""Finds audio that was lost before it reached us, by counting samples against the clock.

Sound servers drop audio without a flag when a machine stalls; only the count shows it.
"""

from monitor.clock import Clock, DelayEnvelope

SLOTS = 3
TOLERANCE_SECONDS = 0.25
"""Sound servers change their latency by less than this."""


class LossMeter:
    """State is the delay at which samples arrive.

    Where even the promptest arrival of three seconds is later than all before, that is not jitter: the samples in
    between are gone.

    Attributes:
        lost: samples found missing so far.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._delays = DelayEnvelope()
        self.lost = 0

    def observe(self, end: int, sample_rate: int) -> bool:
        """Take note that `end` samples have arrived by now; says whether more were found missing."""
        now = self._clock.monotonic()
        self._delays.observe(now, now - (end + self.lost) / sample_rate)
        excess = self._delays.excess(SLOTS, TOLERANCE_SECONDS)
        if excess <= TOLERANCE_SECONDS:
            return False
        self.lost += round(excess * sample_rate)
        self._delays.forget(SLOTS)  # they are from before the correction
        return True
