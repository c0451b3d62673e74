"""A spool whose file is damaged: what can be read is delivered, the file is set aside, and numbers only rise."""

import random
import shutil
from pathlib import Path

import pytest

from monitor.spool import Spool
from tests.fakes import FakeClock
from tests.parts_spool import NOW, Disk, fill, free, open_spool, seqs, small_disk

__all__ = ["small_disk"]

PAGE = 4096


def _filled(path: Path, count: int = 200, readers: tuple[str, ...] = ("mqtt",)) -> None:
    spool = open_spool(path, readers=readers)
    for number in range(1, count + 1):
        spool.append(b"message %d" % number + bytes(500))
    spool.close()


def _damage(path: Path, first: int, pages: int, filling: bytes = b"\0") -> None:
    content = bytearray(path.read_bytes())
    content[first * PAGE : (first + pages) * PAGE] = filling * (pages * PAGE)
    path.write_bytes(content)


def _asides(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.corrupt-*"))


def test_messages_around_the_damage_are_saved_and_numbers_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "spool.sqlite"
    _filled(path)
    _damage(path, 10, 2)
    before = path.read_bytes()

    spool = open_spool(path)
    spool.append(b"new")
    saved = spool.peek(1000)
    lost = set(range(1, 202)) - {seq for seq, _ in saved}
    assert 0 < len(lost) <= 2 * PAGE // 500, "more than what lay on the damaged pages"
    assert [seq for seq, _ in saved] == sorted(seq for seq, _ in saved)
    assert all(body.startswith(b"message %d\0" % seq) for seq, body in saved[:-1])
    assert saved[-1] == (201, b"new")
    assert [file.read_bytes() for file in _asides(tmp_path)] == [before]
    assert [getattr(record, "fields", {})["messages_saved"] for record in caplog.records] == [len(saved) - 1]


def test_positions_of_readers_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    _filled(path, readers=("mqtt", "stdout"))
    spool = open_spool(path, readers=("mqtt", "stdout"))
    spool.ack(190, reader="stdout")
    spool.close()
    _damage(path, 10, 2)

    again = open_spool(path, readers=("mqtt", "stdout"))
    assert seqs(again, "stdout") == list(range(191, 201))
    assert len(seqs(again, "mqtt")) > 180


def test_what_only_the_log_holds_is_saved_from_a_file_of_noise(tmp_path: Path) -> None:
    path, crashed = tmp_path / "spool.sqlite", tmp_path / "crashed"
    crashed.mkdir()
    spool = open_spool(path)
    for number in range(1, 51):
        spool.append(b"message %d" % number)
    for file in tmp_path.glob("spool.sqlite*"):  # as a killed process leaves them
        shutil.copy(file, crashed / file.name)
    spool.close()
    (crashed / "spool.sqlite").write_bytes(b"noise" * 1000)
    assert (crashed / "spool.sqlite-wal").stat().st_size > 0

    again = open_spool(crashed / "spool.sqlite")
    assert seqs(again) == list(range(1, 51))


@pytest.mark.parametrize("seed", range(12))
def test_random_damage_neither_stops_the_spool_nor_makes_up_messages(tmp_path: Path, seed: int) -> None:
    random_, path = random.Random(seed), tmp_path / "spool.sqlite"
    _filled(path)
    content = bytearray(path.read_bytes())
    for _ in range(random_.choice([1, 3, 30])):
        at = random_.randrange(len(content))
        size = random_.choice([1, 16, 3000])
        content[at : at + size] = random_.randbytes(len(content[at : at + size]))
    path.write_bytes(content[: random_.choice([len(content), len(content) // 2])])

    spool = open_spool(path)
    spool.append(b"new")
    found = [seq for seq, _ in spool.peek(1000)]
    assert found == sorted(set(found))
    assert found[:-1] == [seq for seq in found if seq <= 200]
    assert found[-1] > 200


def test_salvage_that_found_no_room_is_done_once_there_is(small_disk: Path, tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    _filled(path, 700)
    _damage(path, 20, 1)
    for file in tmp_path.glob("spool.sqlite*"):
        shutil.move(file, small_disk / file.name)
    path = small_disk / path.name
    fill(small_disk)  # there is no room for a second copy

    spool = open_spool(path)
    spool.append(b"new")
    assert not spool.healthy
    assert _asides(small_disk) == [], "the file stays where it will be tried again"
    free(small_disk)
    assert spool.recover()
    found = [body for _, body in spool.peek(3000)]
    assert found[-1] == b"new"
    assert 680 < len(found) < 701
    assert _asides(small_disk)
    spool.close()


def test_corruption_met_while_running_costs_only_what_lay_on_the_damaged_page(tmp_path: Path) -> None:
    path, disk, clock = tmp_path / "spool.sqlite", Disk(), FakeClock(NOW)
    _filled(path)
    spool = Spool(path, clock=clock, connect=disk, retry_seconds=0)
    spool.append(b"before")
    disk.connections[-1].execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    _damage(path, 12, 1, b"\xff")
    disk.connections[-1].execute("PRAGMA cache_size = 0")
    disk.connections[-1].execute("PRAGMA shrink_memory")

    spool.peek(1000)
    assert not spool.healthy
    spool.append(b"after")
    assert spool.healthy
    found = spool.peek(1000)
    assert [body for _, body in found[-2:]] == [b"before", b"after"]
    assert len(found) > 190
    assert _asides(tmp_path)
