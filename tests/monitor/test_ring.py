"""The ring buffer, alone and with a thread that writes."""

import threading

import numpy as np
import pytest

from monitor.ring import RingBuffer


def counting(start: int, stop: int) -> np.ndarray:
    return np.arange(start, stop, dtype=np.float32)


@pytest.mark.parametrize("sizes", [[10], [3, 3, 4], [1] * 10, [7, 3], [16], [5, 40, 2], [100]])
def test_the_newest_samples_are_kept_however_they_were_written(sizes: list[int]) -> None:
    ring, end = RingBuffer(8), 0
    for size in sizes:
        ring.write(counting(end, end + size))
        end += size
    block = ring.read(0)
    assert (block.start, ring.end) == (end - 8, end)
    np.testing.assert_array_equal(block.samples, counting(end - 8, end))


@pytest.mark.parametrize(
    "start, stop, expected",
    [(4, 6, (4, 6)), (4, None, (4, 10)), (0, 5, (2, 5)), (8, 99, (8, 10)), (10, None, (10, 10)), (12, None, (12, 12))],
)
def test_a_read_gives_what_exists_of_the_range(start: int, stop: int | None, expected: tuple[int, int]) -> None:
    ring = RingBuffer(8)
    ring.write(counting(0, 10))
    block = ring.read(start, stop)
    assert (block.start, block.end) == expected


def test_a_range_that_was_overwritten_is_empty_at_the_oldest_sample() -> None:
    ring = RingBuffer(8)
    ring.write(counting(0, 30))
    block = ring.read(3, 9)
    assert (block.start, len(block.samples)) == (22, 0)


def test_a_block_does_not_change_when_the_ring_is_written_on() -> None:
    ring = RingBuffer(8)
    ring.write(counting(0, 8))
    block = ring.read(0)
    ring.write(counting(8, 16))
    np.testing.assert_array_equal(block.samples, counting(0, 8))


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_ring_without_room_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="capacity"):
        RingBuffer(wrong)


def test_a_negative_index_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        RingBuffer(8).read(-1)


def test_samples_overwritten_during_the_copy_are_cut_off() -> None:
    class Racing(RingBuffer):
        def _copy(self, start: int, stop: int) -> np.ndarray:
            self.write(counting(8, 11))
            return super()._copy(start, stop)

    ring = Racing(8)
    ring.write(counting(0, 8))
    block = ring.read(0)
    assert block.start == 3
    np.testing.assert_array_equal(block.samples, counting(3, 8))


def test_a_reader_beside_a_writing_thread_never_sees_a_wrong_sample() -> None:
    ring = RingBuffer(4_096)
    total = 3_000_000  # float32 counts exactly so far

    def write() -> None:
        for start in range(0, total, 1_000):
            ring.write(counting(start, start + 1_000))

    thread = threading.Thread(target=write)
    thread.start()
    cursor = 0
    while cursor < total:
        block = ring.read(cursor)
        np.testing.assert_array_equal(block.samples, counting(block.start, block.end))
        cursor = block.end
    thread.join()
