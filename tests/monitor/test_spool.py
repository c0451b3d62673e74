"""What a spool keeps, for whom and how long."""

from pathlib import Path

import pytest

from monitor.spool import Spool
from tests.fakes import FakeClock
from tests.parts_spool import NOW, Disk, open_spool, seqs


def test_messages_come_in_order_until_they_are_acknowledged(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool.sqlite")
    for body in (b"a", b"b", b"c"):
        assert spool.append(body) == 0

    assert spool.peek(2) == [(1, b"a"), (2, b"b")]
    spool.ack(2)
    assert spool.peek(2) == [(3, b"c")]
    spool.ack(3)
    assert spool.peek() == []
    assert spool.depth == 0


def test_opening_makes_the_folder(tmp_path: Path) -> None:
    open_spool(tmp_path / "state" / "node" / "spool.sqlite").append(b"a")

    assert (tmp_path / "state" / "node" / "spool.sqlite").exists()


def test_messages_and_positions_survive_closing(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool.sqlite")
    for body in (b"a", b"b"):
        spool.append(body)
    spool.ack(1)
    spool.close()

    again = open_spool(tmp_path / "spool.sqlite")
    assert again.peek() == [(2, b"b")]


@pytest.mark.parametrize("clean", [True, False])
def test_numbers_go_on_without_a_hole_after_a_restart_when_all_rows_are_gone(tmp_path: Path, clean: bool) -> None:
    disk = Disk()
    spool = open_spool(tmp_path / "spool.sqlite", connect=disk)
    spool.append(b"a")
    spool.ack(1)
    if clean:
        spool.close()
    else:
        disk.vanish()

    again = open_spool(tmp_path / "spool.sqlite")
    again.append(b"b")
    assert again.peek() == [(2, b"b")]


def test_message_leaves_when_every_reader_has_it(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool.sqlite", readers=("mqtt", "stdout"))
    spool.append(b"a")
    spool.append(b"b")

    spool.ack(2, reader="stdout")
    assert (seqs(spool, "mqtt"), seqs(spool, "stdout"), spool.depth) == ([1, 2], [], 2)
    spool.ack(1, reader="mqtt")
    assert (seqs(spool, "mqtt"), spool.depth) == ([2], 1)


def test_reader_that_was_removed_holds_nothing_back(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool.sqlite", readers=("mqtt", "stdout"))
    spool.append(b"a")
    spool.ack(1, reader="mqtt")
    spool.close()

    assert open_spool(tmp_path / "spool.sqlite", readers=("mqtt",)).depth == 0


def test_reader_that_is_new_begins_with_what_comes_next(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool.sqlite", readers=("mqtt",))
    spool.append(b"a")
    spool.close()
    again = open_spool(tmp_path / "spool.sqlite", readers=("mqtt", "stdout"))
    again.append(b"b")

    assert (seqs(again, "mqtt"), seqs(again, "stdout")) == ([1, 2], [2])


def test_full_spool_drops_the_oldest_and_says_how_many(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool.sqlite", max_messages=3)

    dropped = [spool.append(bytes([number])) for number in range(5)]
    assert (dropped, seqs(spool), spool.depth, spool.dropped) == ([0, 0, 0, 1, 1], [3, 4, 5], 3, 2)


def test_smaller_bound_is_reached_after_a_restart(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool.sqlite", max_messages=10)
    for _ in range(10):
        spool.append(b"a")
    spool.close()

    again = open_spool(tmp_path / "spool.sqlite", max_messages=4)
    assert again.append(b"b") == 7
    assert seqs(again) == [8, 9, 10, 11]


async def test_oldest_timestamp_is_when_the_first_waiting_message_came(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    spool = Spool(tmp_path / "spool.sqlite", clock=clock)
    assert spool.oldest_timestamp is None
    spool.append(b"a")
    await clock.advance(5)
    spool.append(b"b")

    assert spool.oldest_timestamp == NOW
    spool.ack(1)
    assert spool.oldest_timestamp == NOW + 5


def test_acknowledging_an_earlier_message_again_changes_nothing(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool.sqlite")
    for body in (b"a", b"b"):
        spool.append(body)
    spool.ack(2)
    spool.ack(1)

    assert spool.peek() == []


def test_spool_without_readers_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reader"):
        open_spool(tmp_path / "spool.sqlite", readers=())
