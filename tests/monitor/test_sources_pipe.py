"""Raw PCM through real pipes, from real programs."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path

import numpy as np
import pytest

from monitor.clock import SystemClock
from monitor.config import PipeSettings
from monitor.errors import CaptureError
from monitor.sources.pipe import PipeSource
from ssondo_stream.types import AudioBlock
from tests.parts import within
from tests.parts_audio import ear

VALUES = np.random.default_rng(0).uniform(-0.9, 0.9, 4_000)


def pipe_source(path: Path, **fields: object) -> PipeSource:
    settings = {"name": "yard", "kind": "pipe", "path": path, "sample_rate": 8_000, **fields}
    return PipeSource(PipeSettings.model_validate(settings), SystemClock())


def write_in_pieces(path: Path, data: bytes, size: int) -> None:
    with path.open("wb", buffering=0) as pipe:
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            while piece:
                piece = piece[pipe.write(piece) :]  # a write that is interrupted may take less


async def hear(source: PipeSource, path: Path, data: bytes, size: int = 1_000) -> np.ndarray:
    """What a source makes of data written by another thread, until the writer closes the pipe."""
    os.mkfifo(path)
    writing = asyncio.create_task(asyncio.to_thread(write_in_pieces, path, data, size))
    heard: list[np.ndarray] = []
    with pytest.raises(CaptureError, match="closed"):
        async with aclosing(source.blocks()) as blocks, within(10):
            async for block in blocks:
                assert block.start == sum(map(len, heard))
                heard.append(block.samples)
    await writing
    return np.concatenate(heard)


@pytest.mark.parametrize(
    "form, data",
    [
        ("s16le", (VALUES * 2**15).astype("<i2").tobytes()),
        ("s32le", (VALUES * 2**31).astype("<i4").tobytes()),
        ("f32le", VALUES.astype("<f4").tobytes()),
    ],
)
@pytest.mark.parametrize("size", [7, 1_000, 100_000])
async def test_pcm_of_every_format_is_heard_however_it_is_written(
    form: str, data: bytes, size: int, tmp_path: Path
) -> None:
    source = pipe_source(tmp_path / "pipe", format=form)
    np.testing.assert_allclose(await hear(source, tmp_path / "pipe", data, size), VALUES, atol=2**-15)


async def test_channels_of_a_pipe_are_mixed(tmp_path: Path) -> None:
    frames = np.repeat(VALUES.astype("<f4")[:, np.newaxis], 12, axis=1)
    frames[:, 3:] = 0
    source = pipe_source(tmp_path / "pipe", format="f32le", channels=12)
    np.testing.assert_allclose(await hear(source, tmp_path / "pipe", frames.tobytes()), VALUES / 4, atol=1e-6)


async def test_bytes_left_over_at_the_end_are_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = VALUES.astype("<f4").tobytes()[:-1]
    with caplog.at_level(logging.WARNING):
        heard = await hear(pipe_source(tmp_path / "pipe", format="f32le"), tmp_path / "pipe", data)
    assert len(heard) == len(VALUES) - 1
    (record,) = caplog.records
    fields = vars(record)["fields"]
    assert (record.levelname, fields["bytes"], fields["frame_bytes"]) == ("WARNING", 3, 4)


async def test_a_pipe_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"nowhere.*mkfifo"):
        await anext(pipe_source(tmp_path / "nowhere").blocks())


async def test_what_cannot_be_read_does_not_stay_open(tmp_path: Path) -> None:
    source = pipe_source(tmp_path)
    with pytest.raises(CaptureError, match="cannot read"):
        await anext(source.blocks())
    assert tmp_path not in open_files()


def open_files() -> set[Path]:
    """Of this process."""
    return {descriptor.resolve() for descriptor in Path("/proc/self/fd").iterdir()}


async def test_a_slow_reader_leaves_the_writer_waiting_and_loses_nothing(tmp_path: Path) -> None:
    data = np.arange(400_000, dtype="<f4").tobytes()
    os.mkfifo(tmp_path / "pipe")
    writing = asyncio.create_task(asyncio.to_thread(write_in_pieces, tmp_path / "pipe", data, 65_536))
    source = pipe_source(tmp_path / "pipe", format="f32le")
    async with aclosing(source.blocks()) as blocks:
        first = await anext(blocks)
        await asyncio.sleep(0.1)
        assert not writing.done()
        heard = [first.samples, *[block.samples async for block in _until_closed(blocks)]]
    await writing
    np.testing.assert_array_equal(np.concatenate(heard), np.arange(400_000))


async def _until_closed(blocks: AsyncGenerator[AudioBlock, None]) -> AsyncGenerator[AudioBlock, None]:
    try:
        async for block in blocks:
            yield block
    except CaptureError:
        return


def test_a_named_pipe_awaits_its_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = VALUES.astype("<f4").tobytes()
    settings = {"kind": "pipe", "path": str(path), "sample_rate": 8_000, "format": "f32le"}
    with ear(settings, tmp_path) as listening:
        for _ in range(2):
            path.write_bytes(data)
            listening.until(lambda told: "interruption" in told)
        listening.process.terminate()
    np.testing.assert_allclose(listening.samples(), np.tile(VALUES, 2), atol=1e-6)


async def test_a_writer_that_pauses_within_a_frame_lives_on_and_stays_aligned(tmp_path: Path) -> None:
    path, data = tmp_path / "pipe", VALUES.astype("<f4").tobytes()
    os.mkfifo(path)
    source, heard = pipe_source(path, format="f32le"), []
    blocks = source.blocks()
    first = asyncio.ensure_future(anext(blocks))
    await asyncio.sleep(0)
    with path.open("wb", buffering=0) as pipe:
        pipe.write(data[:7_001])
        heard.append((await first).samples)
        await blocks.aclose()  # as on a silence
        pipe.write(data[7_001:])
    with pytest.raises(CaptureError, match="closed"):
        async for block in source.blocks():
            heard.append(block.samples)
    np.testing.assert_array_equal(np.concatenate(heard), VALUES.astype("<f4"))


async def test_a_pipe_that_was_made_anew_is_found_after_a_silence(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    source = pipe_source(path, format="f32le")
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01), aclosing(source.blocks()) as blocks:
            await anext(blocks)
    path.unlink()
    with pytest.raises(CaptureError, match="mkfifo"):
        await anext(source.blocks())
    np.testing.assert_array_equal(await hear(source, path, VALUES.astype("<f4").tobytes()), VALUES.astype("<f4"))


def test_standard_input_from_a_program_is_heard_to_its_end(tmp_path: Path) -> None:
    settings = {"kind": "stdin", "sample_rate": 8_000, "format": "f32le"}
    with ear(settings, tmp_path, stdin=subprocess.PIPE) as listening:
        assert listening.process.stdin is not None
        listening.process.stdin.write(VALUES.astype("<f4").tobytes())
        listening.process.stdin.close()
        listening.until(lambda told: "ended" in told)
    np.testing.assert_allclose(listening.samples(), VALUES, atol=1e-6)


def test_standard_input_from_a_file_is_heard_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(VALUES.astype("<f4").tobytes())
    settings = {"kind": "stdin", "sample_rate": 8_000, "format": "f32le"}
    with (tmp_path / "x.raw").open("rb") as raw, ear(settings, tmp_path, stdin=raw.fileno()) as listening:
        listening.until(lambda told: "ended" in told)
    np.testing.assert_allclose(listening.samples(), VALUES, atol=1e-6)


def test_a_pause_on_standard_input_is_reported_and_what_follows_stays_aligned(tmp_path: Path) -> None:
    settings = {"kind": "stdin", "sample_rate": 8_000, "format": "f32le", "silence_seconds": 0.2}
    data = VALUES.astype("<f4").tobytes()
    with ear(settings, tmp_path, stdin=subprocess.PIPE) as listening:
        stdin = listening.process.stdin
        assert stdin is not None
        stdin.write(data[:7_001])
        stdin.flush()
        listening.until(lambda told: "interruption" in told)
        stdin.write(data[7_001:])
        stdin.close()
        listening.until(lambda told: "ended" in told)
    np.testing.assert_allclose(listening.samples(), VALUES, atol=1e-6)


def test_closed_standard_input_does_not_end_the_process(tmp_path: Path) -> None:
    settings = '{"name": "yard", "kind": "stdin", "sample_rate": 8000}'
    command = f"exec '{sys.executable}' -m tests.hear '{settings}' '{tmp_path}/x' <&-"
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
    assert b'"up": false' in line
