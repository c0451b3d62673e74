import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssondo_stream.sliding import SlidingMap


def column(value: int, axis: int) -> np.ndarray:
    shape = [2, 3]
    shape.insert(axis, 1)
    return np.full(shape, value, np.float32)


def held(sliding: SlidingMap, axis: int) -> list[float]:
    views = sliding.read(sliding.first, sliding.end)
    joined = np.concatenate(views, axis=axis) if views else np.empty((0, 0, 0))
    return [float(np.take(joined, i, axis).mean()) for i in range(joined.shape[axis])] if joined.size else []


@given(
    axis=st.integers(0, 2),
    capacity=st.integers(1, 6),
    steps=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 6)), max_size=20),
)
def test_columns_are_those_of_a_plain_list(axis: int, capacity: int, steps: list[tuple[int, int, int]]) -> None:
    sliding, plain, value = SlidingMap(axis, capacity), {}, 0
    for added, back, forgotten in steps:
        start = max(sliding.first, sliding.end - back)
        if added:
            values = range(value, value + added)
            sliding.write(start, np.concatenate([column(v, axis) for v in values], axis=axis))
            plain.update(zip(range(start, start + added), values, strict=True))
            value += added
        sliding.forget(sliding.first + forgotten)
        assert held(sliding, axis) == [plain[i] for i in range(sliding.first, sliding.end)]


def test_writing_beyond_a_hole_begins_anew() -> None:
    sliding = SlidingMap(axis=0)
    sliding.write(0, column(1, 0))
    sliding.write(5, column(2, 0))
    assert (sliding.first, sliding.end) == (5, 6)


def test_reset_forgets_the_columns() -> None:
    sliding = SlidingMap(axis=0)
    sliding.write(0, column(1, 0))
    sliding.reset()
    assert (sliding.first, sliding.end, held(sliding, 0)) == (0, 0, [])


@pytest.mark.parametrize(("start", "stop"), [(0, 2), (2, 1), (1, 4)])
def test_columns_that_are_not_held_cannot_be_read(start: int, stop: int) -> None:
    sliding = SlidingMap(axis=0)
    sliding.write(0, np.zeros((3, 2, 3), np.float32))
    sliding.forget(1)
    with pytest.raises(ValueError, match="need 1 <= start"):
        sliding.read(start, stop)


def test_columns_that_were_let_go_cannot_be_written() -> None:
    sliding = SlidingMap(axis=0)
    sliding.write(0, np.zeros((3, 2, 3), np.float32))
    sliding.forget(2)
    with pytest.raises(ValueError, match="need start >= 2"):
        sliding.write(1, np.zeros((1, 2, 3), np.float32))
