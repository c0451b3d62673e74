"""A fleet that a real Prometheus watches: real services, of which one is well, one has every fault, and one is lost.

`kitchen` takes back what it announced too early; `yard` has a source that comes and goes, one that is muted, and no
broker; `barn` is killed.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.parts import PATIENCE, free_port, require
from tests.parts_service import Service, running

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
RATE = 8_000
PLACES = {"kitchen": (48.137, 11.576), "yard": (48.173, 11.546), "barn": (48.114, 11.642)}

KITCHEN = """
[[source]]
name = "ceiling"
kind = "demo"

[detection]
settle_seconds = 4.0

[detection.labels.smoke_alarm]
min_duration_seconds = 60.0
"""
YARD = """
[[source]]
name = "eaves"
kind = "demo"
seed = 1

[[source]]
name = "gate"
kind = "pipe"
path = "{folder}/gate"
sample_rate = 8000
silence_seconds = 1.0

[[source]]
name = "pond"
kind = "pipe"
path = "{folder}/pond"
sample_rate = 8000
flatline_seconds = 2.0

[mqtt]
host = "127.0.0.1"
port = {nobody}
"""
BARN = """
[[source]]
name = "hay"
kind = "demo"
seed = 2
"""

Series = list[tuple[dict[str, str], float]]


class Writer:
    """Writes noise, or zeros, into a named pipe in real time while it is told to."""

    def __init__(self, pipe: Path, level: float) -> None:
        os.mkfifo(pipe)
        self._pipe = pipe
        self.level = level
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, args=(self._over,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        if self._thread:
            self._thread.join(5)

    def _write(self, over: threading.Event) -> None:
        random = np.random.default_rng(0)
        begun, blocks = time.monotonic(), 0
        with suppress(BrokenPipeError), self._pipe.open("wb", buffering=0) as pipe:
            while not over.wait(max(0.0, begun + 0.1 * blocks - time.monotonic())):
                noise = self.level * random.standard_normal(RATE // 10)
                pipe.write((noise * 2**15).astype("<i2").tobytes())
                blocks += 1


@dataclass
class Prometheus:
    """A running Prometheus with the configuration and the rules that are shipped, only more frequent."""

    port: int

    def get(self, path: str, **parameters: object) -> object:
        """The data of an answer of its API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        with urllib.request.urlopen(url, timeout=PATIENCE * 10) as answer:
            return json.load(answer)["data"]

    def now(self, expression: str) -> Series:
        """Labels and value of each series, at present."""
        data = self.get("query", query=expression)
        assert isinstance(data, dict)
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def until(self, expression: str, seconds: float = 60.0) -> Series:
        """What a query answers once it answers anything."""
        return wait(lambda: self.now(expression), expression, seconds)


def wait(found: Callable[[], Series], what: str, seconds: float) -> Series:
    """Poll until something is found; fails with what was looked for."""
    deadline = time.monotonic() + PATIENCE * seconds
    while time.monotonic() < deadline:
        with suppress(urllib.error.URLError, ConnectionError):
            if series := found():
                return series
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what}")


@dataclass
class Fleet:
    """What runs."""

    services: Mapping[str, Service]
    gate: Writer
    pond: Writer
    broker_port: int
    prometheus: Prometheus
    sensors: Path

    def lose_and_find_gate(self) -> None:
        """Let a source die, and come back."""
        self.prometheus.until('ssondo_source_up{source="gate"} == 1')
        self.gate.end()
        self.prometheus.until('ssondo_source_up{source="gate"} == 0')
        self.gate.begin()
        self.prometheus.until('ssondo_source_restarts_total{source="gate"} > 0')

    def lose_barn(self) -> None:
        """Kill a sensor that was seen."""
        self.prometheus.until('node:ssondo_latitude_degrees:last{node="barn"}')
        self.services["barn"].stop(signal.SIGKILL)
        self.prometheus.until('up{node="barn"} == 0')


@contextmanager
def fleet(folder: Path, *, speed: float = 1.0, muted: bool = True) -> Iterator[Fleet]:
    """Three sensors, and the Prometheus that watches them; the first is `speed` times as fast as time."""
    with ExitStack() as stack:
        (folder / "pipes").mkdir(parents=True)
        gate, pond = Writer(folder / "pipes" / "gate", 0.05), Writer(folder / "pipes" / "pond", 0.0 if muted else 0.01)
        nobody = free_port()
        texts = {"kitchen": KITCHEN, "yard": YARD.format(folder=folder / "pipes", nobody=nobody), "barn": BARN}
        services = {
            name: stack.enter_context(_sensor(folder, name, text, speed if name == "kitchen" else 1.0))
            for name, text in texts.items()
        }
        for writer in (gate, pond):
            stack.callback(writer.end)
            writer.begin()
        ports = {name: service.http_port for name, service in services.items()}
        prometheus = stack.enter_context(_prometheus(folder / "prometheus", ports))
        yield Fleet(services, gate, pond, nobody, prometheus, folder / "prometheus" / "sensors.yml")


@contextmanager
def _sensor(folder: Path, name: str, text: str, speed: float) -> Iterator[Service]:
    latitude, longitude = PLACES[name]
    position = f"[node]\nlatitude = {latitude}\nlongitude = {longitude}\n"
    fast = ("-m", "monitor", "run", "--speed", str(speed))
    with running(folder / name, position + text, environ={"SSONDO_NODE__NAME": name}, program=fast) as service:
        yield service


@contextmanager
def _prometheus(folder: Path, ports: Mapping[str, int]) -> Iterator[Prometheus]:
    shutil.copytree(SHIPPED, folder)
    named = [{"targets": [f"127.0.0.1:{port}"], "labels": {"node": name}} for name, port in ports.items()]
    (folder / "sensors.yml").write_text(yaml.safe_dump(named))
    with server(folder, yaml.safe_load((folder / "prometheus.yml").read_text())) as running_server:
        yield running_server


@contextmanager
def server(folder: Path, settings: dict[str, Any], *options: str, store: str = "tsdb") -> Iterator[Prometheus]:
    """A Prometheus with a configuration, its intervals all a second; rules and sensors are those in its folder."""
    every = {"scrape_interval": "1s"} | ({"evaluation_interval": "1s"} if store == "tsdb" else {})
    settings["global"] = settings.get("global", {}) | every
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    for rules in folder.glob("rules/recording.yml"):
        rules.write_text(re.sub(r"interval: \w+", "interval: 1s", rules.read_text()))
    port = free_port()
    paths = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.{store}.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        command = [require("prometheus"), *paths, f"--web.listen-address=127.0.0.1:{port}", *options]
        process = subprocess.Popen(command, stderr=log)
    try:
        yield Prometheus(port)
    finally:
        process.kill()
        process.wait()
