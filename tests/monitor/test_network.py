"""Streams from real servers on loopback, that end, stall and change."""

import signal
import subprocess
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.clock import SystemClock
from monitor.config import NetworkSettings
from monitor.errors import CaptureError
from monitor.sources.network import NetworkSource, redact
from tests.parts import PATIENCE, free_port, promised, require, within
from tests.parts_audio import ear, http_tone, pitch, rtsp_tone


def settings(url: str) -> dict[str, object]:
    return {"kind": "network", "url": url, "open_seconds": 2.0, "read_seconds": 1.0, "silence_seconds": 2.0}


def test_an_rtsp_stream_is_heard_at_its_own_rate(tmp_path: Path) -> None:
    port = free_port()
    with rtsp_tone(port), ear(settings(f"rtsp://127.0.0.1:{port}/tone"), tmp_path) as listening:
        rate = listening.blocks(2.0)[-1]["rate"]
    assert rate == 16_000
    assert pitch(listening.samples()[-16_000:], rate) == pytest.approx(440, abs=2)


def test_an_http_stream_is_heard_at_its_own_rate(tmp_path: Path) -> None:
    port = free_port()
    with http_tone(port), ear(settings(f"http://127.0.0.1:{port}/tone"), tmp_path) as listening:
        rate = listening.blocks(2.0)[-1]["rate"]
    assert rate == 44_100
    assert pitch(listening.samples()[-44_100:], rate) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("server, scheme", [(rtsp_tone, "rtsp"), (http_tone, "http")])
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_dies_or_stalls_is_reported_and_heard_again_when_another_serves(
    server: type, scheme: str, fault: signal.Signals, tmp_path: Path
) -> None:
    port = free_port()
    with ear(settings(f"{scheme}://127.0.0.1:{port}/tone"), tmp_path) as listening:
        with server(port) as process:
            listening.blocks(1.0)
            process.send_signal(fault)
            with promised(10):
                listening.until(lambda told: "interruption" in told, seconds=10)
        with server(port):
            with promised(15):
                listening.until(lambda told: told.get("up"), seconds=15)
            listening.blocks(0.5)


def test_an_rtsp_stream_that_returns_in_another_format_is_heard_at_its_new_rate(tmp_path: Path) -> None:
    port = free_port()
    with ear(settings(f"rtsp://127.0.0.1:{port}/tone"), tmp_path) as listening:
        with rtsp_tone(port) as process:
            listening.blocks(1.0)
            process.kill()
            with promised(10):
                listening.until(lambda told: "interruption" in told, seconds=10)
        with rtsp_tone(port, rate=48_000, channels=2):
            with promised(15):
                listening.until(lambda told: told.get("up"), seconds=15)
            rate = listening.blocks(2.0)[-1]["rate"]
    assert rate == 48_000
    assert pitch(listening.samples()[-48_000:], rate) == pytest.approx(440, abs=2)


async def failure_of(url: str) -> CaptureError:
    """Why a stream cannot be heard, or ended."""
    source = NetworkSource(NetworkSettings.model_validate({"name": "yard", **settings(url)}), SystemClock())
    with pytest.raises(CaptureError) as caught:
        async with within(10):
            async for _ in source.blocks():
                pass
    return caught.value


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
async def test_secrets_in_an_address_are_never_repeated(scheme: str) -> None:
    port = free_port()
    error = await failure_of(f"{scheme}://user:geheim@127.0.0.1:{port}/tone?token=geheim")
    assert f"127.0.0.1:{port}" in str(error)
    assert "geheim" not in "".join(traceback.format_exception(error))
    assert "user" not in str(error)


@pytest.mark.parametrize(
    "url, expected",
    [
        ("http://host/a", "http://host"),
        ("rtsp://me:pw@host:554/a?key=1#x", "rtsp://host:554"),
        ("rtsp://host/user=me&password=pw/live", "rtsp://host"),
        ("http://me:p@w@host/", "http://host"),
        ("http://me:p/w@host/", "an address that cannot be read"),
        ("http://me:1234/w@host/", "http://…"),
        ("http://me:p?w@host/", "an address that cannot be read"),
        ("http://[::1]:80/a", "http://[::1]:80"),
        ("http://me:pw[@host/", "an address that cannot be read"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(url: str, expected: str) -> None:
    assert redact(url) == expected


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """An HTTP server over the files of a folder; gives its address."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def mp3(path: Path, rate: int, channels: int) -> bytes:
    tone = f"sine=frequency=440:sample_rate={rate}:duration=3"
    options = ["-ac", str(channels), "-write_xing", "0", "-id3v2_version", "0", str(path)]
    subprocess.run(
        [require("ffmpeg"), "-v", "error", "-f", "lavfi", "-i", tone, *options], check=True, timeout=PATIENCE * 30
    )
    return path.read_bytes()


async def test_a_stream_whose_format_changes_goes_on_at_the_first_rate(tmp_path: Path) -> None:
    (tmp_path / "both.mp3").write_bytes(mp3(tmp_path / "a.mp3", 44_100, 2) + mp3(tmp_path / "b.mp3", 32_000, 1))
    heard: list[np.ndarray] = []
    with serving(tmp_path) as address:
        fields = {"name": "yard", **settings(f"{address}/both.mp3")}
        source = NetworkSource(NetworkSettings.model_validate(fields), SystemClock())
        with pytest.raises(CaptureError, match="ended"):
            async for block in source.blocks():
                heard.append(block.samples)
    samples = np.concatenate(heard)
    assert source.sample_rate == 44_100
    assert len(samples) / 44_100 == pytest.approx(6, abs=0.2)
    for part in (samples[44_100:88_200], samples[-88_200:-44_100]):
        assert pitch(part, 44_100) == pytest.approx(440, abs=2)


async def test_a_recording_longer_than_the_ring_is_heard_whole_at_any_speed(tmp_path: Path) -> None:
    samples = np.arange(90 * 8_000, dtype=np.float32) / 2**20
    soundfile.write(tmp_path / "long.wav", samples, 8_000, subtype="FLOAT")
    heard: list[np.ndarray] = []
    with serving(tmp_path) as address:
        fields = {"name": "yard", **settings(f"{address}/long.wav")}
        source = NetworkSource(NetworkSettings.model_validate(fields), SystemClock())
        with pytest.raises(CaptureError, match="ended"):
            async for block in source.blocks():
                assert block.start == sum(map(len, heard))
                heard.append(block.samples)
    np.testing.assert_array_equal(np.concatenate(heard), samples)


@pytest.mark.parametrize("content", [b"<html>no sound</html>", b""])
async def test_what_is_no_audio_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(content)
    with serving(tmp_path) as address:
        error = await failure_of(f"{address}/page")
    assert f"{address}: " in str(error)
    assert "\n" not in str(error)


async def test_a_page_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path) as address:
        error = await failure_of(f"{address}/nowhere")
    assert "404" in str(error)
