"""What a running service writes to its disk: `python -m tests.deploy.writes`, as root, prints megabytes a day.

The state lies on an ext4 file system of its own, whose device counts sectors. While sounds are heard, the file system
is synced ten times a second, so that each message reaches the disk alone, as when sounds are minutes apart.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from tests.parts_service import Service, running

IDLE_SECONDS = 60
SPEED = 10
MESSAGES = 40
SOUNDS_A_DAY = 200
SECTOR = 512
CONFIG = """
[[source]]
name = "yard"
{source}
[log]
events = false
"""
NOISE = 'kind = "file"\npath = "{folder}/noise.wav"\nloop = true'
ACKED = "ssondo_mqtt_acked_total"


class Disk:
    """A mounted file system, and what its device has written. State is the device's."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder = folder
        self._stat = Path("/sys/block") / Path(device).name / "stat"

    def written(self) -> int:
        """Bytes so far, everything synced."""
        self.sync()
        return int(self._stat.read_text().split()[6]) * SECTOR

    def state(self, name: str) -> dict[str, str]:
        """Variables of a service that keeps its state here."""
        return {"SSONDO_NODE__STATE_DIR": str(self.folder / name)}

    def sync(self) -> None:
        subprocess.run(["sync", "-f", self.folder], check=True)

    @contextmanager
    def synced_always(self) -> Iterator[None]:
        """Leave the kernel nothing to gather."""
        done = threading.Event()

        def work() -> None:
            while not done.wait(0.1):
                self.sync()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """An ext4 file system in a file."""
    image, mounted = folder / "image", folder / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(256 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image], check=True)
    device = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        subprocess.run(["mount", "-o", "noatime", device, mounted], check=True)
        yield Disk(mounted, device)
    finally:
        subprocess.run(["umount", mounted], check=False)
        subprocess.run(["losetup", "-d", device], check=False)


def idle(folder: Path, target: Disk) -> float:
    """Bytes a second while nothing is recognised."""
    noise = np.random.default_rng(0).normal(0, 0.01, 32_000 * 20).astype(np.float32)
    soundfile.write(folder / "noise.wav", noise, 32_000)
    config = CONFIG.format(source=NOISE.format(folder=folder))
    with running(folder / "idle", config, environ=target.state("idle")) as service:
        service.wait(Service.ready, "ready", 120)
        before, begun = target.written(), time.monotonic()
        time.sleep(IDLE_SECONDS)  # what is measured is a length of time
        rate = (target.written() - before) / (time.monotonic() - begun)
        assert service.ready()
    return rate


def busy(folder: Path, target: Disk) -> float:
    """Bytes a message while sounds are recognised."""
    config = CONFIG.format(source='kind = "demo"')
    program = ("-m", "monitor", "run", "--speed", str(SPEED))
    with (
        running(folder / "busy", config, environ=target.state("busy"), program=program) as service,
        target.synced_always(),
    ):
        service.wait(lambda service: service.metrics()[ACKED] > 0, "a first message", 120)
        acked, before = service.metrics()[ACKED], target.written()
        service.wait(lambda service: service.metrics()[ACKED] >= acked + MESSAGES, "messages", 600)
        written = target.written() - before
        return written / (service.metrics()[ACKED] - acked)


def main() -> None:
    """Measure, and print."""
    if os.geteuid() != 0:
        sys.exit("needs root, to mount a file system of its own")
    with tempfile.TemporaryDirectory() as folder, disk(Path(folder)) as target:
        rate = idle(Path(folder), target)
        message = busy(Path(folder), target)
    quiet = rate * 86_400
    sys.stdout.write(f"idle for {IDLE_SECONDS} s: {rate:.0f} bytes a second, {quiet / 1e6:.1f} MB a day\n")
    day = quiet + 2 * SOUNDS_A_DAY * message
    sys.stdout.write(
        f"a message: {message / 1e3:.1f} kB; {SOUNDS_A_DAY} sounds a day, two each: {day / 1e6:.1f} MB a day\n"
    )


if __name__ == "__main__":
    main()
