"""A spool whose process is killed, or whose power is cut."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from monitor.spool import Spool
from tests.parts_spool import Disk, open_spool, seqs


def test_after_a_power_cut_numbers_go_on_above_all_that_may_have_been_used(tmp_path: Path) -> None:
    path, note = tmp_path / "spool.sqlite", tmp_path / "spool.sqlite.seq"
    spool = open_spool(path)
    spool.append(b"a")
    spool.close()
    before = path.read_bytes()  # what the disk had
    disk = Disk()
    spool = open_spool(path, connect=disk)
    for _ in range(1500):
        spool.append(b"b")
    disk.vanish()
    path.write_bytes(before)
    (tmp_path / "spool.sqlite-wal").unlink(missing_ok=True)
    note.write_text(json.dumps({**json.loads(note.read_text()), "boot": "another"}))

    again = open_spool(path)
    again.append(b"c")
    assert 1501 < seqs(again)[-1] <= 1501 + 2000


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

    spool = open_spool(tmp_path / "spool.sqlite")
    left = _numbers_all(spool)
    assert len(appended) > 100
    assert appended == sorted(set(appended)), "a number was used twice"
    assert appended[-1] - len(appended) < 10, "numbers have holes"  # but for a message whose print was cut off
    assert set(appended) <= sent | set(left), "a message is lost"
    assert left == sorted(left)


def _numbers_all(spool: Spool) -> list[int]:
    return [seq for seq, _ in spool.peek(10_000_000)]
