"""Everything that takes part in a soak, and what is noted while it runs."""

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from monitor.clock import ScaledClock
from tests.soak.parts import DurableBroker, Monitor, SourceProcess, event_of, metrics_of
from tests.soak.receiver import Receiver
from tests.soak.samples import Sample

STATE_BYTES = 32_000_000


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault as it happened, in seconds of audio since the beginning.

    Attributes:
        deaf: sources that could not be heard meanwhile.
        end: when all was well again.
        trouble: what did not hold; empty if nothing.
    """

    fault: str
    target: str
    deaf: tuple[str, ...]
    start: float
    end: float
    trouble: str


@dataclass
class World:
    """The programs, their clock, and the notes: faults, samples, and what the spool had taken at each death."""

    folder: Path
    clock: ScaledClock
    random: Random
    broker: DurableBroker
    sources: list[SourceProcess]
    monitor: Monitor
    receiver: Receiver
    faults: list[Injected] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    spooled: dict[int, tuple[str, str]] = field(default_factory=dict)
    stops: list[float] = field(default_factory=list)
    small_disk: bool = False

    @property
    def now(self) -> float:
        """Seconds of audio since the beginning."""
        return self.clock.wall() - self.clock.since

    def metrics(self) -> dict[str, float]:
        """What the monitor measures now; nothing while it does not answer."""
        status, page = self.monitor.page("/metrics")
        return metrics_of(page) if status == 200 else {}

    async def until(self, seen: Callable[[dict[str, float]], bool], what: str, seconds: float) -> None:
        """Wait until the metrics show something, for so many seconds of the machine.

        Raises:
            TimeoutError: they do not.
        """
        end = time.monotonic() + seconds
        while not seen(await asyncio.to_thread(self.metrics)):
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds:.0f} s: {what}")
            await asyncio.sleep(0.05)

    async def start_monitor(self) -> None:
        self.monitor.spawn(self.clock)
        await self.monitor.recovered()

    async def end_monitor(self, number: signal.Signals) -> None:
        """End it, and look at what its spool holds."""
        begun = time.monotonic()
        code = await self.monitor.end(number)
        if number is signal.SIGTERM:
            self.stops.append(time.monotonic() - begun)
            if code:
                raise RuntimeError(f"the monitor ended with {code} on SIGTERM")
        self.spooled.update(await asyncio.to_thread(_messages, self.monitor.spool))

    async def sample(self, every: float) -> None:
        """Note memory, descriptors, threads and the account of audio, for ever."""
        while True:
            with suppress(psutil.Error):  # it may die meanwhile
                self.samples += await asyncio.to_thread(self.sampled)
            await asyncio.sleep(every)

    def sampled(self) -> list[Sample]:
        """One sample, or none while the monitor does not answer."""
        vitals = self.monitor.vitals()
        life, before, found = self.monitor.life, self.now, self.metrics()
        at = (before + self.now) / 2
        if not found or life != self.monitor.life:
            return []
        return [Sample.of(at, life, vitals, found, [source.name for source in self.sources])]


@asynccontextmanager
async def world(
    folder: Path, clock: ScaledClock, seed: int, sources: int, *, paced: bool = True
) -> AsyncIterator[World]:
    """Broker, subscriber and sources at work; the monitor is yet to be started. All end in the end."""
    broker = DurableBroker(folder / "broker")
    writers = [SourceProcess(number, folder) for number in range(sources)]
    monitor = Monitor(folder, writers, broker.port)
    receiver = Receiver(broker.port)
    made = World(folder, clock, Random(seed), broker, writers, monitor, receiver)
    made.small_disk = _mount(monitor.state)
    try:
        async with broker:
            with receiver.listening():
                if not await asyncio.to_thread(receiver.subscribed.wait, 30):
                    raise TimeoutError("the broker took no subscriber within 30 s")
                for writer in writers:
                    writer.start(clock, paced=paced)
                yield made
    finally:
        monitor.kill()
        for writer in writers:
            writer.kill()
        if made.small_disk:
            await asyncio.to_thread(_unmount, monitor.state)


def _mount(folder: Path) -> bool:
    """A small disk of its own for the monitor's state, if this user may."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={STATE_BYTES}", "soak", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _messages(path: Path) -> dict[int, tuple[str, str]]:
    """What a spool holds, read from a copy, for the next life is to find it as it was left."""
    with tempfile.TemporaryDirectory() as name:
        for file in path.parent.glob(f"{path.name}*"):
            shutil.copy(file, name)
        database = sqlite3.connect(Path(name) / path.name)
        try:
            rows = database.execute("SELECT seq, body FROM message").fetchall()
        finally:
            database.close()
    return {int(seq): event_of(body) for seq, body in rows}
