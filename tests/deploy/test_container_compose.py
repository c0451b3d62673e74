"""compose.yaml: what it promises, and its monitor, broker and Prometheus run together from what it mounts."""

import json
import os
import re
import ssl
import stat
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from tests.deploy.parts_compose import ROOT, Container, as_user, checkout, compose, open_folder
from tests.deploy.parts_dockerfile import Image, here
from tests.deploy.parts_fleet import listens
from tests.parts import PATIENCE, free_port, require, within
from tests.parts_mqtt_sink import until

FOLDER = ROOT / "deploy" / "container"
WHOLE = compose(FOLDER / "compose.yaml")
PROGRAMS = Path(sys.executable).parent


def attempt(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE * 120)


def lint(program: str, *arguments: str | Path) -> None:
    done = attempt(PROGRAMS / program, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", sorted(FOLDER.glob("compose*.yaml")), ids=lambda file: file.name)
def test_compose_files_hold_to_their_schema(file: Path) -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


def test_yaml_is_clean() -> None:
    files = sorted((ROOT / "deploy").rglob("*.y*ml"))
    assert FOLDER / "compose.yaml" in files
    lint("yamllint", "--strict", "-c", ROOT / "deploy" / ".yamllint", *files)


def test_secrets_script_is_clean() -> None:
    lint("shellcheck", FOLDER / "secrets.sh")


@pytest.mark.parametrize("name", WHOLE["services"])
def test_no_container_can_do_more_than_it_must(name: str) -> None:
    service = WHOLE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].startswith("${SSONDO_USER:?")
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), "an exact version"


def test_only_the_broker_listens_to_the_network() -> None:
    open_to_all = {
        name
        for name, service in WHOLE["services"].items()
        for port in service.get("ports", ())
        if not port.startswith("127.0.0.1:")
    }
    assert open_to_all == {"mosquitto"}


def test_no_secret_stands_in_the_file() -> None:
    for service in WHOLE["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET", name):
                assert name.endswith("_FILE")
                assert str(value).startswith("/run/secrets/")
    assert all(set(secret) == {"file"} for secret in WHOLE["secrets"].values())


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """compose.yaml in a folder where secrets were made."""
    with open_folder() as folder:
        yield checkout(folder)


