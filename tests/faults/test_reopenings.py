"""Sources that are opened again and again, for years: neither memory nor descriptors nor threads may grow."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping

import pytest

from tests.faults.reopening import EVERY
from tests.parts import PATIENCE, free_port
from tests.parts_audio import ROOT, Pulse, pulse, rtsp_tone, wait_until

__all__ = ["pulse"]

TIMES = [60, pytest.param(1000, marks=pytest.mark.soak)]
WARM_UP = 3  # tens of openings
GROWN_MB = 2.0


def _reopen(settings: Mapping[str, object], times: int, environment: Mapping[str, str]) -> list[dict[str, float]]:
    command = [sys.executable, "-m", "tests.faults.reopening", json.dumps({"name": "yard", **settings}), str(times)]
    limit = PATIENCE * (2.0 * times + 60)
    done = subprocess.run(
        command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, timeout=limit, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _assert_flat(told: list[dict[str, float]]) -> None:
    """Memory by its least and not its last: what grows for good never comes back."""
    warm, rest = told[WARM_UP - 1], told[WARM_UP:]
    assert min(found["rss_mb"] for found in rest[-2:]) - warm["rss_mb"] < GROWN_MB, told
    assert min(found["files"] for found in rest[-2:]) <= warm["files"], told
    assert min(found["threads"] for found in rest[-2:]) <= warm["threads"] + 1, told


@pytest.mark.parametrize("times", TIMES)
def test_a_microphone_that_is_reopened_takes_no_more_memory(times: int, pulse: Pulse) -> None:
    settings = {"kind": "microphone", "device": "pulse", "sample_rate": 32_000}
    told = _reopen(settings, times, pulse.environment)
    assert told[-1]["heard"] == times, told
    _assert_flat(told)


@pytest.mark.parametrize("times", [300, pytest.param(10_000, marks=pytest.mark.soak)])
def test_a_microphone_that_stays_away_takes_no_more_memory(times: int, pulse: Pulse) -> None:
    pulse.stop()
    told = _reopen({"kind": "microphone", "device": "pulse"}, times, pulse.environment)
    assert (told[-1]["heard"], len(told)) == (0, times // EVERY)
    _assert_flat(told)


@pytest.mark.parametrize("times", TIMES)
def test_a_stream_that_is_reopened_takes_no_more_memory(times: int) -> None:
    port = free_port()
    with rtsp_tone(port):
        wait_until(lambda: _answers(port))
        told = _reopen({"kind": "network", "url": f"rtsp://127.0.0.1:{port}/tone"}, times, os.environ)
    assert told[-1]["heard"] == times, told
    _assert_flat(told)
