"""Runs one target at length: `python -m tests.fuzz sound_file --cases 100000`.

With atheris, which learns from coverage what to try next; what it finds interesting is kept in `build/fuzz`. It ends
with a line of counts, and fails on an exception or a case over 20 s.

With `--memory` it damages what was found at random, and fails on memory that grows too. That needs a plain process,
because atheris keeps every array that instrumented code compares; and it counts what is allocated, not what is
resident, which wanders with the heap's holes.
"""

import argparse
import ctypes
import gc
import importlib
import os
import random
import resource
import sys
import time
from pathlib import Path
from statistics import median
from types import ModuleType

from tests.fuzz import PIECES, TARGETS, Case, damaged

FOLDER = Path("build/fuzz")
INSTRUMENTED = ["monitor", "ssondo_stream", "tomllib", "json", "aiohttp", "aiomqtt", "paho"]
LONGEST = 8192  # bytes of an input
SLOWEST = 20.0  # seconds for a case
GROWTH_MB = 5.0  # libsndfile loses some 40 bytes for a damaged Ogg file


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz one target.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--memory", action="store_true", help="watch memory, without coverage")
    given = parser.parse_args()
    if given.memory and os.environ.get("PYTHONMALLOC") != "malloc":  # of which alone allocations can be counted
        command = [sys.executable, "-m", "tests.fuzz", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONMALLOC": "malloc"})
    run = watch_memory if given.memory else follow_coverage
    run(given.target, given.cases)


def follow_coverage(name: str, cases: int) -> None:
    """Let atheris choose the inputs. It ends the process."""
    import atheris  # noqa: PLC0415  # an extra, and it takes over the process

    with atheris.instrument_imports(include=INSTRUMENTED):
        target = importlib.import_module(f"tests.fuzz.{name}")
    corpus = _corpus(name, target)
    with target.opened() as case:
        limits = [f"-timeout={SLOWEST:.0f}", "-rss_limit_mb=4096", f"-max_len={LONGEST}", "-verbosity=0"]
        atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={corpus}-crash-", *limits], Run(name, case, cases))
        atheris.Fuzz()


def watch_memory(name: str, cases: int) -> None:
    """Damage the corpus at random, the same way each time. It ends the process."""
    target = importlib.import_module(f"tests.fuzz.{name}")
    inputs = [path.read_bytes() for path in sorted(_corpus(name, target).iterdir())]
    dice = random.Random(0)
    with target.opened() as case:
        run = Run(name, case, cases, memory=True)
        while True:
            edits = [
                (dice.random() ** 2, dice.randrange(12), dice.choice((dice.randbytes(4), *PIECES)))
                for _ in range(dice.randrange(5))
            ]
            data = damaged(dice.choice(inputs), edits)[:LONGEST]
            try:
                run(data)
            except BaseException:
                (FOLDER / f"{name}-crash").write_bytes(data)
                raise


def _corpus(name: str, target: ModuleType) -> Path:
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (folder / f"seed-{number}").write_bytes(seed)
    return folder


class Run:
    """Counts cases and watches them; ends the process after so many."""

    def __init__(self, name: str, case: Case, cases: int, *, memory: bool = False) -> None:
        self._name, self._case, self._cases, self._memory = name, case, cases, memory
        self._done, self._slowest, self._began = 0, 0.0, time.monotonic()
        self._resident: list[float] = []
        self._allocated: list[float] = []

    def __call__(self, data: bytes) -> None:
        began = time.monotonic()
        self._case(data)
        self._slowest = max(self._slowest, time.monotonic() - began)
        self._done += 1
        if self._done % max(1, self._cases // 100) == 0:
            self._resident.append(resident_mb())
            self._allocated.append(allocated_mb())
        if self._done == self._cases:
            self._end()

    def _end(self) -> None:
        resident, allocated = _growth(self._resident), _growth(self._allocated)
        how = f"allocated {allocated:+.2f} MB, resident {resident:+.1f} MB since the first tenth"
        sys.stdout.write(
            f"{self._name}: {self._done} cases in {time.monotonic() - self._began:.0f} s, "
            f"slowest {self._slowest:.2f} s, resident {self._resident[-1]:.0f} MB"
            f"{', ' + how if self._memory else ''}\n"
        )
        sys.stdout.flush()
        os._exit(int(self._slowest > SLOWEST or (self._memory and allocated > GROWTH_MB)))


def _growth(samples: list[float]) -> float:
    return median(samples[-10:]) - median(samples[10:20])


class _Allocations(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _names = ("arena", "ordblks", "smblks", "hblks", "mapped", "usmblks", "fsmblks", "used", "fordblks", "keepcost")
    _fields_ = [(name, ctypes.c_size_t) for name in _names]


def allocated_mb() -> float:
    """What malloc has given and not got back."""
    gc.collect()
    mallinfo2 = ctypes.CDLL("libc.so.6").mallinfo2
    mallinfo2.restype = _Allocations
    found = mallinfo2()
    return float(found.used + found.mapped) / 1e6


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


main()
