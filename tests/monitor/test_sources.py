"""Files and the demonstration stream."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import TypeAdapter

from monitor.clock import SystemClock
from monitor.config import DemoSettings, FileSettings, SourceSettings
from monitor.errors import CaptureError
from monitor.sources import KINDS, open_source
from monitor.sources.demo import PERIOD_SECONDS, SAMPLE_RATE, SCHEDULE, VOICES, DemoSource
from monitor.sources.file import FileSource
from ssondo_stream.types import AudioBlock
from tests.fakes import FakeClock

CONFIGURED: TypeAdapter[SourceSettings] = TypeAdapter(SourceSettings)


def file_source(path: Path, clock: FakeClock | None = None, **fields: object) -> FileSource:
    settings = {"name": "yard", "kind": "file", "path": path, "realtime": False, **fields}
    return FileSource(FileSettings.model_validate(settings), clock or SystemClock())


def demo_source(clock: FakeClock | None = None, **fields: object) -> DemoSource:
    settings = DemoSettings.model_validate({"name": "demo", "kind": "demo", "realtime": False, **fields})
    return DemoSource(settings, clock or SystemClock())


async def collect(blocks: AsyncGenerator[AudioBlock, None], samples: int | None = None) -> np.ndarray:
    """The audio of a source, whose blocks must be short and lie end to end."""
    heard, end = [], 0
    async for block in blocks:
        assert block.start == end
        heard.append(block.samples)
        end = block.end
        if samples is not None and end >= samples:
            break
    await blocks.aclose()
    return np.concatenate(heard)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_opened_from_its_settings(kind: str) -> None:
    needed = {"path": "x.wav", "url": "http://127.0.0.1/x", "sample_rate": 8000}
    fields = {"file": ["path"], "pipe": ["path", "sample_rate"], "stdin": ["sample_rate"], "network": ["url"]}
    settings = {"name": "yard", "kind": kind, **{key: needed[key] for key in fields.get(kind, [])}}
    assert open_source(CONFIGURED.validate_python(settings), FakeClock()).name == "yard"


@pytest.mark.parametrize("rate, channels, length", [(8_000, 1, 8_000), (192_000, 2, 96_000), (48_000, 12, 24_000)])
async def test_a_file_of_any_rate_and_width_is_heard_whole(
    rate: int, channels: int, length: int, tmp_path: Path
) -> None:
    frames = np.random.default_rng(0).uniform(-1, 1, (length, channels)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", frames, rate, subtype="FLOAT")
    source = file_source(tmp_path / "x.wav")
    np.testing.assert_allclose(await collect(source.blocks()), frames.mean(axis=1), atol=1e-6)
    assert source.sample_rate == rate
    picked = file_source(tmp_path / "x.wav", channel=channels - 1)
    np.testing.assert_array_equal(await collect(picked.blocks()), frames[:, -1])


async def test_a_file_of_one_sample_is_one_block(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.array([0.5]), 8_000)
    np.testing.assert_allclose(await collect(file_source(tmp_path / "x.wav").blocks()), [0.5])


async def test_values_that_are_no_sound_are_silent(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.array([0.5, np.nan, np.inf], np.float32), 8_000, subtype="FLOAT")
    np.testing.assert_array_equal(await collect(file_source(tmp_path / "x.wav").blocks()), [0.5, 0, 0])


def empty(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 8_000)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "not a file"),
        (lambda path: path.touch(), "cannot be read as sound"),
        (lambda path: path.write_bytes(b"RIFF but not really" * 9), "cannot be read as sound"),
        (empty, "holds no audio"),
    ],
)
async def test_a_file_that_cannot_be_heard_says_why_in_one_line(make: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    assert callable(make)
    make(path)
    with pytest.raises(CaptureError, match=words) as caught:
        await collect(file_source(path).blocks())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_channel_that_the_file_lacks_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros((10, 2)), 8_000)
    with pytest.raises(CaptureError, match=r"channel 2 .* only 2"):
        await collect(file_source(tmp_path / "x.wav", channel=2).blocks())


async def test_a_looped_file_goes_on_from_its_start_without_a_hole(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 1_000).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, 8_000, subtype="FLOAT")
    heard = await collect(file_source(tmp_path / "x.wav", loop=True).blocks(), samples=3_000)
    np.testing.assert_array_equal(heard[:3_000], np.tile(samples, 3))


async def test_real_time_gives_a_sample_no_sooner_than_it_was_heard(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(16_000), 8_000)
    clock = FakeClock()
    source, seen = file_source(tmp_path / "x.wav", clock, realtime=True), []

    async def hear() -> None:
        async for block in source.blocks():
            seen.append((block.end / 8_000, clock.monotonic()))

    task = asyncio.create_task(hear())
    await clock.advance(3)
    await task
    assert [heard for heard, _ in seen] == pytest.approx([now for _, now in seen])


async def test_the_demonstration_is_the_same_for_a_seed_and_another_for_another() -> None:
    first, again, other = [await collect(demo_source(seed=s).blocks(), 2 * SAMPLE_RATE) for s in (0, 0, 1)]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


async def test_the_demonstration_sounds_when_its_schedule_says_and_is_quiet_otherwise() -> None:
    heard = await collect(demo_source().blocks(), round(PERIOD_SECONDS * SAMPLE_RATE))

    def dbfs(start: float, stop: float) -> float:
        part = heard[round(start * SAMPLE_RATE) : round(stop * SAMPLE_RATE)]
        return float(10 * np.log10(np.mean(part**2)))

    for sound in SCHEDULE:
        end = sound.start_seconds + sound.duration_seconds
        assert -32 < dbfs(sound.start_seconds, end) < -10, sound
        assert -55 < dbfs(sound.start_seconds - 1.5, sound.start_seconds) < -45, sound
        assert -55 < dbfs(end, end + 1.5) < -45, sound
    assert np.abs(heard).max() < 1


def test_the_schedule_begins_soon_and_keeps_its_sounds_apart() -> None:
    assert SCHEDULE[0].start_seconds <= 6
    ends = [sound.start_seconds + sound.duration_seconds for sound in SCHEDULE]
    assert all(end + 2 <= sound.start_seconds for end, sound in zip(ends, SCHEDULE[1:], strict=False))
    assert ends[-1] + 2 <= PERIOD_SECONDS
    assert {sound.label for sound in SCHEDULE} == set(VOICES)


async def test_the_alarm_is_temporal_three() -> None:
    heard = await collect(demo_source().blocks(), 9 * SAMPLE_RATE)
    steps = np.array([np.sqrt(np.mean(part**2)) for part in np.split(heard[4 * SAMPLE_RATE : 8 * SAMPLE_RATE], 16)])
    on = steps > 0.02
    assert "".join("x" if step else "." for step in on) == "xx..xx..xx......"


async def test_the_demonstration_leaves_out_what_is_long_past() -> None:
    clock = FakeClock()
    blocks = demo_source(clock, realtime=True).blocks()

    async def hear() -> AudioBlock:
        hearing = asyncio.ensure_future(anext(blocks))
        await clock.advance(0.2)
        return await hearing

    first = await hear()
    await clock.advance(20)  # no more than a microphone's ring holds
    second = await hear()
    await clock.advance(60)
    third = await hear()
    assert second.start == first.end
    assert third.end / SAMPLE_RATE == pytest.approx(clock.monotonic(), abs=0.3)
