"""One source's analysis on the worker thread: its pipeline and its level meter, one call at a time.

The loop computes nothing: ending what is open runs the network too, which takes seconds where a student is too slow.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from monitor.detection import Detection
from monitor.level import Level, LevelMeter
from monitor.pipeline import Pipeline
from ssondo_stream.types import AudioBlock


class Analysis:
    """State is the pipeline for the present sample rate, its meter, and the call that the worker has.

    A caller that is cancelled leaves its call under way; `collect` gives what came of it.
    """

    def __init__(self, worker: Executor, make: Callable[[int], tuple[Pipeline, LevelMeter]]) -> None:
        """Make pipelines and meters by sample rate, and run them in the worker."""
        self._worker = worker
        self._make = make
        self._parts: tuple[Pipeline, LevelMeter] | None = None
        self._call: asyncio.Future[list[Detection]] | None = None

    async def push(self, block: AudioBlock, sample_rate: int) -> list[Detection]:
        """Take the next block, in Hz of `sample_rate`; another rate than before ends what is open first."""
        detections: list[Detection] = []
        if self._parts is None or self._parts[0].sample_rate != sample_rate:
            detections = await self.close()
            self._parts = self._make(sample_rate)
        pipeline, meter = self._parts

        def analyze() -> list[Detection]:
            meter.push(block.samples)
            return pipeline.push(block)

        return detections + await self._run(analyze)

    async def close(self) -> list[Detection]:
        """Analyse what is left and end what is open."""
        return await self._run(self._parts[0].close) if self._parts else []

    async def collect(self) -> list[Detection]:
        """What came of the call under way, none if there is no such call."""
        if self._call is None:
            return []
        try:
            detections = await asyncio.shield(self._call)
        except Exception:
            self._call = None
            raise
        self._call = None
        return detections

    def level(self) -> Level | None:
        """The level since the last call, if there was audio."""
        return self._parts[1].read() if self._parts else None

    async def _run(self, function: Callable[[], list[Detection]]) -> list[Detection]:
        self._call = asyncio.get_running_loop().run_in_executor(self._worker, function)
        return await self.collect()
