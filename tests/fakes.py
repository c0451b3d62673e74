"""Parts that tests pass in instead of the world."""

import asyncio
import heapq
import itertools

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import Label, StudentSpec
from ssondo_stream.types import Frames, Inference
from ssondo_stream.windowed import WindowedStream


class FakeClock:
    """A clock that moves only when told: `advance` wakes the sleepers whose time has come, in order."""

    def __init__(self, wall: float = 1_800_000_000.0) -> None:
        self._now = 0.0
        self._wall = wall
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._wall + self._now

    def step_wall(self, seconds: float) -> None:
        """Step the wall clock alone, as an operator or NTP does."""
        self._wall += seconds

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + max(0.0, seconds), next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let virtual time pass; every sleeper runs until it sleeps again before time goes on."""
        end = self._now + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            when, _, future = heapq.heappop(self._sleepers)
            self._now = max(self._now, when)
            if not future.done():
                future.set_result(None)
            await _settle()
        self._now = end
        await _settle()


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class LoudnessStudent:
    """A student that hears loudness: the logits of a column follow the mean mel of its own frames alone.

    Its labels are the low and the high half of the spectrum.
    """

    def __init__(self, name: str = "loudness") -> None:
        labels = (Label("Low sound", hold_seconds=0.0), Label("High sound", hold_seconds=0.0))
        self.spec = StudentSpec(name=name, labels=labels, embedding_dim=2)

    def infer(self, frames: Frames) -> Inference:
        step = self.spec.column_frames
        columns = []
        for centre in range(0, step * self.spec.columns_in(len(frames)), step):
            own = frames[max(0, centre - step // 2) : centre + step // 2]
            columns.append([own[:, :64].mean() + 4, own[:, 64:].mean() + 4])
        logits = 3 * np.array(columns, np.float32)
        return Inference(logits, logits.mean(axis=0))

    def verify(self, frames: Frames) -> NDArray[np.float32]:
        return np.zeros(len(self.spec.labels), np.float32)

    def stream(self, hop_columns: int = 1) -> WindowedStream:
        return WindowedStream(self.spec, self.infer, hop_columns)
