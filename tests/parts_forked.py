"""Programs in processes of their own, forked from one that has imported torch: each would take seconds to do so."""

import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

from tests.parts import PATIENCE

ROOT = Path(__file__).parents[1]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pytest", "training.study", "ssondo_stream.students.export", "tests.parts_killed"])


def run_python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A program from the repository's root, whose warnings are errors."""
    told = [_Told(), _Told()]
    process = _FORKS.Process(target=_run, args=(program, [*map(str, arguments)], *(one.writer for one in told)))
    process.start()
    for one in told:
        one.writer.close()
        one.start()
    process.join(PATIENCE * 120)
    late = process.exitcode is None
    process.kill()
    for one in told:
        one.join()
    if late:
        raise subprocess.TimeoutExpired(program, PATIENCE * 120, *(one.text for one in told))
    return subprocess.CompletedProcess(program, process.exitcode or 0, *(one.text for one in told))


class _Told(threading.Thread):
    """Reads what a process writes until it ends. State is the text."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._reader, self.writer = _FORKS.Pipe(duplex=False)
        self.text = ""

    def run(self) -> None:
        with self._reader, open(self._reader.fileno(), closefd=False) as pipe:
            self.text = pipe.read()


def _run(program: str, arguments: list[str], out: Connection, error: Connection) -> None:
    for number, pipe in ((1, out), (2, error)):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.argv = ["-c", *arguments]
    os.chdir(ROOT)
    sys.path.insert(0, "")
    warnings.simplefilter("error")
    exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})  # a test's own
