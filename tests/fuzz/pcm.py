"""Raw PCM through a named pipe: the first bytes choose its format, the others are what a program writes."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from monitor.clock import SystemClock
from monitor.config import PipeSettings
from monitor.errors import CaptureError
from monitor.sources.pipe import FORMATS, PipeSource
from ssondo_stream.mel import log_mel
from ssondo_stream.types import AudioBlock
from tests.fuzz import Case

_HEADER = 4
_RATES = (4_000, 8_000, 44_100, 384_000)


def seeds() -> list[bytes]:
    noise = np.random.default_rng(0).uniform(-1, 1, 1500)
    strange = np.array([np.nan, np.inf, -np.inf, 3e38, 1e-45, 0, -0.0], "<f4")
    return [
        bytes([0, 1, 2, 0]) + (noise * 32767).astype("<i2").tobytes(),
        bytes([1, 2, 1, 3]) + (noise * 2147483647).astype("<i4").tobytes(),
        bytes([2, 0, 0, 255]) + noise.astype("<f4").tobytes(),
        bytes([2, 7, 3, 128]) + np.tile(strange, 200).tobytes() + b"\x01",
        bytes([0, 0, 0, 0]),
    ]


@contextmanager
def opened() -> Iterator[Case]:
    """Gives a function that hears it: as many samples as frames were written, in order, all of them finite."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, asyncio.Runner() as runner:
        path = Path(folder) / "audio"
        os.mkfifo(path)

        def case(data: bytes) -> None:
            if len(data) < _HEADER:
                return
            settings, content = _settings(data[:_HEADER], path), data[_HEADER:]
            blocks = runner.get_loop().run_until_complete(_hear(settings, content))
            frame = settings.channels * int(FORMATS[settings.format][0][-1])
            assert [block.start for block in blocks] == [0, *(block.end for block in blocks)][: len(blocks)]
            assert sum(len(block.samples) for block in blocks) == len(content) // frame
            for block in blocks:
                assert np.isfinite(block.samples).all()
                assert np.isfinite(log_mel(np.resize(block.samples, 2048))).all()

        yield case


def _settings(header: bytes, path: Path) -> PipeSettings:
    return PipeSettings(
        kind="pipe",
        name="pipe",
        path=path,
        sample_rate=_RATES[header[2] % len(_RATES)],
        channels=header[1] % 8 + 1,
        format=tuple(FORMATS)[header[0] % len(FORMATS)],  # type: ignore[arg-type]  # of the table
        gain_db=header[3] * 240 / 255 - 120,
    )


async def _hear(settings: PipeSettings, content: bytes) -> list[AudioBlock]:
    assert settings.path
    writer = os.open(settings.path, os.O_RDWR | os.O_NONBLOCK)
    task = asyncio.create_task(_collect(PipeSource(settings, SystemClock())))
    assert os.write(writer, content) == len(content)
    await asyncio.sleep(0)  # it opens the pipe
    os.close(writer)
    return await task


async def _collect(source: PipeSource) -> list[AudioBlock]:
    blocks = []
    try:
        async for block in source.blocks():
            blocks.append(block)
    except CaptureError:
        return blocks
    raise AssertionError("a named pipe waits for another writer")
