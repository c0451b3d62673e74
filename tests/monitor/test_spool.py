import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from monitor.errors import SpoolError
from monitor.spool import Spool
from tests.fakes import FakeClock

NOW = 1_800_000_000.0


def _open(path: Path, **settings: object) -> Spool:
    return Spool(path, clock=FakeClock(NOW), **settings)  # type: ignore[arg-type]


def _numbers(spool: Spool, reader: str = "mqtt") -> list[int]:
    return [seq for seq, _ in spool.peek(1000, reader=reader)]


class Disk:
    """Opens SQLite connections that fail as a disk would, when told to."""

    def __init__(self) -> None:
        self.connections: list[sqlite3.Connection] = []

    def __call__(self, path: str) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None)
        self.connections.append(connection)
        return connection

    def fill(self) -> None:
        """No page more."""
        (pages,) = self.connections[-1].execute("PRAGMA page_count").fetchone()
        self.connections[-1].execute(f"PRAGMA max_page_count = {pages}")

    def protect(self) -> None:
        """Read-only."""
        self.connections[-1].execute("PRAGMA query_only = 1")

    def vanish(self) -> None:
        """Not even readable."""
        self.connections[-1].close()

    def free(self) -> None:
        self.connections[-1].execute("PRAGMA max_page_count = 1000000")
        self.connections[-1].execute("PRAGMA query_only = 0")


def _exhaust(spool: Spool) -> None:
    while spool.healthy:
        spool.append(bytes(3000))


def test_messages_come_in_order_until_they_are_acknowledged(tmp_path: Path) -> None:
    spool = _open(tmp_path / "spool.sqlite")
    for body in (b"a", b"b", b"c"):
        assert spool.append(body) == 0

    assert spool.peek(2) == [(1, b"a"), (2, b"b")]
    spool.ack(2)
    assert spool.peek(2) == [(3, b"c")]
    spool.ack(3)
    assert spool.peek() == []
    assert spool.depth == 0


def test_opening_makes_the_folder(tmp_path: Path) -> None:
    _open(tmp_path / "state" / "node" / "spool.sqlite").append(b"a")

    assert (tmp_path / "state" / "node" / "spool.sqlite").exists()


def test_messages_and_positions_survive_closing(tmp_path: Path) -> None:
    spool = _open(tmp_path / "spool.sqlite")
    for body in (b"a", b"b"):
        spool.append(body)
    spool.ack(1)
    spool.close()

    again = _open(tmp_path / "spool.sqlite")
    assert again.peek() == [(2, b"b")]


@pytest.mark.parametrize("clean", [True, False])
def test_numbers_go_on_without_a_hole_after_a_restart_when_all_rows_are_gone(tmp_path: Path, clean: bool) -> None:
    disk = Disk()
    spool = _open(tmp_path / "spool.sqlite", connect=disk)
    spool.append(b"a")
    spool.ack(1)
    if clean:
        spool.close()
    else:
        disk.vanish()

    again = _open(tmp_path / "spool.sqlite")
    again.append(b"b")
    assert again.peek() == [(2, b"b")]


def test_message_leaves_when_every_reader_has_it(tmp_path: Path) -> None:
    spool = _open(tmp_path / "spool.sqlite", readers=("mqtt", "stdout"))
    spool.append(b"a")
    spool.append(b"b")

    spool.ack(2, reader="stdout")
    assert (_numbers(spool, "mqtt"), _numbers(spool, "stdout"), spool.depth) == ([1, 2], [], 2)
    spool.ack(1, reader="mqtt")
    assert (_numbers(spool, "mqtt"), spool.depth) == ([2], 1)


def test_reader_that_was_removed_holds_nothing_back(tmp_path: Path) -> None:
    spool = _open(tmp_path / "spool.sqlite", readers=("mqtt", "stdout"))
    spool.append(b"a")
    spool.ack(1, reader="mqtt")
    spool.close()

    assert _open(tmp_path / "spool.sqlite", readers=("mqtt",)).depth == 0


def test_reader_that_is_new_begins_with_what_comes_next(tmp_path: Path) -> None:
    spool = _open(tmp_path / "spool.sqlite", readers=("mqtt",))
    spool.append(b"a")
    spool.close()
    again = _open(tmp_path / "spool.sqlite", readers=("mqtt", "stdout"))
    again.append(b"b")

    assert (_numbers(again, "mqtt"), _numbers(again, "stdout")) == ([1, 2], [2])


def test_full_spool_drops_the_oldest_and_says_how_many(tmp_path: Path) -> None:
    spool = _open(tmp_path / "spool.sqlite", max_messages=3)

    dropped = [spool.append(bytes([number])) for number in range(5)]
    assert (dropped, _numbers(spool), spool.depth, spool.dropped) == ([0, 0, 0, 1, 1], [3, 4, 5], 3, 2)