def test_secrets_are_new_each_time_kept_once_made_and_private(made: Path, tmp_path: Path) -> None:
    site = made.parent / "site"
    owner = (made.parent / ".env").read_text()
    user, group = (10001, 10001) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    assert owner == f"SSONDO_USER={user}:{group}\n"
    secrets = {name: made.parent / secret["file"] for name, secret in WHOLE["secrets"].items()}
    values = {name: file.read_text() for name, file in secrets.items()}
    subprocess.run([made.parent / "secrets.sh"], check=True, capture_output=True, timeout=PATIENCE * 120)
    assert {name: file.read_text() for name, file in secrets.items()} == values
    another = checkout(tmp_path).parent
    assert all((another / secret["file"]).read_text() != values[name] for name, secret in WHOLE["secrets"].items())
    assert all(len(value.strip()) >= 32 for value in values.values())
    assert [path for path in site.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_names_that_the_brokers_certificate_lacks_are_told(made: Path) -> None:
    done = attempt(made.parent / "secrets.sh", "late")
    assert (done.returncode, "server.crt is not for late" in done.stderr) == (1, True)


def test_git_leaves_secrets_alone() -> None:
    paths = ["deploy/container/site/secrets/http-token", "deploy/container/.env"]
    done = subprocess.run(["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == paths


def test_everything_that_is_mounted_is_there(made: Path, tmp_path: Path) -> None:
    for name in WHOLE["services"]:
        Container(made, name, tmp_path / name)


@contextmanager
def broker(made: Path, folder: Path) -> Iterator[int]:
    """The broker's container; yields the port for readers and sensors with passwords."""
    port, other = free_port(), free_port()
    ports = {"listener 8883": f"listener {port} 127.0.0.1", "listener 8884": f"listener {other} 127.0.0.1"}
    container = Container(made, "mosquitto", folder / "mosquitto", ports)
    start = [require("mosquitto"), "-c", str(container.root / "mosquitto/config/mosquitto.conf")]
    with container.running(start):
        yield port


@contextmanager
def monitor(made: Path, folder: Path, image: Image, port: int) -> Iterator[int]:
    """The monitor's container; yields the port of its metrics."""
    http = free_port()
    addresses = {'"mosquitto"': f'"localhost"\nport = {port}', '"0.0.0.0"': '"127.0.0.1"'}
    container = Container(made, "monitor", folder / "monitor", addresses)
    variables = {name: container.here(here(value, image.root)) for name, value in image.environ.items()}
    variables["STATE_DIRECTORY"] = str(container.root / "var/lib/ssondo-monitor")
    demo = '[{"kind": "demo", "name": "demo"}]'
    program = str(image.root / "opt/ssondo-monitor/bin/ssondo-monitor")
    with container.running([program], {**variables, "SSONDO_HTTP__PORT": str(http), "SSONDO_SOURCE": demo}):
        yield http


@contextmanager
def prometheus(made: Path, folder: Path, http: int) -> Iterator[int]:
    """The container of Prometheus; yields its port."""
    port = free_port()
    here = {"monitor:9108": f"127.0.0.1:{http}", "_interval: 15s": "_interval: 1s"}
    container = Container(made, "prometheus", folder / "prometheus", here)
    listen = f"--web.listen-address=127.0.0.1:{port}"
    with container.running([require("prometheus"), listen]):
        yield port


@asynccontextmanager
async def client(made: Path, port: int, user: str) -> AsyncIterator[aiomqtt.Client]:
    site = made.parent / "site"
    context = ssl.create_default_context(cafile=str(site / "broker" / "ca.crt"))
    password = (site / "passwords" / user).read_text().strip()
    login: dict[str, Any] = {"username": user, "password": password, "identifier": f"test-{user}"}
    await until(lambda: listens(port), 30)
    async with aiomqtt.Client("localhost", port, tls_context=context, **login) as connected:
        yield connected


def ask(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE * 5) as answer:
        return json.loads(answer.read())


def answers(port: int, query: str) -> list[str]:
    """Values of an instant query; none where Prometheus is not up yet."""
    try:
        found = ask(port, f"/api/v1/query?query={urllib.parse.quote(query)}")
    except OSError:
        return []
    return [item["value"][1] for item in found["data"]["result"]]


def health(made: Path, image: Image, http: int) -> str:
    """What the health check prints in the monitor's container."""
    program = str(image.root / "opt/ssondo-monitor/bin/python")
    token = str((made.parent / WHOLE["secrets"]["http-token"]["file"]).resolve())
    variables = {"SSONDO_HTTP__PORT": str(http), "SSONDO_HTTP__TOKEN_FILE": token}
    check = [program, "-I", str(image.root / "opt/ssondo-monitor/ready.py")]
    return subprocess.run(check, env=variables, capture_output=True, text=True, check=False, **as_user()).stdout


async def test_monitor_broker_and_prometheus_work_together(made: Path, image: Image) -> None:
    with (
        open_folder() as folder,
        broker(made, folder) as port,
        monitor(made, folder, image, port) as http,
        prometheus(made, folder, http) as watcher,
    ):
        async with client(made, port, "reader") as reader, client(made, port, "home") as home:
            await reader.subscribe("ssondo/#", qos=1)
            await home.publish("ssondo/other/yard/event", b"forged", qos=1)
            topics = set()
            async with within(60):
                while "ssondo/home/demo/availability" not in topics:
                    topics.add(str((await anext(reader.messages)).topic))
        assert all(topic.startswith("ssondo/home/") for topic in topics)
        await until(lambda: health(made, image, http) == '200 {"ready": true, "reasons": []}\n', 60)
        for query in ('up{job="ssondo",node="home"}', 'ssondo_mqtt_connected{node="home"}'):
            await until(lambda query=query: answers(watcher, query) == ["1"], 60)  # type: ignore[misc]
        loaded = {group["file"].rsplit("/", 1)[1] for group in ask(watcher, "/api/v1/rules")["data"]["groups"]}
    assert loaded == {path.name for path in (ROOT / "deploy" / "prometheus" / "rules").glob("*.yml")}
