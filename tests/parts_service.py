"""The real service as a process of its own, started as users start it."""

import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.parts import PATIENCE, free_port

READY_SECONDS = 30.0


class Service:
    """A running `ssondo-monitor run`."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path, mqtt_port: int, http_port: int) -> None:
        self.process = process
        self.folder = folder
        self.mqtt_port = mqtt_port
        self.http_port = http_port

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=PATIENCE * 5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by its name and labels."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def wait(self, condition: Callable[["Service"], bool], what: str, seconds: float = READY_SECONDS) -> None:
        """Wait until something holds; fails with the log when it does not."""
        deadline = time.monotonic() + PATIENCE * seconds
        while time.monotonic() < deadline:
            try:
                if condition(self):
                    return
            except (urllib.error.URLError, ConnectionError, KeyError):
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"not within {PATIENCE * seconds:g} s: {what}\n{self.log()}")

    def ready(self) -> bool:
        """Whether /ready says so."""
        return self.get("/ready")[0] == 200

    def log(self) -> str:
        """What it wrote to standard error."""
        return (self.folder / "stderr").read_text()

    def printed(self) -> str:
        """What it wrote to standard output."""
        return (self.folder / "stdout").read_text()

    def stop(self, number: int = signal.SIGTERM, seconds: float = 10.0) -> int:
        """Signal it and wait for its end; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE * seconds)


@contextmanager
def running(
    folder: Path,
    config: str = "",
    *,
    environ: Mapping[str, str] | None = None,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = None,
    demo: bool = True,
    program: tuple[str, ...] = ("-m", "monitor", "run"),
) -> Iterator[Service]:
    """Run the service with a configuration; ports and state are its own unless the configuration names them."""
    folder.mkdir(parents=True, exist_ok=True)
    given = tomllib.loads(config)
    http_port = int(given.get("http", {}).get("port") or free_port())
    mqtt_port = int(given.get("mqtt", {}).get("port") or free_port())
    if demo and "source" not in given:
        config += '\n[[source]]\nname = "demo"\nkind = "demo"\n'
    path = folder / "monitor.toml"
    path.write_text(config)
    own = {
        "SSONDO_NODE__STATE_DIR": str(folder / "state"),
        "SSONDO_NODE__NAME": "test",
        "SSONDO_HTTP__PORT": str(http_port),
        "SSONDO_MQTT__EMBEDDED_PORT": str(mqtt_port),
    }
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, *program, "--config", str(path)],
            env={**os.environ, **own, **(environ or {})},
            stdin=stdin,
            stdout=out if stdout is None else stdout,
            stderr=err,
        )
    try:
        yield Service(process, folder, mqtt_port, http_port)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