def test_smaller_bound_is_reached_after_a_restart(tmp_path: Path) -> None:
    spool = _open(tmp_path / "spool.sqlite", max_messages=10)
    for _ in range(10):
        spool.append(b"a")
    spool.close()

    again = _open(tmp_path / "spool.sqlite", max_messages=4)
    assert again.append(b"b") == 7
    assert _numbers(again) == [8, 9, 10, 11]


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
    spool = _open(tmp_path / "spool.sqlite")
    for body in (b"a", b"b"):
        spool.append(body)
    spool.ack(2)
    spool.ack(1)

    assert spool.peek() == []


def test_spool_without_readers_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reader"):
        _open(tmp_path / "spool.sqlite", readers=())


def _parent_is_a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "spool.sqlite"


def _is_a_folder(folder: Path) -> Path:
    (folder / "spool.sqlite").mkdir()
    return folder / "spool.sqlite"


def _in_a_folder_that_takes_no_files(folder: Path) -> Path:
    return Path("/proc/spool.sqlite")


def _of_a_newer_version(folder: Path) -> Path:
    with sqlite3.connect(folder / "spool.sqlite") as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    return folder / "spool.sqlite"


@pytest.mark.parametrize(
    "make", [_parent_is_a_file, _is_a_folder, _in_a_folder_that_takes_no_files, _of_a_newer_version]
)
def test_file_that_cannot_be_used_is_one_line_that_names_it_and_what_to_do(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)

    with pytest.raises(SpoolError) as caught:
        _open(path)
    assert str(path) in str(caught.value)
    assert "[spool] path" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_another_process_uses_is_refused(tmp_path: Path) -> None:
    spool = _open(tmp_path / "spool.sqlite")
    script = (
        "import sys; from pathlib import Path; from monitor.spool import Spool; from monitor.clock import SystemClock\n"
        "Spool(Path(sys.argv[1]), clock=SystemClock())"
    )
    other = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "spool.sqlite"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "another process has it open" in other.stderr
    spool.close()


@pytest.mark.parametrize("damage", [b"", b"no database", os.urandom(5000)], ids=["empty", "text", "noise"])
def test_corrupt_file_is_set_aside_and_numbers_go_on_above(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "spool.sqlite"
    spool = _open(path)
    for _ in range(5):
        spool.append(b"a")
    spool.close()
    path.write_bytes(damage)

    again = _open(path)
    again.append(b"b")
    assert _numbers(again) == [6]
    assert [file.read_bytes() for file in tmp_path.glob("*.corrupt-*")] == ([damage] if damage else [])


def test_file_with_damage_inside_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    spool = _open(path)
    for _ in range(200):
        spool.append(bytes(500))
    spool.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = bytes(4096 * 3)
    path.write_bytes(content)

    again = _open(path)
    assert again.depth == 0
    assert list(tmp_path.glob("*.corrupt-*"))


def test_only_the_latest_corrupt_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    for day in range(6):
        path.write_bytes(b"no database")
        Spool(path, clock=FakeClock(NOW + day)).close()

    assert sorted(int(file.name[-1]) for file in tmp_path.glob("*.corrupt-*")) == [3, 4, 5]


@pytest.mark.parametrize(
    ("lost", "lowest"),
    [
        (("spool.sqlite",), 11),  # deleted: the note beside it still tells
        (("spool.sqlite.seq",), NOW),  # a note that is lost: above any count of events
    ],
)
def test_numbers_are_never_used_again_when_a_file_is_lost(tmp_path: Path, lost: tuple[str, ...], lowest: float) -> None:
    spool = _open(tmp_path / "spool.sqlite")
    for _ in range(10):
        spool.append(b"a")
    spool.ack(10)
    spool.close()
    for name in lost:
        (tmp_path / name).unlink()

    again = _open(tmp_path / "spool.sqlite")
    again.append(b"b")
    assert _numbers(again)[0] >= lowest


def test_after_a_power_cut_numbers_go_on_above_all_that_may_have_been_used(tmp_path: Path) -> None:
    path, note = tmp_path / "spool.sqlite", tmp_path / "spool.sqlite.seq"
    spool = _open(path)
    spool.append(b"a")
    spool.close()
    before = path.read_bytes()  # what the disk had
    disk = Disk()
    spool = _open(path, connect=disk)
    for _ in range(1500):
        spool.append(b"b")
    disk.vanish()
    path.write_bytes(before)
    (tmp_path / "spool.sqlite-wal").unlink(missing_ok=True)
    note.write_text(json.dumps({**json.loads(note.read_text()), "boot": "another"}))

    again = _open(path)
    again.append(b"c")
    assert 1501 < _numbers(again)[-1] <= 1501 + 2000


@pytest.mark.parametrize("fault", [Disk.fill, Disk.protect, Disk.vanish])
def test_failing_disk_loses_nothing_and_all_is_written_when_it_is_well(
    tmp_path: Path, fault: Callable[[Disk], None]
) -> None:
    disk = Disk()
    spool = _open(tmp_path / "spool.sqlite", connect=disk, retry_seconds=0)
    spool.append(b"a")
    fault(disk)
    _exhaust(spool)
    assert str(tmp_path / "spool.sqlite") in (spool.detail or "")
    spool.append(b"z")
    count = spool.depth

    if fault is not Disk.vanish:
        disk.free()
    assert spool.recover()
    spool.close()
    again = _open(tmp_path / "spool.sqlite")
    assert _numbers(again) == list(range(1, count + 1))
    assert (again.healthy, again.peek(1000)[-1][1]) == (True, b"z")


@pytest.mark.parametrize("fault", [Disk.fill, Disk.protect])
def test_messages_are_delivered_once_while_the_disk_takes_nothing(
    tmp_path: Path, fault: Callable[[Disk], None]
) -> None:
    disk = Disk()
    spool = _open(tmp_path / "spool.sqlite", connect=disk, readers=("mqtt", "stdout"))
    spool.append(b"a")
    fault(disk)
    _exhaust(spool)

    seen = _numbers(spool)
    assert seen == list(range(1, len(seen) + 1))
    spool.ack(seen[-1])
    spool.append(b"z")
    assert _numbers(spool) == [seen[-1] + 1]
    assert _numbers(spool, "stdout") == [*seen, seen[-1] + 1]


def test_messages_on_a_disk_that_cannot_be_read_are_delivered_later(tmp_path: Path) -> None:
    disk = Disk()
    spool = _open(tmp_path / "spool.sqlite", connect=disk, retry_seconds=60)
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
    spool = _open(tmp_path / "spool.sqlite", connect=disk)
    disk.protect()
    for _ in range(5):
        spool.append(b"a")
    spool.ack(5)
    disk.vanish()  # and the process dies

    again = _open(tmp_path / "spool.sqlite")
    again.append(b"b")
    assert _numbers(again)[0] > 5


def test_memory_is_bounded_while_the_disk_fails(tmp_path: Path) -> None:
    disk = Disk()
    spool = _open(tmp_path / "spool.sqlite", connect=disk, max_held=10)
    disk.protect()

    assert sum(spool.append(b"a") for _ in range(25)) == 15
    assert (_numbers(spool), spool.depth) == (list(range(16, 26)), 10)


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
    assert _numbers(spool) == [1, 2, 3]


def test_disk_failure_is_logged_once_and_so_is_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    spool = _open(tmp_path / "spool.sqlite", connect=disk)
    disk.protect()
    caplog.set_level("INFO")
    for _ in range(3):
        spool.append(b"a")
    disk.free()
    spool.recover()

    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_delays_nothing_and_what_it_did_not_take_is_written_once_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    spool = _open(small_disk / "spool.sqlite", retry_seconds=0)
    ballast.write_bytes(bytes(1_000_000))
    _exhaust(spool)
    held = spool.append(b"z")
    assert "full" in (spool.detail or "")
    assert held == 0

    seen = _numbers(spool)
    spool.ack(seen[-2])
    ballast.unlink()
    assert spool.recover()
    spool.close()
    again = _open(small_disk / "spool.sqlite")
    assert again.peek() == [(seen[-1], b"z")]
    again.close()


def test_spool_that_cannot_be_begun_on_a_full_disk_says_so(small_disk: Path) -> None:
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(4096))

    with pytest.raises(SpoolError, match=r"spool .*/disk/spool.sqlite: .*(full|space).*"):
        _open(small_disk / "spool.sqlite")


