"""What a machine may lack: each is named with its remedy, and nothing is left behind."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.parts_install import DEPLOY, PATH, ROOT, Machine, quick, shadow
from tests.parts import PATIENCE, free_port


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return quick(tmp_path)


@pytest.fixture
def checkout() -> Iterator[Path]:
    """What an ordinary user has cloned."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        shutil.copytree(DEPLOY, path / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(ROOT / name, path / name)
        path.chmod(0o755)
        yield path


def as_nobody(checkout: Path, script: str) -> "subprocess.CompletedProcess[str]":
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    command = [*drop, str(checkout / "deploy" / script)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE * 60, check=False, env={"PATH": PATH}
    )


def test_python_that_is_too_old(machine: Machine, tmp_path: Path) -> None:
    old = 'case "$*" in *version_info*) exit 1 ;; -V) echo Python 3.9.2 ;; esac'
    path = shadow(tmp_path / "bin", {"python3": old})
    done = machine.install(PATH=path, PYTHON="python3")
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed, but python3 is Python 3.9.2" in done.stderr
    assert "make install PYTHON=" in done.stderr
    assert machine.files() == set()


def test_no_python_at_all(machine: Machine) -> None:
    done = machine.install(PYTHON="python3.99")
    assert done.returncode == 1
    assert "There is no python3.99" in done.stderr
    assert machine.files() == set()


def test_python_that_the_service_could_not_see() -> None:
    program = f"import sys; sys.base_prefix = '/home/pi/.pyenv'; sys.path.insert(0, {str(DEPLOY)!r})\n"
    program += "import preflight; print(*preflight.troubles({}, {}, sound=False, service=True))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE * 60
    )
    assert "the service cannot see /home/pi/.pyenv" in done.stdout
    assert "PYTHON=/usr/bin/python3" in done.stdout


@pytest.mark.parametrize("script", ["install.sh", "uninstall.sh"])
def test_without_root(checkout: Path, script: str) -> None:
    done = as_nobody(checkout, script)
    assert done.returncode == 1
    assert f"needs root: sudo make {script.removesuffix('.sh')}" in done.stderr


@pytest.mark.skipif(any(Path("/proc/asound").glob("card*/pcm*c")), reason="this machine has a microphone")
def test_without_sound(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    done = machine.run("install.sh")
    assert done.returncode == 1
    assert "there is no device to record from" in done.stderr
    assert "ARGS=--no-sound" in done.stderr
    assert machine.files() == set()


def test_without_sound_where_other_sources_are_configured(tmp_path: Path) -> None:
    machine = quick(tmp_path)
    machine.settings.mkdir(parents=True)
    (machine.settings / "monitor.toml").write_text('[[source]]\nname = "demo"\nkind = "demo"\n')
    assert machine.run("install.sh").returncode == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("SSONDO_HTTP__PORT", "for metrics and health, is taken; `ss -ltnp 'sport = :{port}'` tells by whom"),
        ("SSONDO_MQTT__EMBEDDED_PORT", "Use that one: make install SSONDO_MQTT__HOST=127.0.0.1"),
    ],
)
def test_port_that_is_taken(tmp_path: Path, name: str, told: str) -> None:
    machine = Machine(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        done = machine.install(**{name: port})
    assert done.returncode == 1
    assert f"Port {port}, " in done.stderr
    assert told.format(port=port) in done.stderr
    assert machine.files() == set()


@pytest.mark.parametrize("port", [1883, 9108])
def test_default_ports_are_asked_for(port: int) -> None:
    """Whether another program of this machine has them or not."""
    program = "import sys, preflight; preflight._taken = lambda host, port: True\n"
    program += "print(*preflight.troubles({}, {}, sound=False, service=False))"
    environ = {"PYTHONPATH": str(DEPLOY)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True, timeout=PATIENCE * 60
    )
    assert f"Port {port}, " in done.stdout


def test_broker_that_is_there_is_used_instead(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        done = machine.install(SSONDO_MQTT__EMBEDDED_PORT=port, SSONDO_MQTT__HOST="127.0.0.1")
    assert done.returncode == 0, done.stderr
    assert "SSONDO_MQTT__HOST='127.0.0.1'\n" in (machine.settings / "environment").read_text()


def test_registry_that_cannot_be_reached(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    environ = {
        "PIP_INDEX_URL": f"http://127.0.0.1:{free_port()}/simple",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }
    done = machine.install(**environ)
    assert done.returncode == 1
    assert "Is the package registry reachable from here?" in done.stderr
    assert "PIP_INDEX_URL" in done.stderr
    assert machine.files() == set()


def test_failed_upgrade_leaves_the_release_in_use(tmp_path: Path) -> None:
    machine = quick(tmp_path)
    assert machine.install().returncode == 0
    before, files = machine.current, machine.files()
    broken = shadow(tmp_path / "bin", {"python": 'case "$*" in "-m venv"*) exit 1 ;; esac'})
    done = machine.install(PYTHON=broken.partition(":")[0] + "/python")
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert (machine.current, machine.files()) == (before, files)


def test_setting_that_cannot_be_kept(machine: Machine) -> None:
    done = Machine(machine.root).install(SSONDO_MQTT__PASSWORD="it's")
    assert done.returncode == 1
    assert "SSONDO_MQTT__PASSWORD: a value with ' or more than one line cannot be kept" in done.stderr
    assert "it's" not in done.stderr


def test_mistake_in_a_command_line() -> None:
    for script in ("install.sh", "uninstall.sh"):
        done = subprocess.run(
            [DEPLOY / script, "--prefix"], capture_output=True, text=True, check=False, timeout=PATIENCE * 60
        )
        assert done.returncode == 2
        assert done.stderr.startswith(f"usage: deploy/{script}")
