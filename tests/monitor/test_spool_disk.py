"""A spool on a disk that fails, is full or read-only."""

from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.spool import Spool
from tests.fakes import FakeClock
from tests.parts_spool import NOW, Disk, exhaust, open_spool, seqs, small_disk

__all__ = ["small_disk"]


@pytest.mark.parametrize("fault", [Disk.fill, Disk.protect, Disk.vanish])
def test_failing_disk_loses_nothing_and_all_is_written_when_it_is_well(
    tmp_path: Path, fault: Callable[[Disk], None]
) -> None:
    disk = Disk()
    spool = open_spool(tmp_path / "spool.sqlite", connect=disk, retry_seconds=0)
    spool.append(b"a")
    fault(disk)
    exhaust(spool)
    assert str(tmp_path / "spool.sqlite") in (spool.detail or "")
    spool.append(b"z")
    count = spool.depth

    if fault is not Disk.vanish:
        disk.free()
    assert spool.recover()
    spool.close()
    again = open_spool(tmp_path / "spool.sqlite")
    assert seqs(again) == list(range(1, count + 1))
    assert (again.healthy, again.peek(1000)[-1][1]) == (True, b"z")


@pytest.mark.parametrize("fault", [Disk.fill, Disk.protect])
def test_messages_are_delivered_once_while_the_disk_takes_nothing(
    tmp_path: Path, fault: Callable[[Disk], None]
) -> None:
    disk = Disk()
    spool = open_spool(tmp_path / "spool.sqlite", connect=disk, readers=("mqtt", "stdout"))
    spool.append(b"a")
    fault(disk)
    exhaust(spool)

    seen = seqs(spool)
    assert seen == list(range(1, len(seen) + 1))
    spool.ack(seen[-1])
    spool.append(b"z")
    assert seqs(spool) == [seen[-1] + 1]
    assert seqs(spool, "stdout") == [*seen, seen[-1] + 1]


def test_messages_on_a_disk_that_cannot_be_read_are_delivered_later(tmp_path: Path) -> None:
    disk = Disk()
    spool = open_spool(tmp_path / "spool.sqlite", connect=disk, retry_seconds=60)
    spool.append(b"on disk")
    disk.vanish()
    spool.append(b"held")
    spool.append(b"held too")

    assert [body for _, body in spool.peek()] == [b"held", b"held too"]
    spool.ack(2)
    assert spool.recover()
    assert [body for _, body in spool.peek()] == [b"on disk", b"held too"]


def test_numbers_given_while_the_disk_failed_are_not_used_again(tmp_path: Path) -> None:
    disk = Disk()
    spool = open_spool(tmp_path / "spool.sqlite", connect=disk)
    disk.protect()
    for _ in range(5):
        spool.append(b"a")
    spool.ack(5)
    disk.vanish()  # and the process dies

    again = open_spool(tmp_path / "spool.sqlite")
    again.append(b"b")
    assert seqs(again)[0] > 5


def test_memory_is_bounded_while_the_disk_fails(tmp_path: Path) -> None:
    disk = Disk()
    spool = open_spool(tmp_path / "spool.sqlite", connect=disk, max_held=10)
    disk.protect()

    assert sum(spool.append(b"a") for _ in range(25)) == 15
    assert (seqs(spool), spool.depth) == (list(range(16, 26)), 10)


async def test_failed_disk_is_tried_again_by_itself_but_not_at_every_message(tmp_path: Path) -> None:
    disk, clock = Disk(), FakeClock(NOW)
    spool = Spool(tmp_path / "spool.sqlite", clock=clock, connect=disk, retry_seconds=5)
    disk.protect()
    spool.append(b"a")
    disk.free()

    spool.append(b"b")
    assert not spool.healthy
    await clock.advance(5)
    spool.append(b"c")
    assert spool.healthy
    assert seqs(spool) == [1, 2, 3]


def test_disk_failure_is_logged_once_and_so_is_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    spool = open_spool(tmp_path / "spool.sqlite", connect=disk)
    disk.protect()
    caplog.set_level("INFO")
    for _ in range(3):
        spool.append(b"a")
    disk.free()
    spool.recover()

    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_full_disk_delays_nothing_and_what_it_did_not_take_is_written_once_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    spool = open_spool(small_disk / "spool.sqlite", retry_seconds=0)
    ballast.write_bytes(bytes(1_000_000))
    exhaust(spool)
    held = spool.append(b"z")
    assert "full" in (spool.detail or "")
    assert held == 0

    seen = seqs(spool)
    spool.ack(seen[-2])
    ballast.unlink()
    assert spool.recover()
    spool.close()
    again = open_spool(small_disk / "spool.sqlite")
    assert again.peek() == [(seen[-1], b"z")]
    again.close()
