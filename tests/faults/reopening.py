"""A program for tests: opens a source again and again, and prints memory, descriptors and threads as it goes.

Usage: python -m tests.faults.reopening SETTINGS TIMES
"""

import asyncio
import json
import os
import sys
from contextlib import aclosing

import psutil

from monitor.clock import SystemClock
from monitor.config import SourceSettings
from monitor.errors import CaptureError
from monitor.memory import give_back_what_is_freed
from monitor.sources import AudioSource, open_source
from tests.hear import SETTINGS

EVERY = 10
BLOCKS = 3


async def _open_once(source: AudioSource) -> bool:
    """Whether a few blocks were heard."""
    heard = 0
    try:
        async with aclosing(source.blocks()) as blocks:
            async for _ in blocks:
                heard += 1
                if heard == BLOCKS:
                    return True
    except CaptureError:
        pass
    return False


async def main(settings: SourceSettings, times: int) -> None:
    source, process, heard = open_source(settings, SystemClock()), psutil.Process(), 0
    for number in range(1, times + 1):
        heard += await _open_once(source)
        if number % EVERY == 0:
            rss = process.memory_info().rss / 1e6
            told = {"heard": heard, "rss_mb": rss, "files": process.num_fds(), "threads": process.num_threads()}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    give_back_what_is_freed()
    asyncio.run(main(SETTINGS.validate_json(sys.argv[1]), int(sys.argv[2])))
    os._exit(0)
