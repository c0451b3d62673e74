"""The folder of a fleet: what is in it, that nothing in it is made twice, and the template that every sensor gets."""

import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.config_loading import load_settings
from tests.deploy.parts_fleet import BROKER, DEPLOY, SCRIPT, fleet
from tests.parts import PATIENCE, require

CREDENTIAL = "/run/credentials/ssondo-monitor.service/secrets_sensor.key"


def variables(file: Path) -> dict[str, str]:
    """What an environment file sets, as it is where no systemd hands over the key."""
    given = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert given.pop("SSONDO_MQTT__KEY_FILE") == CREDENTIAL
    return given


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fleet("init", tmp_path / "fleet", BROKER, "127.0.0.1")
    return tmp_path / "fleet"


def test_script_is_clean() -> None:
    subprocess.run([Path(sys.executable).parent / "shellcheck", SCRIPT], check=True, timeout=PATIENCE * 60)


def test_each_sensor_gets_a_configuration_that_is_valid_as_it_is(folder: Path) -> None:
    fleet("enrol", folder, "pi1", "pi-2.yard")
    for name in ("pi1", "pi-2.yard"):
        sensor = folder / "sensors" / name
        settings = load_settings(sensor / "monitor.toml", variables(sensor / "environment"))
        assert (settings.node.name, settings.mqtt.host, settings.mqtt.port) == (name, BROKER, 8884)
        assert settings.mqtt.cert_file == sensor / "sensor.crt"
        assert [source.name for source in settings.source] == ["microphone"]


def test_a_sensor_differs_from_the_template_by_its_variables_alone(folder: Path) -> None:
    fleet("enrol", folder, "pi1")
    sensor = folder / "sensors" / "pi1"
    assert (sensor / "monitor.toml").read_bytes() == (DEPLOY / "fleet" / "monitor.toml").read_bytes()
    own = {**variables(sensor / "environment"), "SSONDO_SOURCE__0__DEVICE": "USB", "SSONDO_SOURCE__0__GAIN_DB": "6"}
    (source,) = load_settings(sensor / "monitor.toml", own).source
    assert source.gain_db == 6


def test_certificates_hold_to_the_strictest_rules(folder: Path) -> None:
    fleet("enrol", folder, "pi1")
    for file in (folder / "broker" / "server.crt", folder / "sensors" / "pi1" / "sensor.crt"):
        command = ["openssl", "verify", "-x509_strict", "-CAfile", str(folder / "authority" / "ca.crt"), str(file)]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE * 60)
    shown = ["openssl", "x509", "-noout", "-subject", "-in", str(folder / "sensors" / "pi1" / "sensor.crt")]
    assert subprocess.run(shown, check=True, capture_output=True, text=True).stdout.strip() == "subject=CN = pi1"


def test_nobody_else_can_read_what_was_made(folder: Path) -> None:
    fleet("enrol", folder, "pi1")
    open_to_others = {path.name for path in folder.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077}
    assert open_to_others == {"monitor.toml", "environment", "ca.crt", "sensor.crt"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_key_is_where_the_unit_of_systemd_looks_for_it() -> None:
    unit = (DEPLOY / "systemd" / "ssondo-monitor.service").read_text()
    name, _, place = re.findall(r"^LoadCredential=([^:]+)(:)(.*)$", unit, re.M)[0]
    assert (f"/run/credentials/ssondo-monitor.service/{name}_sensor.key", Path(place).name) == (CREDENTIAL, "secrets")
    assert "EnvironmentFile=-/etc/ssondo-monitor/environment" in unit


def test_a_second_call_changes_nothing(folder: Path) -> None:
    calls = (
        ("init", folder, BROKER, "127.0.0.1"),
        ("enrol", folder, "pi1"),
        ("announce", folder, "pi1", "yard", "street"),
        ("password", folder, "pi2"),
    )
    for call in calls:
        fleet(*call)
    before = contents(folder)
    for call in calls:
        fleet(*call)
    assert contents(folder) == before


def test_an_enrolment_that_was_cut_off_is_made_whole(folder: Path) -> None:
    (folder / "sensors" / ".new").mkdir()
    (folder / "sensors" / ".new" / "sensor.key").write_text("half a key")
    fleet("enrol", folder, "pi1")
    assert {path.name for path in (folder / "sensors").iterdir()} == {"pi1"}
    made = {path.name for path in (folder / "sensors" / "pi1").rglob("*")}
    assert made == {"monitor.toml", "environment", "ca.crt", "sensor.crt", "secrets", "sensor.key"}


@pytest.mark.parametrize("name", ["", "../up", "a b", "a/b", "+", "#", "-x", "a\nb", "x" * 65, "ä", "reader"])
def test_names_that_cannot_be_a_sensors_are_refused(folder: Path, name: str) -> None:
    done = fleet("enrol", folder, name, check=False)
    assert (done.returncode, "expected" in done.stderr) == (1, True)
    assert list((folder / "sensors").iterdir()) == []


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    assert "holds no authority" in fleet("enrol", tmp_path / "none", "pi1", check=False).stderr
    assert not (tmp_path / "none").exists()
    done = fleet("enrol", check=False)
    assert (done.returncode, "expected: init" in done.stderr) == (2, True)
    fleet("init", tmp_path / "fleet", BROKER)
    assert "there is no 'pi1'" in fleet("revoke", tmp_path / "fleet", "pi1", check=False).stderr


def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("sh", "dirname"):
        (tmp_path / "bin" / program).symlink_to(require(program))
    done = subprocess.run(
        [SCRIPT, "init", tmp_path / "fleet", BROKER],
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "fleet.sh: needs the program openssl: apt-get install openssl\n")
    assert not (tmp_path / "fleet").exists()


def test_a_brokers_certificate_for_other_names_is_told(folder: Path) -> None:
    done = fleet("init", folder, BROKER, "late.example", check=False)
    assert (done.returncode, "server.crt is not for late.example" in done.stderr) == (1, True)


README = (DEPLOY / "fleet" / "README.md").read_text()


def test_what_the_page_says_works_in_its_order(tmp_path: Path) -> None:
    """Each command, those inside sentences too; a revoked sensor is enrolled again."""
    calls = [shlex.split(call, comments=True) for call in re.findall(r"(?<=fleet\.sh )[a-z]+ fleet [^`\n]+", README)]
    assert [call[0] for call in calls] == ["init", "enrol", "announce", "password", "revoke"]
    for action, folder, *names in calls:
        fleet(action, tmp_path / folder, *names)
    assert [path.name for path in (tmp_path / "fleet" / "sensors").iterdir()] == ["pi2"]
    named = re.findall(r"`((?:authority|broker|passwords|sensors)/[^`]*)`", README)
    assert [name for name in named if not (tmp_path / "fleet" / name.replace("pi1", "pi2")).exists()] == []


def test_variables_of_the_page_fit_the_template(folder: Path) -> None:
    fleet("enrol", folder, "pi1")
    block = next(block for block in re.findall(r"```sh\n(.*?)```", README, re.S) if "SSONDO_NODE__NAME" in block)
    settings = load_settings(
        folder / "sensors" / "pi1" / "monitor.toml", dict(re.findall(r"^(\w+)=(.*)$", block, re.M))
    )
    assert settings.detection.labels["dog_bark"].threshold == 0.7


@pytest.mark.parametrize("page", ["fleet", "container"])
def test_every_link_leads_somewhere(page: str) -> None:
    text = (DEPLOY / page / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    assert [link for link in links if not (DEPLOY / page / link).exists()] == []
