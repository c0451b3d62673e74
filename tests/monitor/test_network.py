"""Streams from real servers on loopback, that end, stall and change."""

import signal
from pathlib import Path

import pytest

from tests.parts import free_port
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
            listening.until(lambda told: "interruption" in told, seconds=5)
        with server(port):
            listening.until(lambda told: told.get("up"), seconds=15)
            listening.blocks(0.5)
