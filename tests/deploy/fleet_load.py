"""A fleet's load on one mosquitto: `python -m tests.deploy.fleet_load --sensors 500 --seconds 60` prints a table.

Every sensor is a real MQTT client with a certificate of its own, over TLS, with the shipped configuration; events are
those that `ssondo-monitor replay` finds in a demonstration. All of it shares the cores of this machine.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile

from monitor.clock import SystemClock
from monitor.config import DemoSettings
from monitor.sources.demo import PERIOD_SECONDS, DemoSource
from tests.deploy.parts_fleet import Fleet, broker_of

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0
PROBE = "probe"
"""One more sensor, in a process of its own: what it sees is the broker's doing, not that of a crowded process."""
PROBES_PER_MINUTE = 600.0


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured."""

    rows: Sequence[tuple[str, str]]
    events: int
    received: int
    lost: int

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.rows)
        return "".join(f"| {name:<{width}} | {value} |\n" for name, value in self.rows)


class Generator:
    """A process full of sensors."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, task: dict[str, Any]) -> "Generator":
        """Start it with what it shall do."""
        self = cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.deploy.fleet_sensors"),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                limit=2**28,
            )
        )
        self.say(json.dumps(task, default=str))
        return self

    def say(self, line: str = "") -> None:
        """Let it go on."""
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())

    async def hear(self) -> dict[str, Any]:
        """What it says next."""
        assert self._process.stdout
        async with asyncio.timeout(PATIENCE):
            return dict(json.loads(await self._process.stdout.readline()))

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return cpu(psutil.Process(self._process.pid))

    async def end(self) -> None:
        """Let it close its connections, and wait for its end."""
        self.say()
        try:
            async with asyncio.timeout(30):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def record(folder: Path) -> Path:
    """A period of the demonstration, replayed: a file with a line for each message."""
    sound, events = folder / "yard.wav", folder / "events.jsonl"
    samples = asyncio.run(_demonstration())
    soundfile.write(sound, samples, 32_000)
    command = [sys.executable, "-m", "monitor", "replay", "--json", str(sound)]
    events.write_bytes(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE).stdout)
    return events


async def _demonstration() -> "np.ndarray[Any, np.dtype[np.float32]]":
    source = DemoSource(DemoSettings(kind="demo", name="yard", realtime=False), SystemClock())
    blocks, wanted = [], PERIOD_SECONDS * source.sample_rate
    async for block in source.blocks():
        blocks.append(block.samples)
        if block.end >= wanted:
            break
    return np.concatenate(blocks)


async def measure(
    folder: Path, events: Path, *, sensors: int, seconds: float, events_per_minute: float, processes: int
) -> Report:
    """Enrol, connect, publish and count.

    Args:
        folder: for everything that is made.
        events: recorded, a line of JSON each.
        sensors: simulated.
        seconds: of publishing.
        events_per_minute: messages with an event, of each sensor; a level comes each second on top.
        processes: that the sensors are spread over.
    """
    fleet = Fleet(folder / "fleet")
    names = [f"sensor{number}" for number in range(sensors - 1)]
    began = time.monotonic()
    await asyncio.to_thread(fleet.enrol, PROBE, *names)
    enrolling = time.monotonic() - began
    shares = [names[first::processes] for first in range(processes)]
    async with broker_of(fleet) as broker, fleet.reader() as reader:
        seen = psutil.Process(broker.pid)
        await reader.subscribe("ssondo/#", qos=1)
        heard = Heard()
        listening = asyncio.create_task(heard.listen(reader))
        before = cpu(seen)
        task = {"events": events, "seconds": seconds}
        rates = [(share, events_per_minute) for share in shares] + [([PROBE], PROBES_PER_MINUTE)]
        generators = [
            await Generator.start(
                {**task, "events_per_minute": rate, "sensors": {name: connection(fleet, name) for name in share}}
            )
            for share, rate in rates
        ]
        try:
            for generator in generators:
                await generator.hear()
            connecting, heard.messages, publishing = cpu(seen) - before, 0, cpu(seen)
            start = time.monotonic()
            for generator in generators:
                generator.say()
            told = [await generator.hear() for generator in generators]
            wanted = {event for one in told for event in one["sent"]}
            await heard.until(wanted)
            took, used = time.monotonic() - start, cpu(seen) - publishing
            memory = seen.memory_info().rss
            simulating = sum(generator.cpu() for generator in generators) / took
        finally:
            await asyncio.gather(*(generator.end() for generator in generators))
            listening.cancel()
            await asyncio.wait({listening})
    spent = {"enrolling": enrolling, "connecting": connecting, "took": took, "used": used, "simulating": simulating}
    return report(sensors, told, heard, memory=memory, **spent)


