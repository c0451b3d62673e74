"""The service with a real sound server and a real stream that fail, beside a source that must not notice."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.faults.parts_sources import UNDER_WAY, assert_accounted
from tests.parts import free_port, promised, require
from tests.parts_audio import Pulse, http_tone, pulse
from tests.parts_audio import running as program
from tests.parts_mqtt import Mosquitto, subscriber
from tests.parts_scene import RATE, alarm_scene
from tests.parts_service import Service, running

__all__ = ["pulse"]

DEMO = '[[source]]\nname = "demo"\nkind = "demo"\n'
MICROPHONE = f'[[source]]\nname = "yard"\nkind = "microphone"\ndevice = "pulse"\nsample_rate = {RATE}\n'
QUIET = "[mqtt]\nenabled = false\n"


def to_broker(port: int) -> str:
    return f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'


def seconds(found: dict[str, float], kind: str, source: str) -> float:
    return found[f'ssondo_audio_{kind}_seconds_total{{source="{source}"}}']


def gaps(found: dict[str, float], source: str) -> float:
    return sum(found[name] for name in found if name.startswith("ssondo_audio_gap") and f'"{source}"' in name)


def down(service: Service) -> bool:
    return service.metrics()['ssondo_source_up{source="yard"}'] == 0


def troubled(service: Service) -> bool:
    return "source yard" in service.get("/ready")[1]


def trusted(service: Service) -> bool:
    return not troubled(service)


@contextmanager
def undisturbed(service: Service, source: str = "demo") -> Iterator[None]:
    """Whatever happens meanwhile, another source is analysed without a gap, and the account of both is right."""
    before, begun = service.metrics(), time.monotonic()
    yield
    after, passed = service.metrics(), time.monotonic() - begun
    assert gaps(after, source) == 0
    for name in (source, "yard"):
        captured = seconds(after, "captured", name) - seconds(before, "captured", name)
        assert abs(captured - passed) <= 0.001 * passed + UNDER_WAY, f"{name}: {captured=} in {passed=}"
        assert_accounted(after, name)


@contextmanager
def playing(pulse: Pulse, folder: Path) -> Iterator[None]:
    """Something is to be heard, for as long as the block or the device lasts."""
    sound = alarm_scene(before=0.5, cycles=10)
    soundfile.write(folder / "played.wav", sound, RATE, subtype="FLOAT")
    with subprocess.Popen(
        [require("paplay"), str(folder / "played.wav")], env=pulse.environment, stderr=subprocess.DEVNULL
    ) as player:
        try:
            yield
        finally:
            player.kill()


async def test_a_microphone_that_is_absent_unplugged_and_loses_its_server_disturbs_nothing_else(
    pulse: Pulse, tmp_path: Path
) -> None:
    pulse.stop()
    async with Mosquitto(tmp_path / "broker") as broker, subscriber(broker.port) as inbox:
        config, availability = DEMO + MICROPHONE + to_broker(broker.port), "ssondo/test/yard/availability"
        with running(tmp_path / "s", config, environ=pulse.environment) as service:
            await inbox.see("ssondo/test/demo/availability", b"online", 20)
            assert down(service)
            with undisturbed(service):
                await asyncio.to_thread(pulse.start)
                with promised(15):
                    await inbox.see(availability, b"online", 15)
                with playing(pulse, tmp_path):
                    await inbox.see("ssondo/test/yard/label/smoke_alarm", b"ON", 20)
                    pulse.unplug()
                await inbox.see("ssondo/test/yard/label/smoke_alarm", b"OFF")
                await inbox.see(availability, b"offline")
                pulse.plug_in()
                with promised(15):
                    await inbox.see(availability, b"online", 15)
                pulse.stop()
                await inbox.see(availability, b"offline")
                await asyncio.to_thread(pulse.start)
                with promised(15):
                    await inbox.see(availability, b"online", 15)
            assert await asyncio.to_thread(service.stop) == 0
        told = [json.loads(payload) for payload in inbox.on("ssondo/test/yard/event")]
        alarms = [event["event_type"] for event in told if event["slug"] == "smoke_alarm"]
        assert alarms == ["started", "ended"]


def test_a_microphone_that_is_muted_and_whose_server_hangs_holds_up_neither_others_nor_the_end(
    pulse: Pulse, tmp_path: Path
) -> None:
    config = DEMO + MICROPHONE + "flatline_seconds = 2\nsilence_seconds = 1.5\n" + QUIET
    with running(tmp_path / "s", config, environ=pulse.environment) as service:
        service.wait(lambda s: s.metrics()['ssondo_source_flatline{source="yard"}'] == 1, "a flat signal")
        service.wait(lambda s: "the signal is flat" in s.get("/ready")[1], "being not ready")
        service.wait(lambda s: seconds(s.metrics(), "analyzed", "demo") > 0, "the other source")
        with undisturbed(service):
            pulse.signal(signal.SIGSTOP)
            with promised(10):
                service.wait(down, "noticing that the server hangs", 10)
            assert troubled(service)
            with promised(2):
                service.get("/metrics")
            pulse.signal(signal.SIGCONT)
            with promised(20):
                service.wait(lambda s: not down(s), "the server's return", 20)
        pulse.signal(signal.SIGSTOP)
        with promised(10):
            service.wait(down, "noticing it again", 10)
        with promised(5):
            assert service.stop() == 0


def test_a_stream_that_stalls_and_returns_in_another_format_disturbs_nothing_else(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/tone"
    stream = f'[[source]]\nname = "yard"\nkind = "network"\nurl = "{url}"\nread_seconds = 1\nsilence_seconds = 1.5\n'
    tone = ("-v", "error", "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=16000", "-ac", "2")
    # as they come, Ogg's pages are a second apart: as long as a stream may say nothing
    pages = ("-c:a", "flac", "-f", "ogg", "-page_duration", "100000")
    other = (require("ffmpeg"), *tone, *pages, "-listen", "1", url)
    with running(tmp_path / "s", DEMO + stream + QUIET) as service:
        service.wait(lambda s: seconds(s.metrics(), "analyzed", "demo") > 0, "the other source")
        with http_tone(port) as server:
            service.wait(trusted, "the stream")
            with undisturbed(service):
                server.send_signal(signal.SIGSTOP)
                with promised(10):
                    service.wait(down, "the loss of the stream", 10)
                server.kill()
                with program(*other):
                    service.wait(trusted, "the stream in another format")
        with promised(10):
            service.wait(down, "its end", 10)
        service.wait(lambda s: s.metrics()['ssondo_source_restarts_total{source="yard"}'] == 1, "one restart")


@pytest.mark.parametrize("stopped", [4.0, pytest.param(60.0, marks=pytest.mark.soak)])
def test_a_process_that_is_starved_and_stopped_catches_up_and_counts_what_it_missed(
    stopped: float, pulse: Pulse, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.003, 200 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", noise, RATE, subtype="FLOAT")
    with (
        running(tmp_path / "s", MICROPHONE + QUIET, environ=pulse.environment) as service,
        program("env", f"PULSE_SERVER={pulse.environment['PULSE_SERVER']}", "paplay", str(tmp_path / "noise.wav")),
    ):
        service.wait(Service.ready, "readiness")
        before, begun = service.metrics(), time.monotonic()
        for stands, runs in [*[(0.45, 0.05)] * 4, (stopped, 0.0)]:
            service.process.send_signal(signal.SIGSTOP)
            time.sleep(stands)
            service.process.send_signal(signal.SIGCONT)
            time.sleep(runs)

        def behind(found: dict[str, float]) -> float:
            heard = seconds(found, "captured", "yard") - seconds(before, "captured", "yard")
            return abs(time.monotonic() - begun - heard)

        with promised(20):
            service.wait(lambda s: Service.ready(s) and behind(s.metrics()) < UNDER_WAY, "catching up", 20)
        found = service.metrics()
    assert gaps(found, "yard") < stopped + 5
    assert_accounted(found, "yard")
