"""A program for tests: the service, whose student hangs from SIGUSR1 on, and whose loop is blocked by SIGUSR2.

Usage: python -m tests.faults.faulty_monitor --config FILE
"""

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor import service
from monitor.config_loading import load_settings
from monitor.model import open_student
from ssondo_stream.bundle import StudentSpec
from ssondo_stream.engine import Student, StudentStream
from ssondo_stream.types import Frames, Inference

BLOCKED_SECONDS = 4.0
_hanging = threading.Event()


class HangingStudent:
    """A student, until it hangs."""

    def __init__(self, student: Student) -> None:
        self._student = student

    @property
    def spec(self) -> StudentSpec:
        return self._student.spec

    def verify(self, frames: Frames) -> NDArray[np.float32]:
        return self._student.verify(frames)

    def stream(self, hop_columns: int = 1) -> StudentStream:
        return HangingStream(self._student.stream(hop_columns))


class HangingStream:
    """The stream of one."""

    def __init__(self, stream: StudentStream) -> None:
        self._stream = stream

    def push(self, frames: Frames) -> list[Inference]:
        while _hanging.is_set():
            time.sleep(3600)
        return self._stream.push(frames)

    def reset(self) -> None:
        self._stream.reset()


async def main(config: Path) -> None:
    settings = load_settings(config, os.environ)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, _hanging.set)
    loop.add_signal_handler(signal.SIGUSR2, time.sleep, BLOCKED_SECONDS)
    await service.run(settings, student=HangingStudent(open_student(settings.model)))


if __name__ == "__main__":
    asyncio.Runner().run(main(Path(sys.argv[2])))
    sys.stdout.flush()
    os._exit(0)  # as the command does
