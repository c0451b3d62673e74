"""`make soak`: run it and print the verdict; exits with 1 if something did not hold."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from tests.bench.rows import table
from tests.soak.report import rows, write
from tests.soak.run import Plan, soak


def main() -> int:
    """Run a soak as told."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="of audio, of each source (default: %(default)g)")
    parser.add_argument("--speed", type=float, default=30.0, help="times real time, at most (default: %(default)g)")
    parser.add_argument("--sources", type=int, default=3, help="(default: %(default)d)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults (default: %(default)d)")
    parser.add_argument(
        "--pause", type=float, default=240.0, help="most seconds of audio between faults (default: %(default)g)"
    )
    parser.add_argument("--out", type=Path, default=Path("build/soak"), help="folder (default: %(default)s)")
    given = parser.parse_args()
    plan = Plan(given.hours, given.speed, given.sources, given.seed, given.pause, given.out)
    if plan.folder.exists() and any(plan.folder.iterdir()):
        parser.error(f"{plan.folder} is not empty; give another with --out, or remove it")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends its programs too
    world = asyncio.run(soak(plan))
    found = rows(world, plan)
    write(world, plan, found, plan.folder)
    sys.stdout.write(table(found) + "\n")
    return 0 if all(row.met for row in found) else 1


sys.exit(main())
