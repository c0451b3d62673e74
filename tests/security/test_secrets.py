"""Secrets planted wherever one can be set are in nothing that the service emits, however it ends."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.config_loading import load_settings
from monitor.errors import ConfigError
from tests.parts import PATIENCE, free_port
from tests.parts_mqtt import Mosquitto, subscriber
from tests.parts_service import Service, running

CANARY = "canary"
PASSWORD, TOKEN, WRONG = f"mqtt-{CANARY}-0123456789", f"http-{CANARY}-0123456789", f"wrong-{CANARY}-0123456789"


def config(folder: Path, broker: int, password: str = PASSWORD) -> str:
    """A configuration with a secret in every place that takes one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, secret in {"password": password, "token": TOKEN}.items():
        (folder / name).write_text(f"{secret}\n")
        (folder / name).chmod(0o600)
    camera = f"rtsp://{CANARY}:{CANARY}@127.0.0.1:{free_port()}/user={CANARY}/audio?key={CANARY}#{CANARY}"
    http = f"http://{CANARY}:{CANARY}/{CANARY}@127.0.0.1:{free_port()}/stream.mp3"
    return f"""
[log]
level = "debug"
[mqtt]
host = "127.0.0.1"
port = {broker}
username = "pi1"
password_file = "password"
[http]
token_file = "token"
[[source]]
name = "demo"
kind = "demo"
[[source]]
name = "cam"
kind = "network"
url = "{camera}"
[[source]]
name = "radio"
kind = "network"
url = "{http}"
"""


def emitted(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that a service left behind: output, state, and whatever else it wrote in its folder."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in ("password", "token", "monitor.toml"):
            yield str(path), path.read_bytes()


def ask(service: Service, path: str, token: str | None) -> bytes:
    """The headers and body of an answer."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{service.http_port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE * 5) as answer:
            return str(answer.headers).encode() + answer.read()
    except urllib.error.HTTPError as error:
        return str(error.headers).encode() + error.read()


async def test_running_service_tells_no_secret(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    async with (
        Mosquitto(tmp_path / "broker", users={"pi1": PASSWORD, "reader": "r"}) as broker,
        subscriber(broker.port, user="reader", password="r") as inbox,
    ):
        with running(folder, config(folder, broker.port)) as service:
            await inbox.see("ssondo/test/demo/availability", b"online", 40)
            service.wait(lambda s: "source radio" in ask(s, "/ready", TOKEN).decode(), "the lost streams")
            pages = [
                ask(service, path, token) for path in ("/metrics", "/ready", "/x") for token in (None, TOKEN, WRONG)
            ]
            arguments = _arguments(service)
            assert service.stop() == 0
        told = [*emitted(folder), *(("HTTP", page) for page in pages), ("arguments", arguments)]
        told += [(str(message.topic), bytes(message.payload)) for message in inbox.messages]
    assert b"ssondo_source_up" in b"".join(pages), "the token was right"
    assert len(told) > 15
    assert [place for place, content in told if CANARY.encode() in content] == []


def _arguments(service: Service) -> bytes:
    return Path(f"/proc/{service.process.pid}/cmdline").read_bytes()


@pytest.mark.parametrize("ending", ["refused", "abort", "kill", "bug"])
async def test_crash_tells_no_secret(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "s"
    password = WRONG if ending == "refused" else PASSWORD
    async with Mosquitto(tmp_path / "broker", users={"pi1": PASSWORD}) as broker:
        environ = {"PYTHONFAULTHANDLER": "1"} | ({"PYTHONPATH": str(_bug(tmp_path))} if ending == "bug" else {})
        with running(folder, config(folder, broker.port, password), environ=environ) as service:
            if ending == "bug":
                assert service.process.wait(PATIENCE * 40) == 1
            else:
                expected = "refuses user or password" if ending == "refused" else "mqtt connected"
                service.wait(lambda s: expected in s.log(), expected)
                number = {"abort": signal.SIGABRT, "kill": signal.SIGKILL, "refused": signal.SIGTERM}[ending]
                assert service.stop(number) == (0 if ending == "refused" else -number)
    log = service.log()
    assert {"abort": "Fatal Python error", "bug": "ZeroDivisionError"}.get(ending, "") in log
    assert [place for place, content in emitted(folder) if CANARY.encode() in content] == []


def _bug(folder: Path) -> Path:
    """A folder that makes Python start with a mistake in the service's watch over its parts."""
    (folder / "sitecustomize.py").write_text(
        "import monitor.status\n"
        "async def watch(self, clock):\n"
        "    await clock.sleep(2)\n"
        "    1 / 0\n"
        "monitor.status.Status.watch = watch\n"
    )
    return folder


def test_no_core_is_dumped(tmp_path: Path) -> None:
    with running(tmp_path, "") as service:
        service.wait(lambda s: s.get("/health")[0] == 200, "HTTP")
        limits = Path(f"/proc/{service.process.pid}/limits").read_text()
    assert "Max core file size        0                    0" in limits


SECRETS = {
    "SSONDO_MQTT__PASSWORD": CANARY,
    "SSONDO_HTTP__TOKEN": f"{CANARY} is no token",
    "SSONDO_MQTT__PASWORD": CANARY,
    "SSONDO_SOURCE__0__URL": f"rtsp://{CANARY}@x/a",
    "SSONDO_SOURCE": json.dumps([{"kind": f"rtsp://u:{CANARY}@x", "name": "x"}]),
    "SSONDO_MQTT": json.dumps({"password": [CANARY], "pasword": CANARY}),
    "SSONDO_HTTP": json.dumps(CANARY),
    "SSONDO_NODE": CANARY,
    "SSONDO_MQTT__PORT": f"mqtt://u:{CANARY}@x",
    "SSONDO_NODE__NAME": f"https://x/{CANARY}",
}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("end", [b"", b"\xff"], ids=["text", "no UTF-8"])
def test_rejected_settings_are_not_repeated(tmp_path: Path, name: str, end: bytes) -> None:
    path = tmp_path / "monitor.toml"
    path.write_text('[mqtt]\nhost = "x"\n')
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {name: os.fsdecode(SECRETS[name].encode() + end)})
    told = str(caught.value).encode()  # can be printed
    assert CANARY.encode() not in told


def test_rejected_settings_end_the_command_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "monitor.toml").write_text(f"[mqtt]\npassword = ['{CANARY}']\n[http]\ntoken = '{CANARY}'\n")
    command = [sys.executable, "-m", "monitor", "run", "--config", str(tmp_path / "monitor.toml")]
    environ = {**os.environb, b"SSONDO_NODE__NAME": CANARY.encode() + b"\xff"}
    done = subprocess.run(command, env=environ, capture_output=True, check=False, timeout=PATIENCE * 60)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 3)
    assert CANARY.encode() not in done.stdout + done.stderr


def test_check_shows_that_there_is_a_token_and_not_which(tmp_path: Path) -> None:
    (tmp_path / "monitor.toml").write_text(config(tmp_path, 1883))
    command = [sys.executable, "-m", "monitor", "check", str(tmp_path / "monitor.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE * 60)
    assert done.returncode == 0, done.stderr
    assert "with a token" in done.stdout
    assert CANARY not in done.stdout + done.stderr
