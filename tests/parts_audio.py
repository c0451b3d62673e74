"""Real sound for tests: a PulseAudio server, RTSP and HTTP streams, and a listener in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.parts import PATIENCE, require

ROOT = Path(__file__).parent.parent
SYSTEM_PYTHON = "/usr/bin/python3"  # GStreamer's bindings come with the system, not with a virtual environment
Told = dict[str, Any]


class Pulse:
    """A sound server of our own; its null sink `mic` is the microphone, and `play` speaks into it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._sink = ""
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_SERVER": f"unix:{folder}/pulse/native",
            "PULSE_SOURCE": "mic.monitor",
            "PULSE_SINK": "mic",
        }

    def start(self) -> None:
        program = require("pulseaudio")
        options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "-L", "module-native-protocol-unix"]
        self._process = subprocess.Popen([program, *options], env=self.environment, stderr=subprocess.DEVNULL)
        wait_until(lambda: self._control("info").returncode == 0)
        self.plug_in()

    def plug_in(self) -> None:
        sink = "sink_name=mic rate=32000 channels=1 format=float32le norewinds=1"
        self._sink = self._control("load-module", "module-null-sink", *sink.split()).stdout.strip()

    def unplug(self) -> None:
        self._control("unload-module", self._sink)

    def play(self, path: Path) -> None:
        subprocess.run([require("paplay"), str(path)], env=self.environment, check=True, timeout=PATIENCE * 30)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE * 10)

    def _control(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [require("pactl"), *command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 10,
            check=False,
        )


@pytest.fixture
def pulse() -> Iterator[Pulse]:
    with tempfile.TemporaryDirectory(prefix="pa") as folder:  # a socket's path must be short
        server = Pulse(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


class Ear:
    """A `tests.hear` process; what it told so far is in `told`."""

    def __init__(self, settings: Told, samples: Path, environment: dict[str, str] | None, stdin: int) -> None:
        command = [sys.executable, "-m", "tests.hear", json.dumps(settings), str(samples)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stdin=stdin)
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self._rest = b""
        self._samples = samples
        self.told: list[Told] = []

    def until(self, found: Callable[[Told], object], seconds: float = 15.0) -> Told:
        """Reads on until something told since the last call fits."""
        fitting: list[Told] = []

        def look() -> bool:
            fitting.extend(told for told in self._read() if found(told))
            return bool(fitting)

        wait_until(look, seconds, lambda: f"told {self.told[-5:]}")
        return fitting[0]

    def blocks(self, seconds: float) -> list[Told]:
        """Reads on until so much more audio was heard; gives its blocks."""
        first = len(self.told)
        self.until(lambda _: sum(t["samples"] / t["rate"] for t in self.told[first:] if "start" in t) >= seconds)
        return [told for told in self.told[first:] if "start" in told]

    def samples(self) -> NDArray[np.float32]:
        return np.frombuffer(self._samples.read_bytes(), np.float32)

    def _read(self) -> list[Told]:
        assert self.process.stdout is not None
        self._rest += self.process.stdout.read() or b""
        *lines, self._rest = self._rest.split(b"\n")
        new = [json.loads(line) for line in lines]
        self.told += new
        return new


@contextmanager
def ear(
    settings: Told, folder: Path, environment: dict[str, str] | None = None, stdin: int = subprocess.DEVNULL
) -> Iterator[Ear]:
    """Listens in a process of its own."""
    listening = Ear({"name": "yard", **settings}, folder / "heard.f32", environment, stdin)
    with listening.process:
        try:
            yield listening
        finally:
            listening.process.kill()


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is killed in the end, stopped or not."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def rtsp_tone(port: int, rate: int = 16_000, channels: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """rtsp://127.0.0.1:PORT/tone, 440 Hz."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode:
        require("gir1.2-gst-rtsp-server-1.0 with python3-gi")
    server = ROOT / "tests" / "rtsp_server.py"
    with running(SYSTEM_PYTHON, str(server), str(port), str(rate), str(channels)) as process:
        yield process


@contextmanager
def http_tone(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """http://127.0.0.1:PORT/tone, 440 Hz at 44.1 kHz as MP3 in real time, for one client."""
    tone = "sine=frequency=440:sample_rate=44100"
    output = ["-c:a", "libmp3lame", "-f", "mp3", "-listen", "1", f"http://127.0.0.1:{port}/tone"]
    with running(require("ffmpeg"), "-v", "error", "-re", "-f", "lavfi", "-i", tone, *output) as process:
        yield process


def pitch(samples: NDArray[np.float32], sample_rate: int) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * sample_rate / len(samples)


def wait_until(
    ready: Callable[[], bool], seconds: float = 15.0, explain: Callable[[], object] = lambda: "nothing"
) -> None:
    """Looks again and again, patiently, for what takes so many seconds."""
    end = time.monotonic() + PATIENCE * seconds
    while not ready():
        if time.monotonic() > end:
            pytest.fail(f"not within {PATIENCE * seconds:g} s: {explain()}")
        time.sleep(0.02)
