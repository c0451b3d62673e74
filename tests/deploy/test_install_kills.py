"""An installation killed, or failing, before any of its commands: what was there stays, and the next run succeeds.

Every program that the script calls is the real one, behind a counter that strikes at a chosen call.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.deploy.parts_install import DEPLOY, PATH, Machine, quick, shadow
from tests.parts import PATIENCE

COUNTED = ("chmod", "cp", "date", "ln", "mkdir", "mv", "readlink", "rm", "rmdir", "sed", "sync")
EVERY = [pytest.param(7, id="some"), pytest.param(1, id="all", marks=pytest.mark.soak)]
STRIKE = {
    "kill": "kill -9 -- -$(ps -o pgid= -p $$ | tr -d ' ')",
    "failure": "echo struck >&2; exit 1",
}
COUNTER = """
read -r calls <"$CALLS"
calls=$((calls + 1))
echo $calls >"$CALLS"
[ $calls -ne "$AT" ] || { %s; }
PATH=%s exec "${0##*/}" "$@"
"""


def strike(machine: Machine, folder: Path, how: str, at: int) -> "subprocess.CompletedProcess[str]":
    """Install, and let the nth call of a program be the last, or fail."""
    path = shadow(folder / how, dict.fromkeys(COUNTED, COUNTER % (STRIKE[how], PATH)))
    (folder / "calls").write_text("0\n")
    return subprocess.run(
        [str(DEPLOY / "install.sh"), "--root", str(machine.root), "--no-sound"],
        env={**machine.environ(), "PATH": path, "CALLS": str(folder / "calls"), "AT": str(at)},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 120,
        check=False,
        start_new_session=True,
    )


def whole(machine: Machine) -> bool:
    """What `current` leads to has everything, and what is configured is not cut short."""
    release = machine.home / "releases" / machine.current
    config = machine.settings / "monitor.toml"
    return (
        os.access(release / "bin/ssondo-monitor", os.X_OK)
        and {"restart-delay", "ssondo-monitor.service"} <= {path.name for path in (release / "share").iterdir()}
        and config.read_text().endswith("# events = true\n".replace("# events = true", "events = false"))
        and (machine.root / "etc/systemd/system/ssondo-monitor.service").is_symlink()
    )


def names(machine: Machine) -> set[str]:
    """Every file, whatever the release is called."""
    return {name.replace(machine.current, "X") for name in machine.files()}


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("how", STRIKE)
def test_first_installation_struck_at_any_command_is_done_by_the_next(tmp_path: Path, how: str, every: int) -> None:
    model = quick(tmp_path / "model")
    assert model.install().returncode == 0
    at, ended = 3 - every % 3, False
    while not ended:
        at += every
        machine = quick(tmp_path, tmp_path / f"root{at}")
        done = strike(machine, tmp_path, how, at)
        ended = int((tmp_path / "calls").read_text()) < at
        if machine.current:
            assert whole(machine), f"struck at {at}: {done.stderr}"
        elif how == "failure" and "struck" in done.stderr:
            assert machine.files() == set(), f"struck at {at}: {done.stderr}"
        assert machine.install().returncode == 0
        assert names(machine) - {"opt/ssondo-monitor/previous"} >= names(model)
        assert whole(machine)
    assert at > 30


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("how", STRIKE)
def test_upgrade_struck_at_any_command_leaves_the_old_or_the_new(tmp_path: Path, how: str, every: int) -> None:
    machine = quick(tmp_path)
    assert machine.install().returncode == 0
    at, ended = 3 - every % 3, False
    while not ended:
        at += every
        before = machine.current
        done = strike(machine, tmp_path, how, at)
        ended = int((tmp_path / "calls").read_text()) < at
        assert whole(machine), f"struck at {at}: {done.stderr}"
        if how == "failure" and machine.current == before:
            assert done.returncode != 0
            assert f"releases/{before}/" in "".join(machine.files())
    assert machine.install().returncode == 0
    assert len(list((machine.home / "releases").iterdir())) == 2
    assert at > 20
