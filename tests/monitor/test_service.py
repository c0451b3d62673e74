"""The whole service as users start it, with real sound and a real broker."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.sources.devices import has_microphone
from tests.parts import PATIENCE, free_port, promised
from tests.parts_audio import Pulse, pulse, rtsp_tone
from tests.parts_mqtt import Mosquitto
from tests.parts_onnx import tiny_bundle
from tests.parts_scene import RATE, alarm_scene
from tests.parts_schema import checked_subscriber as subscriber
from tests.parts_service import Service, running

__all__ = ["pulse"]


def to_broker(port: int) -> str:
    return f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\nretry_max_seconds = 1\n'


def events(payloads: list[bytes]) -> list[dict[str, object]]:
    return [json.loads(payload) for payload in payloads]


async def test_alarm_into_a_microphone_comes_out_of_the_broker(pulse: Pulse, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "alarm.wav", alarm_scene(), RATE, subtype="FLOAT")
    microphone = f'[[source]]\nname = "yard"\nkind = "microphone"\ndevice = "pulse"\nsample_rate = {RATE}\n'
    async with Mosquitto(tmp_path / "broker") as broker, subscriber(broker.port) as inbox:
        with running(tmp_path / "s", microphone + to_broker(broker.port), environ=pulse.environment) as service:
            await inbox.see("ssondo/test/yard/availability", b"online", 20)
            played = time.time()
            await asyncio.to_thread(pulse.play, tmp_path / "alarm.wav")
            await inbox.until(lambda i: len(i.on("ssondo/test/yard/event")) >= 2, 20)
            started, ended = events(inbox.on("ssondo/test/yard/event"))[:2]
            assert (started["event_type"], started["slug"]) == ("started", "smoke_alarm")
            assert (ended["event_type"], ended["confirmed"]) == ("ended", True)
            assert started["event_id"] == ended["event_id"]
            assert ended["duration_s"] == pytest.approx(6.5, abs=1.2)
            assert inbox.on("ssondo/test/yard/label/smoke_alarm")[-2:] == [b"ON", b"OFF"]
            assert abs(_unix(str(ended["onset"])) - played - 3) < 1.0
            assert service.stop() == 0
        await inbox.see("ssondo/test/availability", b"offline")
        await inbox.see("ssondo/test/yard/availability", b"offline")


async def test_termination_ends_open_events_and_says_goodbye_within_five_seconds(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path / "broker") as broker, subscriber(broker.port) as inbox:
        with running(tmp_path / "s", to_broker(broker.port)) as service:
            await inbox.see("ssondo/test/demo/label/smoke_alarm", b"ON", 30)
            with promised(5):
                assert await asyncio.to_thread(service.stop) == 0
        await inbox.see("ssondo/test/availability", b"offline")
        told = [event["event_type"] for event in events(inbox.on("ssondo/test/demo/event"))]
        assert told == ["started", "ended"]
        assert inbox.on("ssondo/test/demo/label/smoke_alarm")[-1] == b"OFF"


async def test_events_of_a_killed_monitor_are_delivered_by_the_next(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path / "broker") as broker:
        with running(tmp_path / "s", to_broker(broker.port)) as service:
            service.wait(Service.ready, "readiness")
            broker.freeze()
            service.wait(lambda s: s.metrics()["ssondo_spool_messages"] > 0, "an event in the spool")
            service.stop(signal.SIGKILL)
        broker.kill()
        await broker.start()
        async with subscriber(broker.port) as inbox:
            with running(tmp_path / "s", to_broker(broker.port)):
                await inbox.until(lambda i: len(i.on("ssondo/test/demo/event")) >= 2, 30)
            first, second = events(inbox.on("ssondo/test/demo/event"))[:2]
            assert first["slug"] == second["slug"] == "smoke_alarm"
            assert first["boot_id"] != second["boot_id"]
            assert int(str(first["seq"])) < int(str(second["seq"]))


async def test_broker_that_dies_and_returns_misses_no_event_and_keeps_their_order(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path / "broker") as broker:
        with running(tmp_path / "s", to_broker(broker.port)) as service:
            service.wait(Service.ready, "readiness")
            broker.kill()
            with promised(10):
                service.wait(lambda s: s.get("/ready")[0] == 503, "being not ready", 10)
            service.wait(lambda s: s.metrics()["ssondo_spool_messages"] > 0, "an event in the spool")
            await broker.start()
            async with subscriber(broker.port) as inbox:
                await inbox.until(lambda i: len(i.on("ssondo/test/demo/event")) >= 2, 40)
                with promised(10):
                    await inbox.see("ssondo/test/demo/availability", b"online", 10)
            sequence = [int(str(event["seq"])) for event in events(inbox.on("ssondo/test/demo/event"))]
            assert sequence == sorted(set(sequence))
            assert sequence[0] == 1


async def test_sources_do_not_disturb_each_other(tmp_path: Path) -> None:
    port = free_port()
    config = f"""
