"""One source as a process: a scene in sped-up time, as a sound card gives it.

What nobody reads for a second is lost. A line on standard input changes what is played: `scene`, `mute`
(zeros) or `garbage` (random bytes). Usage: python -m tests.soak.writer PIPE_OR_PORT FORMAT SEED SPEED SINCE
"""

import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from monitor.clock import ScaledClock
from tests.soak.outlets import HttpOutlet, Outlet, PipeOutlet
from tests.soak.scene import RATE, Scene

TICK_SECONDS = 0.01
PATIENCE_SECONDS = 1.0  # of the machine: its scheduling does not speed up
UNPACED = 0.0
_CHUNK = RATE  # most samples made at once
_FORMATS: dict[str, tuple[str, float]] = {"s16le": ("<i2", 2.0**15), "f32le": ("<f4", 1.0)}


class Writer:
    """Plays a scene into an outlet. State is the next sample, bytes made and not yet taken, and for which reader."""

    def __init__(self, outlet: Outlet, scene: Scene, form: str, now: Callable[[], float], patience: int) -> None:
        self._outlet = outlet
        self._scene = scene
        self._dtype, self._full_scale = _FORMATS[form]
        self._now = now
        self._patience = patience
        self._next = int(now() * RATE)
        self._rest = b""
        self._reader = 0
        self._random = np.random.default_rng(0)
        self.mode = "scene"

    def turn(self, mode: str) -> None:
        """Play something else; a stream's reader has to begin anew where its header is garbled or sound again."""
        if isinstance(self._outlet, HttpOutlet) and "garbage" in (mode, self.mode):
            self._outlet.garbled = mode == "garbage"
            self._outlet.close()
        self.mode = mode

    def awaited(self) -> list[int]:
        """What must have room before it can go on."""
        return self._outlet.descriptors() if self._rest else []

    def step(self) -> None:
        """Write what is due."""
        due = int(self._now() * RATE)
        if not self._outlet.open() or self._outlet.readers != self._reader:  # who comes anew gets whole samples
            self._next, self._rest, self._reader = due, b"", self._outlet.readers
            return
        if due - self._next > self._patience:
            self._next = due
        while self._empty_rest() and self._next < due:
            stop = min(due, self._next + _CHUNK)
            self._rest = self._made(self._next, stop)
            self._next = stop

    def _empty_rest(self) -> bool:
        if self._rest:
            self._rest = self._rest[self._outlet.put(self._rest) :]
        return not self._rest

    def _made(self, start: int, stop: int) -> bytes:
        size = (stop - start) * np.dtype(self._dtype).itemsize
        if self.mode == "mute":
            return bytes(size)
        if self.mode == "garbage":
            return self._random.bytes(size)
        return (self._scene.read(start, stop) * self._full_scale).astype(self._dtype).tobytes()


def main() -> None:
    """Write until killed, or until whoever gives the commands has gone."""
    where, form, seed, speed, since = sys.argv[1:]
    outlet: Outlet = HttpOutlet(int(where)) if where.isdecimal() else PipeOutlet(Path(where))
    writer = Writer(outlet, Scene(int(seed)), form, *_pace(float(speed), float(since)))
    while True:
        if select.select([0], writer.awaited(), [], TICK_SECONDS)[0]:
            line = os.read(0, 100)
            if not line:
                return
            writer.turn(line.decode().split()[-1])
        writer.step()


def _pace(speed: float, since: float) -> tuple[Callable[[], float], int]:
    """Seconds of the scene that are over, and samples that wait for their reader; unpaced, all that is taken."""
    if speed == UNPACED:
        begun = time.time()
        return (lambda: (time.time() - begun) * 1000), sys.maxsize
    clock = ScaledClock(speed, since)
    return (lambda: clock.wall() - since), int(PATIENCE_SECONDS * speed * RATE)


if __name__ == "__main__":
    main()
