"""A sound file: its bytes, header and all, heard by the pipeline as `replay` and the source of kind `file` do."""

import asyncio
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from monitor.clock import SystemClock
from monitor.config import DetectionSettings, FileSettings
from monitor.errors import CaptureError
from monitor.pipeline import Pipeline
from monitor.sources.file import FileSource
from tests.fakes import LoudnessStudent
from tests.fuzz import Case

_KINDS = [
    *(("WAV", subtype) for subtype in ("PCM_16", "PCM_24", "FLOAT", "MS_ADPCM", "ULAW")),
    *(
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("AIFF", "PCM_16"),
        ("W64", "DOUBLE"),
        ("RF64", "PCM_16"),
    ),
]
_LONGEST = 384_000 * 60


def seeds() -> list[bytes]:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (1200, 2))
    return [_encoded(sound[:, :channels], *kind) for kind in _KINDS for channels in (1, 2)]


def _encoded(sound: np.ndarray, kind: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, 16_000, format=kind, subtype=subtype)
    return file.getvalue()


@contextmanager
def opened() -> Iterator[Case]:
    """Gives a function that hears it: blocks in order and finite, in bounded memory, or a `CaptureError`."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, asyncio.Runner() as runner:
        path = Path(folder) / "sound"
        settings = FileSettings(kind="file", name="file", path=path, realtime=False)

        def case(data: bytes) -> None:
            path.write_bytes(data)
            runner.get_loop().run_until_complete(_hear(FileSource(settings, SystemClock())))

        yield case


async def _hear(source: FileSource) -> None:
    pipeline: Pipeline | None = None
    heard = 0
    try:
        async for block in source.blocks():
            assert block.start == heard
            assert 0 < len(block.samples) <= source.sample_rate // 2
            assert np.isfinite(block.samples).all()
            heard = block.end
            pipeline = pipeline or Pipeline(LoudnessStudent(), source.sample_rate, DetectionSettings())
            pipeline.push(block)
            if heard > _LONGEST:
                return
    except CaptureError as error:
        assert str(source._settings.path) in str(error), "an error names the file"
    if pipeline:
        pipeline.close()