@pytest.mark.parametrize("existing", [True, False])
def test_spool_on_a_read_only_disk_says_so(small_disk: Path, existing: bool) -> None:
    if existing:
        spool = _open(small_disk / "spool.sqlite")
        spool.append(b"a")
        spool.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(SpoolError, match="make it writable"):
        _open(small_disk / "spool.sqlite")


APPENDER = """
import sys
from pathlib import Path
from monitor.clock import SystemClock
from monitor.spool import Spool
spool = Spool(Path(sys.argv[1]), clock=SystemClock())
acknowledge = len(spool.peek(1000)) > 100
while True:
    spool.append(b"message")
    print(spool._last, flush=True)
    if acknowledge:
        (seq, _), *_ = spool.peek(1)
        print(-seq, flush=True)
        spool.ack(seq)
"""


def test_killing_the_process_between_append_and_ack_loses_nothing(tmp_path: Path) -> None:
    appended: list[int] = []
    sent: set[int] = set()
    for _ in range(6):
        command = [sys.executable, "-c", APPENDER, str(tmp_path / "spool.sqlite")]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        end = time.monotonic() + random.uniform(0.01, 0.15)
        while time.monotonic() < end:
            lines.append(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
        child.stdout.close()
        child.wait()
        numbers = [int(line) for line in lines if line.endswith(b"\n")]
        appended += [number for number in numbers if number > 0]
        sent |= {-number for number in numbers if number < 0}

    spool = _open(tmp_path / "spool.sqlite")
    left = _numbers_all(spool)
    assert len(appended) > 100
    assert appended == sorted(set(appended)), "a number was used twice"
    assert appended[-1] - len(appended) < 10, "numbers have holes"  # but for a message whose print was cut off
    assert set(appended) <= sent | set(left), "a message is lost"
    assert left == sorted(left)


def _numbers_all(spool: Spool) -> list[int]:
    return [seq for seq, _ in spool.peek(10_000_000)]
