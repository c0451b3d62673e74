"""The programs of a soak: the monitor, its sources, and a broker that keeps what it has taken."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from monitor.clock import ScaledClock
from tests.parts import free_port
from tests.parts_mqtt import Mosquitto
from tests.soak.scene import RATE, Scene
from tests.soak.writer import UNPACED

ROOT = Path(__file__).parents[2]
NODE = "soak"
PATIENCE = 90.0  # seconds that a start may take on a busy machine
_KINDS = ("pipe s16le", "http s16le", "pipe f32le")


class DurableBroker(Mosquitto):
    """Keeps sessions over its death, and queues without a bound: what it acknowledged its subscriber gets."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        lines = self._config.read_text().replace("persistence false", "persistence true").splitlines()
        lines += [f"persistence_location {folder}/", "autosave_interval 1", "autosave_on_changes true"]
        lines += ["max_queued_messages 0", "max_inflight_messages 0"]
        self._config.write_text("\n".join(lines).replace("log_type all", "log_type error") + "\n")


class SourceProcess:
    """A generated source; see `tests.soak.writer`."""

    def __init__(self, number: int, folder: Path) -> None:
        kind, self._format = _KINDS[number % len(_KINDS)].split()
        self.name = f"{kind}{number}"
        self.scene = Scene(number)
        self._number = number
        self._port = free_port() if kind == "http" else None
        self._where = str(self._port or folder / self.name)
        if self._port is None:
            os.mkfifo(self._where)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> str:
        """Its table in the monitor's configuration."""
        head = f'[[source]]\nname = "{self.name}"\nsilence_seconds = 1.0\n'
        if self._port is not None:
            return f'{head}kind = "network"\nurl = "http://127.0.0.1:{self._port}/scene.wav"\n'
        return f'{head}kind = "pipe"\npath = "{self._where}"\nsample_rate = {RATE}\nformat = "{self._format}"\n'

    def start(self, clock: ScaledClock, *, paced: bool = True) -> None:
        speed = clock.speed if paced else UNPACED
        command = [sys.executable, "-m", "tests.soak.writer", self._where, self._format, str(self._number)]
        self._process = subprocess.Popen([*command, str(speed), repr(clock.since)], cwd=ROOT, stdin=subprocess.PIPE)

    def turn(self, mode: str) -> None:
        """Play `scene`, `mute` or `garbage`."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{mode}\n".encode())
        self._process.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


class Monitor:
    """`ssondo-monitor run`, again and again on one state folder. `life` counts the starts."""

    def __init__(self, folder: Path, sources: list[SourceProcess], mqtt_port: int) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        self.log = folder / "monitor.log"
        self.life = 0
        self._printed = folder / "monitor.out"
        self._config = folder / "monitor.toml"
        self._http = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._config.write_text(
            f'[node]\nname = "{NODE}"\nstate_dir = "{self.state}"\n[http]\nport = {self._http}\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {mqtt_port}\ntimeout_seconds = 3\nkeepalive_seconds = 5\n'
            + "\n".join(source.config for source in sources)
        )

    @property
    def spool(self) -> Path:
        return self.state / "spool.sqlite"

    @property
    def ended(self) -> bool:
        """Whether its process is gone."""
        return self._process is None or self._process.poll() is not None

    def spawn(self, clock: ScaledClock) -> None:
        self.life += 1
        command = [sys.executable, "-m", "monitor", "run", "--config", str(self._config)]
        pace = ["--speed", str(clock.speed), "--since", repr(clock.since)]
        with self._printed.open("ab") as out, self.log.open("ab") as err:
            self._process = subprocess.Popen([*command, *pace], cwd=ROOT, stdout=out, stderr=err)

    def page(self, path: str) -> tuple[int, str]:
        """Status and body; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._http}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    async def recovered(self, seconds: float = PATIENCE) -> None:
        """Wait until it says that everything is well.

        Raises:
            TimeoutError: it does not; the message has its reasons.
        """
        end = time.monotonic() + seconds
        while (answer := await asyncio.to_thread(self.page, "/ready"))[0] != 200:
            code = self._process.poll() if self._process else None
            if code is not None:
                raise RuntimeError(f"the monitor ended with {code}; see {self.log}")
            if time.monotonic() > end:
                raise TimeoutError(f"not ready within {seconds:g} s: {answer[1]}")
            await asyncio.sleep(0.05)

    def vitals(self) -> psutil.Process:
        """Its process, for memory, descriptors and threads."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self, number: signal.Signals, seconds: float = 30.0) -> int:
        """Signal it and wait for its end; returns the exit code.

        Raises:
            TimeoutError: it does not end.
        """
        assert self._process is not None
        self._process.send_signal(number)
        try:
            return await asyncio.to_thread(self._process.wait, seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"the monitor did not end within {seconds:g} s of {number.name}") from error

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def metrics_of(page: str) -> dict[str, float]:
    """Every sample of a page of metrics, by name and labels."""
    lines = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def event_of(body: bytes) -> tuple[str, str]:
    """Id and type of a spooled or published event."""
    event = json.loads(body)
    return str(event["event_id"]), str(event["event_type"])
