"""A program for tests: listens to one source with a Listener and tells what happens, a JSON object a line.

The sound system reads its environment once per process, so a test that sets up its own needs a process of its own.
Usage: python -m tests.hear SETTINGS_JSON SAMPLES_FILE
"""

import asyncio
import json
import signal
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter

from monitor.clock import SystemClock
from monitor.config import SourceSettings
from monitor.listening import Interruption, Listener

SETTINGS: TypeAdapter[SourceSettings] = TypeAdapter(SourceSettings)


def tell(**fields: object) -> None:
    sys.stdout.write(json.dumps({"at": time.monotonic(), **fields}) + "\n")
    sys.stdout.flush()


class Teller:
    def captured(self, seconds: float) -> None:
        pass

    def gap(self, seconds: float, reason: str) -> None:
        tell(gap=seconds, reason=reason)

    def retried(self) -> None:
        pass

    def restarted(self) -> None:
        tell(restarted=True)

    def state(self, up: bool, flat: bool, detail: str) -> None:
        tell(up=up, flat=flat, detail=detail)


async def hear(settings: SourceSettings, samples: BinaryIO) -> None:
    listener = Listener(settings, SystemClock(), Teller())
    async with aclosing(listener.blocks()) as blocks:
        async for item in blocks:
            if isinstance(item, Interruption):
                tell(interruption=item.reason)
            else:
                samples.write(item.samples.tobytes())
                samples.flush()
                tell(start=item.start, samples=len(item.samples), rate=listener.sample_rate)
    tell(ended=True)


async def main(settings: SourceSettings, samples: BinaryIO) -> None:
    task = asyncio.create_task(hear(settings, samples))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.wait([task])


if __name__ == "__main__":
    with Path(sys.argv[2]).open("wb") as output:
        asyncio.run(main(SETTINGS.validate_json(sys.argv[1]), output))
