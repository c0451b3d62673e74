"""The image's own steps, run here: what they make works as another user, on a tree that it cannot write."""

import fnmatch
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.parts_compose import as_user
from tests.deploy.parts_dockerfile import FILE, ROOT, Image, here, stages
from tests.parts import PATIENCE, free_port
from tests.parts_service import Service

DEMO = '[{"kind": "demo", "name": "demo"}]'


def last(word: str) -> str:
    """The last instruction of a kind in the final stage."""
    return stages()[-1].of(word)[-1]


def environ(image: Image, **more: str) -> dict[str, str]:
    return {**{name: here(value, image.root) for name, value in image.environ.items()}, **more}


@contextmanager
def started(image: Image, folder: Path, **variables: str) -> Iterator[Service]:
    """The image's entry point and command, as its user."""
    port = free_port()
    command = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
    command[0] = str(image.root / "opt/ssondo-monitor/bin" / command[0])
    own = environ(image, SSONDO_HTTP__PORT=str(port), HOME="/", **variables)
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            command, cwd="/", env=own, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **as_user()
        )
    try:
        yield Service(process, folder, 0, port)
    finally:
        process.kill()
        process.wait()


def health(image: Image, port: int) -> "subprocess.CompletedProcess[str]":
    """The image's health check, run."""
    check = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    command = [here(word, image.root) for word in check]
    assert check[0] == "python"
    command[0] = str(image.root / "opt/ssondo-monitor/bin/python")
    own = environ(image, SSONDO_HTTP__PORT=str(port))
    return subprocess.run(
        command, env=own, capture_output=True, text=True, timeout=PATIENCE * 30, check=False, **as_user()
    )


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file outside of the state's folder."""
    files = {path: path.lstat() for path in root.rglob("*") if "/var/lib/" not in str(path)}
    return {str(path): (found.st_size, found.st_mtime_ns) for path, found in files.items()}


def test_image_hears_and_says_so_as_a_user_who_can_write_nothing_but_its_state(image: Image, tmp_path: Path) -> None:
    before = tree(image.root)
    with started(image, tmp_path, SSONDO_SOURCE=DEMO, SSONDO_MQTT__ENABLED="false") as service:
        service.wait(Service.ready, "ready")
        done = health(image, service.http_port)
        assert (done.returncode, done.stdout) == (0, '200 {"ready": true, "reasons": []}\n')
        assert service.stop(signal.SIGTERM) == 0
    assert tree(image.root) == before
    state = image.root / "var/lib/ssondo-monitor"
    assert {path.name for path in state.iterdir()} >= {"spool.sqlite"}
    if os.geteuid() == 0:
        assert state.stat().st_uid == 10001


def test_health_check_fails_and_says_why_while_the_broker_is_away(image: Image, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, and never listening
        taken.bind(("127.0.0.1", 0))
        broker = {"SSONDO_MQTT__HOST": "127.0.0.1", "SSONDO_MQTT__PORT": str(taken.getsockname()[1])}
        with started(image, tmp_path, SSONDO_SOURCE=DEMO, **broker) as service:
            service.wait(lambda s: s.get("/health")[0] == 200, "alive")
            service.wait(lambda s: "demo" not in s.get("/ready")[1], "demo heard")
            done = health(image, service.http_port)
    assert done.returncode == 1
    assert done.stdout.startswith("503 ")
    assert "mqtt" in done.stdout


def test_health_check_fails_where_nothing_answers(image: Image) -> None:
    done = health(image, free_port())
    assert (done.returncode, "no answer" in done.stdout) == (1, True)


def test_a_container_without_settings_says_what_it_needs(image: Image, tmp_path: Path) -> None:
    with started(image, tmp_path) as service:
        assert service.process.wait(PATIENCE * 30) == 2
        assert "set [mqtt] host" in service.log()


def test_image_holds_neither_torch_nor_tests_nor_builders(image: Image) -> None:
    packages = image.root / "opt/ssondo-monitor/lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    names = {path.name for path in packages.iterdir()}
    assert {"monitor", "ssondo_stream", "onnxruntime"} <= names
    assert not names & {"torch", "pip", "setuptools", "hatchling", "pytest", "sklearn", "amqtt"}
    assert not list(packages.rglob("tests"))
    assert list((packages / "monitor").rglob("service.*.pyc")), "modules are compiled: nobody else can do it"


def test_image_stays_small(image: Image) -> None:
    size = sum(path.lstat().st_size for path in (image.root / "opt").rglob("*") if not path.is_symlink())
    assert size < 300e6, f"{size / 1e6:.0f} MB"


def test_what_was_not_run_here_is_what_this_machine_has(image: Image) -> None:
    (command,) = image.skipped
    wanted = dict(word.split("=") for word in command.split() if "=" in word)
    assert wanted
    query = ["dpkg-query", "-W", "-f", "${Version}"]
    for package, pattern in wanted.items():
        found = subprocess.run([*query, package], check=True, capture_output=True, text=True).stdout
        assert fnmatch.fnmatch(found, pattern), f"{package} {found} here, {pattern} in the image"


def test_image_runs_as_a_number_that_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last("USER"))


def test_what_is_copied_is_what_the_context_lets_through() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [words for stage in stages() for text in stage.of("COPY") if "--from" not in (words := text.split())[0]]
    assert {source for words in copied for source in words[:-1]} == allowed
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_dockerfile_is_clean() -> None:
    subprocess.run([Path(sys.executable).parent / "hadolint", FILE], check=True, timeout=PATIENCE * 60)
