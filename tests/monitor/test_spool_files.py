"""A spool's files when they are unusable, in use, corrupt or lost."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.errors import SpoolError
from monitor.spool import Spool
from tests.fakes import FakeClock
from tests.parts import PATIENCE
from tests.parts_spool import NOW, open_spool, seqs


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
        open_spool(path)
    assert str(path) in str(caught.value)
    assert "[spool] path" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_another_process_uses_is_refused(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool.sqlite")
    script = (
        "import sys; from pathlib import Path; from monitor.spool import Spool; from monitor.clock import SystemClock\n"
        "Spool(Path(sys.argv[1]), clock=SystemClock())"
    )
    other = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "spool.sqlite"],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 60,
    )

    assert "another process has it open" in other.stderr
    spool.close()


@pytest.mark.parametrize("damage", [b"", b"no database", os.urandom(5000)], ids=["empty", "text", "noise"])
def test_corrupt_file_is_set_aside_and_numbers_go_on_above(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "spool.sqlite"
    spool = open_spool(path)
    for _ in range(5):
        spool.append(b"a")
    spool.close()
    path.write_bytes(damage)

    again = open_spool(path)
    again.append(b"b")
    assert seqs(again) == [6]
    assert [file.read_bytes() for file in tmp_path.glob("*.corrupt-*")] == ([damage] if damage else [])


def test_file_with_damage_inside_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    spool = open_spool(path)
    for _ in range(200):
        spool.append(bytes(500))
    spool.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = bytes(4096 * 3)
    path.write_bytes(content)

    open_spool(path)
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
    spool = open_spool(tmp_path / "spool.sqlite")
    for _ in range(10):
        spool.append(b"a")
    spool.ack(10)
    spool.close()
    for name in lost:
        (tmp_path / name).unlink()

    again = open_spool(tmp_path / "spool.sqlite")
    again.append(b"b")
    assert seqs(again)[0] >= lowest
