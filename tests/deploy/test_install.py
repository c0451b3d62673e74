"""Installing into a folder, by the real pip: what is there then, and what upgrade and removal leave alone."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.parts_install import Machine, offline, quick
from tests.parts import PATIENCE
from tests.parts_service import Service

DEMO = '[[source]]\nname = "demo"\nkind = "demo"\n[mqtt]\nenabled = false\n'


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    done = machine.install(**offline(), SSONDO_NODE__NAME="pi1")
    assert done.returncode == 0, done.stderr
    return machine


@pytest.fixture
def service(machine: Machine, tmp_path: Path) -> Iterator[Service]:
    """The installed program, as the unit starts it."""
    (machine.settings / "monitor.toml").write_text(DEMO)
    environ = {**os.environ, **offline(), **machine.environ(), "STATE_DIRECTORY": str(tmp_path / "state")}
    command = [machine.root / "opt/ssondo-monitor/current/bin/ssondo-monitor", "run", "--config"]
    with (tmp_path / "stdout").open("wb") as out, (tmp_path / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [*map(str, command), str(machine.settings / "monitor.toml")], env=environ, stdout=out, stderr=err
        )
    try:
        yield Service(process, tmp_path, 0, int(environ["SSONDO_HTTP__PORT"]))
    finally:
        process.kill()
        process.wait()


def test_release_is_whole_and_of_its_own(machine: Machine) -> None:
    release = machine.home / "current"
    packages = next(release.glob("lib/python3*/site-packages"))
    assert {"monitor", "ssondo_stream"} <= {path.name for path in packages.iterdir()}
    assert os.access(release / "share/restart-delay", os.X_OK)
    assert (machine.home / "bundles/current/bundle.json").is_file()


def test_settings_of_the_first_installation_are_kept_where_only_root_reads_them(machine: Machine) -> None:
    environment = machine.settings / "environment"
    assert "SSONDO_NODE__NAME='pi1'" in environment.read_text().splitlines()
    assert environment.stat().st_mode & 0o777 == 0o600
    assert (machine.settings / "secrets").stat().st_mode & 0o777 == 0o700


def test_installed_configuration_is_valid_and_spares_the_disk(machine: Machine) -> None:
    text = (machine.home / "current/share/monitor.toml").read_text()
    assert "\nevents = false" in text
    assert f'\nbundle = "{machine.home}/bundles/current"' in text
    program = machine.home / "current/bin/ssondo-monitor"
    file = machine.home / "current/share/monitor.toml"
    done = subprocess.run([program, "check", file], env={**os.environ, **offline()}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_everything_of_systemd_goes_through_the_link_that_an_upgrade_switches(machine: Machine) -> None:
    links = {
        "etc/systemd/system/ssondo-monitor.service": "/opt/ssondo-monitor/current/share/ssondo-monitor.service",
        "etc/systemd/system/multi-user.target.wants/ssondo-monitor.service": "../ssondo-monitor.service",
        "etc/tmpfiles.d/ssondo-monitor.conf": "/opt/ssondo-monitor/current/share/ssondo-monitor.tmpfiles",
        "usr/local/bin/ssondo-monitor": "/opt/ssondo-monitor/current/bin/ssondo-monitor",
    }
    for link, target in links.items():
        assert str((machine.root / link).readlink()) == target
        assert target.startswith("..") or (machine.root / target.removeprefix("/")).is_file()


def test_what_is_installed_listens(service: Service) -> None:
    service.wait(Service.ready, "ready")
    assert service.stop() == 0


def test_a_service_that_runs_is_not_disturbed_by_an_upgrade(machine: Machine, service: Service, tmp_path: Path) -> None:
    key = 'ssondo_audio_analyzed_seconds_total{source="demo"}'
    service.wait(Service.ready, "ready")
    before = machine.current
    done = quick(tmp_path, machine.root).install(**offline(), LIKE=str(machine.home / "releases" / before))
    assert done.returncode == 0, done.stderr
    assert machine.current != before
    assert (machine.home / "previous").readlink().name == before
    assert (machine.settings / "monitor.toml").read_text() == DEMO
    heard = service.metrics()[key]
    service.wait(lambda service: service.metrics()[key] > heard + 1, "goes on")
    assert service.stop() == 0


def test_an_upgrade_that_the_configuration_does_not_fit_changes_nothing(machine: Machine, tmp_path: Path) -> None:
    (machine.settings / "monitor.toml").write_text("[detection]\nthreshold = 3\n")
    before, files = machine.current, machine.files()
    done = quick(tmp_path, machine.root).install(**offline(), LIKE=str(machine.home / "releases" / before))
    assert done.returncode == 1
    assert "detection.threshold: got 3" in done.stderr
    assert "correct them in" in done.stderr
    assert machine.current == before
    assert machine.files() == files


def test_the_program_goes_back_to_the_release_before(tmp_path: Path) -> None:
    machine = quick(tmp_path)
    assert machine.install().returncode == 0
    assert "no release before" in machine.install("--rollback").stderr
    first = machine.current
    assert machine.install().returncode == 0
    assert machine.install("--rollback").returncode == 0
    assert machine.current == first
    assert "already in use" in machine.install("--rollback").stderr


def test_no_more_than_two_releases_are_kept(tmp_path: Path) -> None:
    machine = quick(tmp_path)
    for _ in range(4):
        assert machine.install().returncode == 0
    assert len(list((machine.home / "releases").iterdir())) == 2


def test_two_installations_do_not_meet(tmp_path: Path) -> None:
    machine = quick(tmp_path)
    machine.home.mkdir(parents=True)
    with subprocess.Popen(["flock", machine.home / ".lock", "cat"], stdin=subprocess.PIPE) as holder:
        deadline = time.monotonic() + PATIENCE * 30
        while subprocess.run(["flock", "-n", machine.home / ".lock", "true"], check=False).returncode == 0:
            assert time.monotonic() < deadline
        assert "under way" in machine.install().stderr
        holder.communicate()
    assert machine.install().returncode == 0


def test_removal_leaves_configuration_bundles_and_state_and_a_purge_nothing(tmp_path: Path) -> None:
    machine = quick(tmp_path)
    machine.install()
    (machine.home / "bundles/mine").mkdir()
    (machine.home / "bundles/mine/bundle.json").write_text(json.dumps({}))
    state = machine.root / "var/lib/ssondo-monitor"
    state.mkdir(parents=True)
    (state / "spool.sqlite").touch()
    assert machine.uninstall().returncode == 0
    assert machine.files() == {
        "etc/ssondo-monitor/environment",
        "etc/ssondo-monitor/monitor.toml",
        "etc/udev/rules.d/90-ssondo-microphones.rules",
        "opt/ssondo-monitor/bundles/current",
        "opt/ssondo-monitor/bundles/mine/bundle.json",
        "var/lib/ssondo-monitor/spool.sqlite",
    }
    assert machine.install().returncode == 0
    assert machine.uninstall("--purge").returncode == 0
    assert machine.files() == set()