def connection(fleet: Fleet, name: str) -> dict[str, object]:
    """A sensor's settings, as JSON can say them."""
    return {
        key: value for key, value in fleet.by_certificate(name).model_dump(mode="json").items() if value is not None
    }


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


class Heard:
    """What a reader of everything receives. State is when each event came, and how many messages of each kind."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self.messages = self.levels = self.bytes = 0
        self._more = asyncio.Event()

    async def listen(self, reader: Any) -> None:
        """Note every message."""
        async for message in reader.messages:
            self.messages += 1
            kind = str(message.topic).rpartition("/")[2]
            self.levels += kind == "level"
            if kind == "event":
                now = time.monotonic()
                self.bytes += len(message.payload)
                self.at.setdefault(json.loads(message.payload)["event_id"], now)
                self._more.set()

    async def until(self, wanted: set[str]) -> None:
        """Wait for events, at most 30 s."""
        try:
            async with asyncio.timeout(30):
                while not wanted <= self.at.keys():
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            sys.stderr.write(f"{len(wanted - self.at.keys())} events did not come\n")


def report(
    sensors: int,
    told: Sequence[dict[str, Any]],
    heard: Heard,
    *,
    enrolling: float,
    connecting: float,
    took: float,
    used: float,
    simulating: float,
    memory: int,
) -> Report:
    """The table."""
    sent = {event: at for one in told for event, at in one["sent"].items()}
    acked = [seconds for one in told for seconds in one["acked"]]
    through = [heard.at[event] - at for event, at in sent.items() if event in heard.at]
    levels = sum(one["levels"] for one in told)
    lost = sum(one["lost"] for one in told)
    rows = [
        ("sensors, each with TLS and a certificate", f"{sensors}"),
        ("enrolled in", f"{enrolling:.1f} s"),
        ("all online in", f"{max(one['connecting_seconds'] for one in told):.1f} s"),
        ("broker's CPU for a connection", f"{connecting / sensors * 1e3:.2f} ms"),
        ("messages in, and out to a reader of all", f"{heard.messages / took:.0f} a second ({heard.messages})"),
        ("events sent, received, lost", f"{len(sent)}, {len(through)}, {lost}"),
        ("levels made, received (QoS 0, newest alone)", f"{levels}, {heard.levels}"),
        ("size of an event", f"{heard.bytes / max(len(heard.at), 1):.0f} bytes"),
        ("broker's CPU", f"{used / took:.1%} of a core"),
        ("broker's CPU for a message in and out", f"{used / heard.messages * 1e6:.0f} µs"),
        ("broker's memory", f"{memory / 1e6:.0f} MB"),
        ("event to acknowledgement, median, p99", quantiles(acked)),
        ("the same of one sensor in a process of its own", quantiles(told[-1]["acked"])),
        ("event to reader, median, p99", quantiles(through)),
        ("simulators' CPU, connecting included", f"{simulating:.0%} of a core"),
        ("machine", f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"),
    ]
    return Report(rows, len(sent), len(through), lost)


def quantiles(seconds: Sequence[float]) -> str:
    middle, late = np.quantile(seconds or [np.nan], [0.5, 0.99])
    return f"{middle * 1e3:.1f} ms, {late * 1e3:.1f} ms"


def main() -> int:
    """Measure as the command line says; 1 if an event was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.fleet_load", description=__doc__)
    parser.add_argument("--sensors", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--events-per-minute", type=float, default=6.0, help="of each sensor")
    parser.add_argument("--processes", type=int, default=2, help="that the sensors are spread over")
    parser.add_argument("--folder", type=Path, help="keeps what is made, so that a second run need not enrol again")
    given = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as name:
        folder = given.pop("folder") or Path(name)
        found = asyncio.run(measure(folder, record(Path(name)), **given))
    sys.stdout.write(str(found))
    return 0 if found.received == found.events and not found.lost else 1


if __name__ == "__main__":
    sys.exit(main())
