"""How long to wait before another attempt."""

import pytest

from monitor.backoff import Backoff


@pytest.mark.parametrize(("jitter", "waits"), [(0.0, [0.5, 1, 2, 3, 3]), (1.0, [1, 2, 4, 6, 6])])
def test_backoff_doubles_to_its_cap_and_begins_again_after_a_reset(jitter: float, waits: list[float]) -> None:
    backoff = Backoff(1.0, 6.0, jitter=lambda: jitter)

    assert [backoff.next() for _ in waits] == waits
    backoff.reset()
    assert backoff.next() == waits[0]


@pytest.mark.parametrize(("first", "cap"), [(0.0, 1.0), (2.0, 1.0)])
def test_backoff_refuses_spans_that_cannot_be(first: float, cap: float) -> None:
    with pytest.raises(ValueError, match="first"):
        Backoff(first, cap)
