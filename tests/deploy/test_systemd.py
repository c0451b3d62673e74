"""The unit, as systemd's own tools see it, and what its sandbox must leave to the service."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.parts_install import DEPLOY
from tests.parts import PATIENCE, require
from tests.parts_service import Service, running

UNIT = DEPLOY / "systemd/ssondo-monitor.service"
DELAY = DEPLOY / "systemd/restart-delay"


def setting(key: str) -> list[str]:
    """Every value that the unit gives a key."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.M)


def allowed_calls() -> set[str]:
    """The system calls that the unit's filter lets through."""
    allowed: set[str] = set()
    for line in setting("SystemCallFilter"):
        calls = {call for name in line.lstrip("~").split() for call in members(name)}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def members(name: str) -> set[str]:
    """The calls of a set, and of the sets in it."""
    if not name.startswith("@"):
        return {name}
    command = [require("systemd-analyze"), "syscall-filter", name]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE * 60).stdout
    inner = {line.strip() for line in listed.splitlines()[1:] if line.strip() and not line.strip().startswith("#")}
    return {call for item in inner for call in members(item)}


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with the programs that it names in place."""
    share = tmp_path / "opt/ssondo-monitor/current/share"
    for path in (share / "restart-delay", share.parent / "bin/ssondo-monitor"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("=/opt", f"={tmp_path}/opt").replace("=-/opt", f"=-{tmp_path}/opt"))
    return copy


def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    command = [require("systemd-analyze"), "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE * 60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_exposure_is_at_most_2_5() -> None:
    command = [require("systemd-analyze"), "security", "--offline=true", "--threshold=25", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE * 60)
    assert done.returncode == 0, done.stdout
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(exposure) <= 2.5


def test_unit_is_what_was_promised() -> None:
    promised = {
        "Type": "notify",
        "DynamicUser": "yes",
        "StateDirectory": "ssondo-monitor",
        "SupplementaryGroups": "audio",
        "Restart": "always",
        "StartLimitIntervalSec": "0",
    }
    assert {key: setting(key) for key in promised} == {key: [value] for key, value in promised.items()}
    assert setting("WatchdogSec")
    assert setting("MemoryMax")
    assert setting("DeviceAllow") == ["char-alsa rw"]


def test_sandbox_takes_no_system_call_that_the_service_makes(tmp_path: Path) -> None:
    """All that it makes from start to stop, with a source, a broker, a reader of metrics and a spool."""
    trace = tmp_path / "trace"
    program = ("-m", "monitor", "run")
    tracer = f"import os, sys; os.execv({require('strace')!r}, ['strace', '-f', '-qq', '-o', {str(trace)!r}, "
    launch = ("-c", tracer + "sys.executable, *sys.argv[1:]])", *program)
    with running(tmp_path / "s", program=launch) as service:
        service.wait(Service.ready, "ready", 120)
        traced = int(trace.read_text().split()[0])
        os.kill(traced, signal.SIGTERM)
        assert service.process.wait(60) == 0
    lines = trace.read_text(errors="replace").splitlines()
    made = {call for line in lines for call in re.findall(r"^\d+ +(?:<\.\.\. )?([a-z_0-9]+)(?:\(| resumed)", line)}
    assert {"connect", "pwrite64", "epoll_wait", "prlimit64"} <= made, "the trace has seen the service at work"
    as_root_alone = {"fchown"}  # SQLite, for files that it shares with others
    may_fail = {"mbind", "sched_setaffinity"}  # BLAS and the engine, to place memory and threads
    assert made - allowed_calls() - as_root_alone - may_fail == set()


def test_memory_for_the_microphones_callback_is_left() -> None:
    """PortAudio calls Python through a closure that libffi writes into executable memory."""
    program = 'import sounddevice as s; s._ffi.callback("PaStreamCallback", lambda *_: 0)'
    command = [require("strace"), "-f", "-qq", "-e", "trace=mmap", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE * 60)
    needed = "PROT_READ|PROT_WRITE|PROT_EXEC" in done.stderr
    assert needed
    assert setting("MemoryDenyWriteExecute") == []


@pytest.fixture
def delay(tmp_path: Path) -> Iterator["Delay"]:
    yield Delay(tmp_path)


class Delay:
    """`restart-delay` with a `sleep` that only tells how long."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "bin/sleep").write_text(f"#!/bin/sh\necho $1 >{folder}/slept\n")
        (folder / "bin/sleep").chmod(0o755)

    def wait(self) -> int:
        self._run("wait")
        return int((self.folder / "slept").read_text())

    def ended(self, result: str, *, after: int = 0) -> None:
        started = self.folder / "started"
        started.write_text(f"{int(time.clock_gettime(time.CLOCK_BOOTTIME)) - after}\n")
        self._run("count", SERVICE_RESULT=result)

    def _run(self, task: str, **environ: str) -> None:
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        environ = {"PATH": path, "RUNTIME_DIRECTORY": str(self.folder), **environ}
        subprocess.run([DELAY, task], env=environ, check=True, capture_output=True, timeout=PATIENCE * 60)


def test_each_failure_in_a_row_doubles_the_wait_up_to_two_minutes(delay: Delay) -> None:
    waits = [delay.wait()]
    for result in ("exit-code", "watchdog", "signal", "oom-kill", *["exit-code"] * 6):
        delay.ended(result)
        waits.append(delay.wait())
    assert waits == [0, 1, 3, 7, 15, 31, 63, 120, 120, 120, 120]


def test_service_that_had_run_for_long_hardly_waits(delay: Delay) -> None:
    for _ in range(5):
        delay.ended("exit-code")
    delay.ended("exit-code", after=600)
    assert delay.wait() == 1


def test_service_that_was_stopped_does_not_wait(delay: Delay) -> None:
    for _ in range(5):
        delay.ended("exit-code")
    delay.ended("success")
    assert delay.wait() == 0


def test_longest_wait_fits_into_the_time_to_start() -> None:
    assert setting("TimeoutStartSec") == ["5min"]
    (most,) = re.findall(r"^most=(\d+)$", DELAY.read_text(), re.M)
    assert int(most) < 5 * 60 / 2


def test_scripts_are_clean() -> None:
    scripts = [DELAY, DEPLOY / "install.sh", DEPLOY / "uninstall.sh"]
    checker = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([checker, *scripts], capture_output=True, text=True, check=False, timeout=PATIENCE * 60)
    assert (done.returncode, done.stdout) == (0, "")


def test_temporary_files_are_as_systemd_expects(tmp_path: Path) -> None:
    rules = tmp_path / "ssondo-monitor.conf"
    rules.write_text((DEPLOY / "systemd/ssondo-monitor.tmpfiles").read_text())
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (tmp_path / "root/etc/group").write_text("root:x:0:\n")
    command = [require("systemd-tmpfiles"), "--create", f"--root={tmp_path}/root", str(rules)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE * 60)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "root/etc/ssondo-monitor/secrets").stat().st_mode & 0o777 == 0o700