[[source]]
name = "hall"
kind = "network"
url = "rtsp://user:secret@127.0.0.1:{port}/tone"
[[source]]
name = "demo"
kind = "demo"
"""
    with rtsp_tone(port) as server, running(tmp_path, config) as service:
        service.wait(lambda s: s.metrics()['ssondo_source_up{source="hall"}'] == 1, "the stream")
        service.wait(Service.ready, "readiness")
        server.kill()
        with promised(10):
            service.wait(lambda s: s.metrics()['ssondo_source_up{source="hall"}'] == 0, "the loss of the stream", 10)
        status, body = service.get("/ready")
        assert status == 503
        assert "source hall" in body
        assert "source demo" not in body
        before = service.metrics()['ssondo_audio_analyzed_seconds_total{source="demo"}']
        service.wait(
            lambda s: s.metrics()['ssondo_audio_analyzed_seconds_total{source="demo"}'] > before + 1, "the other source"
        )
        assert "secret" not in service.log() + body


async def test_muted_source_is_neither_ready_nor_available(tmp_path: Path) -> None:
    source = f'[[source]]\nname = "mute"\nkind = "stdin"\nsample_rate = {RATE}\nflatline_seconds = 1\n'
    second = bytes(2 * RATE)
    async with Mosquitto(tmp_path / "broker") as broker, subscriber(broker.port) as inbox:
        with running(tmp_path / "s", source + to_broker(broker.port), stdin=subprocess.PIPE) as service:
            stream = service.process.stdin
            assert stream
            stream.write(np.random.default_rng(0).integers(-99, 99, RATE, np.int16).tobytes())
            await inbox.see("ssondo/test/mute/availability", b"online", 20)
            for _ in range(3):
                stream.write(second)
            stream.flush()
            with promised(10):
                await inbox.see("ssondo/test/mute/availability", b"offline", 10)
            status, body = service.get("/ready")
            assert (status, "source mute: the signal is flat" in body) == (503, True)
            assert service.metrics()['ssondo_source_flatline{source="mute"}'] == 1
            stream.close()


def test_service_manager_is_told_of_readiness_life_and_end(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        told = []
        with running(tmp_path / "s", environ={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"}) as service:
            while "WATCHDOG=1" not in told:
                told.append(manager.recv(4096).decode())
            service.stop()
            while "STOPPING=1" not in told:
                told.append(manager.recv(4096).decode())
    assert told[0] == "READY=1"
    assert any(message.startswith("STATUS=") for message in told)


def test_altered_bundle_is_refused_by_name(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "bundle")
    (folder / "student.onnx").write_bytes(b"other")
    with running(tmp_path / "s", f'[model]\nbundle = "{folder}"\n') as service:
        assert service.process.wait(PATIENCE * 20) == 2
    assert "student.onnx: sha256 is" in service.log()
    assert service.log().count("\n") == 1


def test_every_second_is_analysed_or_in_a_gap(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.wait(lambda s: s.metrics()['ssondo_audio_captured_seconds_total{source="demo"}'] > 8, "eight seconds")
        found = service.metrics()
    captured = found['ssondo_audio_captured_seconds_total{source="demo"}']
    analysed = found['ssondo_audio_analyzed_seconds_total{source="demo"}']
    assert 0 <= captured - analysed <= 0.8, "all but the column in the making, and the block under way"


def test_without_a_sound_device_the_demonstration_is_announced(tmp_path: Path) -> None:
    if has_microphone() and os.environ.get("CI") != "true":
        pytest.skip("this machine has a microphone, which cannot be hidden from the sound library")
    with running(tmp_path / "s", demo=False) as service:
        service.wait(lambda s: "▶ Smoke alarm" in s.printed(), "an event on the terminal")
        printed = service.printed()
        assert "GENERATED DEMONSTRATION" in printed
        assert f"mosquitto_sub -h 127.0.0.1 -p {service.mqtt_port}" in printed
        assert f"http://127.0.0.1:{service.http_port}/metrics" in printed
        assert service.stop(signal.SIGINT) == 0
    assert "Traceback" not in service.log()


def test_service_imports_no_torch(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.wait(lambda s: s.metrics()['ssondo_audio_analyzed_seconds_total{source="demo"}'] > 0, "a prediction")
        maps = Path(f"/proc/{service.process.pid}/maps").read_text()
    assert "libtorch" not in maps
    assert "libonnxruntime" in maps or "onnxruntime" in maps


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        ("[http]\nport = {taken}\n", 2, "[http] port"),
        ("[mqtt]\nembedded_port = {taken}\n", 2, "embedded_port"),
        ('[model]\nbundle = "nothing"\n', 2, "no bundle 'nothing'"),
        ("[detection]\nthreshold = 2\n", 2, "detection.threshold"),
        ('[[source]]\nname = "f"\nkind = "file"\npath = "missing.wav"\n', 2, "missing.wav"),
        ('[spool]\npath = "/proc/none/spool.sqlite"\n', 1, "/proc/none"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(tmp_path: Path, config: str, code: int, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = config.format(taken=taken.getsockname()[1])
        # the environment would override what is tested
        unset = {"SSONDO_HTTP__PORT": str(taken.getsockname()[1])} if "http" in config else {}
        if "embedded" in config:
            unset = {"SSONDO_MQTT__EMBEDDED_PORT": str(taken.getsockname()[1])}
        with running(tmp_path, text, environ=unset) as service:
            assert service.process.wait(PATIENCE * 20) == code
    problems = [line for line in service.log().splitlines() if said in line]
    assert len(problems) == 1
    assert "Traceback" not in service.log()


def _unix(date: str) -> float:
    return datetime.fromisoformat(date).timestamp()
