"""How long to wait before trying again: doubling, capped and jittered, so that many nodes do not return as one."""

import random
from collections.abc import Callable


class Backoff:
    """Waits between attempts: each is drawn from the upper half of a span that doubles up to a cap.

    State is the number of attempts since `reset`.
    """

    def __init__(self, first: float, cap: float, jitter: Callable[[], float] = random.random) -> None:
        """Set up.

        Args:
            first: seconds, about, before the second attempt.
            cap: seconds, at most, before any attempt.
            jitter: draws from [0, 1).
        """
        if not 0 < first <= cap:
            raise ValueError(f"need 0 < first <= cap, got first={first} cap={cap}")
        self._first = first
        self._cap = cap
        self._jitter = jitter
        self._span = first

    def next(self) -> float:
        """Seconds to wait now."""
        span = self._span
        self._span = min(2 * span, self._cap)
        return span * (0.5 + 0.5 * self._jitter())

    def reset(self) -> None:
        """All is well: the next wait is short again."""
        self._span = self._first
