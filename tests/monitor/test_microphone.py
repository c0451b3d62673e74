"""The microphone, by way of a real sound server."""

import ast
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.errors import CaptureError
from monitor.sources import devices
from ssondo_stream.types import Samples
from tests.parts import PATIENCE, promised
from tests.parts_audio import ROOT, Ear, Pulse, ear, pulse, wait_until

MICROPHONE = {"kind": "microphone", "device": "pulse", "sample_rate": 32_000, "silence_seconds": 1.0}

__all__ = ["pulse"]


def sounding(listening: Ear) -> Samples:
    """What was heard from the first sample on that is not silence."""
    heard = listening.samples()
    return heard[np.argmax(heard != 0) :] if heard.any() else heard[:0]


def test_what_is_played_is_heard_bit_for_bit(pulse: Pulse, tmp_path: Path) -> None:
    played = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000).astype(np.float32)
    soundfile.write(tmp_path / "played.wav", played, 32_000, subtype="FLOAT")
    with ear(MICROPHONE, tmp_path, pulse.environment) as listening:
        listening.until(lambda told: told.get("up"))
        pulse.play(tmp_path / "played.wav")
        wait_until(lambda: len(listening.blocks(0.1)) > 0 and len(sounding(listening)) >= len(played))
    np.testing.assert_array_equal(sounding(listening)[: len(played)], played)


def test_blocks_are_short_and_lie_end_to_end(pulse: Pulse, tmp_path: Path) -> None:
    with ear(MICROPHONE, tmp_path, pulse.environment) as listening:
        blocks = listening.blocks(2.0)
    ends = [block["start"] + block["samples"] for block in blocks]
    assert [block["start"] for block in blocks] == [0, *ends[:-1]]
    assert max(block["samples"] for block in blocks) <= 16_000
    assert np.median([block["samples"] for block in blocks]) <= 3_200


def test_a_device_that_goes_is_reported_at_once_and_heard_again_within_five_seconds(
    pulse: Pulse, tmp_path: Path
) -> None:
    with ear(MICROPHONE, tmp_path, pulse.environment) as listening:
        listening.blocks(0.5)
        pulse.unplug()
        with promised(4):
            listening.until(lambda told: "interruption" in told, seconds=4)
        pulse.plug_in()
        with promised(5):
            listening.until(lambda told: told.get("up"))


def test_a_restarted_sound_server_is_heard_again(pulse: Pulse, tmp_path: Path) -> None:
    with ear(MICROPHONE, tmp_path, pulse.environment) as listening:
        listening.blocks(0.5)
        pulse.stop()
        with promised(6):
            listening.until(lambda told: "interruption" in told, seconds=6)
        listening.until(lambda told: told.get("up") is False)
        pulse.start()
        with promised(10):
            listening.until(lambda told: told.get("up"), seconds=10)
        listening.blocks(0.5)


def test_a_sound_server_that_starts_after_us_is_heard(pulse: Pulse, tmp_path: Path) -> None:
    pulse.stop()
    with ear(MICROPHONE, tmp_path, pulse.environment) as listening:
        listening.until(lambda told: told.get("up") is False)
        pulse.start()
        with promised(10):
            listening.until(lambda told: told.get("up"), seconds=10)
        listening.blocks(0.5)


def test_the_index_jumps_by_the_outage(pulse: Pulse, tmp_path: Path) -> None:
    with ear(MICROPHONE, tmp_path, pulse.environment) as listening:
        last = listening.blocks(1.0)[-1]
        pulse.unplug()
        listening.until(lambda told: "interruption" in told)
        pulse.plug_in()
        listening.until(lambda told: told.get("up"))
        listening.blocks(0.5)
    told = listening.told
    first = told[next(i for i, t in enumerate(told) if "restarted" in t) :]
    block = next(t for t in first if "start" in t)
    elapsed = (block["start"] + block["samples"] - last["start"] - last["samples"]) / 32_000
    assert elapsed == pytest.approx(block["at"] - last["at"], abs=0.25)


def test_every_sample_of_the_index_is_captured_or_in_a_gap(pulse: Pulse, tmp_path: Path) -> None:
    with ear(MICROPHONE, tmp_path, pulse.environment) as listening:
        listening.blocks(0.5)
        pulse.unplug()
        listening.until(lambda told: "interruption" in told)
        pulse.plug_in()
        listening.until(lambda told: told.get("up"))
        listening.blocks(0.5)
    blocks = [told for told in listening.told if "start" in told]
    captured = sum(block["samples"] for block in blocks)
    before_the_last = listening.told[: listening.told.index(blocks[-1])]  # a gap is told before what follows it
    missed = sum(told["gap"] for told in before_the_last if "gap" in told) * 32_000
    assert captured + missed == pytest.approx(blocks[-1]["start"] + blocks[-1]["samples"], abs=1e-3)


def test_a_stopped_sound_server_hangs_neither_listening_nor_its_end(pulse: Pulse, tmp_path: Path) -> None:
    with ear(MICROPHONE, tmp_path, pulse.environment) as listening:
        listening.blocks(0.5)
        pulse.signal(signal.SIGSTOP)
        with promised(8):
            listening.until(lambda told: "interruption" in told, seconds=8)
        listening.until(lambda told: told.get("up") is False)
        listening.process.terminate()
        with promised(5):
            listening.process.wait(PATIENCE * 5)


def test_a_sound_server_that_hangs_from_the_start_hangs_neither_listening_nor_its_end(
    pulse: Pulse, tmp_path: Path
) -> None:
    pulse.signal(signal.SIGSTOP)
    with ear(MICROPHONE, tmp_path, pulse.environment) as listening:
        with promised(10):
            listening.until(lambda told: told.get("up") is False, seconds=10)
        listening.process.terminate()
        with promised(5):
            listening.process.wait(PATIENCE * 5)


def test_a_sound_server_that_hangs_has_no_microphone(pulse: Pulse) -> None:
    pulse.signal(signal.SIGSTOP)
    assert run("from monitor.sources.devices import has_microphone; print(has_microphone())", pulse).strip() == "False"


def test_a_sound_server_that_goes_on_is_heard_again(pulse: Pulse, tmp_path: Path) -> None:
    with ear(MICROPHONE, tmp_path, pulse.environment) as listening:
        listening.blocks(0.5)
        pulse.signal(signal.SIGSTOP)
        with promised(8):
            listening.until(lambda told: "interruption" in told, seconds=8)
        with promised(10):
            listening.until(lambda told: "hang" in told.get("detail", ""), seconds=10)
        pulse.signal(signal.SIGCONT)
        with promised(15):
            listening.until(lambda told: told.get("up"), seconds=15)
        listening.blocks(0.5)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"device": "nowhere"}, "no sound device 'nowhere'"),
        ({"device": 99}, "no sound device 99"),
        ({"channel": 200}, "channel 200 .* only 32"),
    ],
)
def test_a_device_or_channel_that_is_not_there_is_named(
    fields: dict[str, object], words: str, pulse: Pulse, tmp_path: Path
) -> None:
    with ear({**MICROPHONE, **fields}, tmp_path, pulse.environment) as listening:
        told = listening.until(lambda told: told.get("up") is False)
    assert re.search(words, told["detail"])


def test_a_device_is_found_by_its_stable_id_at_its_own_rate(pulse: Pulse, tmp_path: Path) -> None:
    program = "from monitor.sources.devices import list_devices; print([d.stable_id for d in list_devices()])"
    identities = [ast.literal_eval(run(program, pulse)) for _ in range(2)]
    assert identities[0] == identities[1]
    wanted = {"kind": "microphone", "device": identities[0][0], "channel": 2}
    with ear(wanted, tmp_path, pulse.environment) as listening:
        assert listening.blocks(0.5)[0]["rate"] == 44_100


def test_an_id_outlasts_the_order_of_cards() -> None:
    def ids(*names: str) -> dict[str, str]:
        found = [devices.Device(i, name, "ALSA", 1, 44_100, "", is_default=False) for i, name in enumerate(names)]
        return {device.name.partition(" (hw")[0]: device.stable_id for device in devices.identified(found)}

    before = ids("Yard: USB Audio (hw:1,0)", "Gate: USB Audio (hw:2,0)")
    assert ids("Gate: USB Audio (hw:1,0)", "Yard: USB Audio (hw:2,0)") == before
    assert len(set(before.values())) == 2


def test_the_list_of_devices_is_read_anew_only_while_no_stream_is_open(pulse: Pulse) -> None:
    program = """
from monitor.sources.devices import InputStream, find_device, refresh
stream = InputStream(find_device(None), channels=1, sample_rate=32000, latency_seconds=0.1,
                     on_frames=lambda frames, overflow: None, on_stop=lambda: None)
print(refresh())
stream.close()
print(refresh())
"""
    assert run(program, pulse).split() == ["False", "True"]


def test_there_is_a_microphone_only_with_a_sound_server(pulse: Pulse) -> None:
    program = "from monitor.sources.devices import has_microphone; print(has_microphone())"
    assert run(program, pulse).strip() == "True"
    pulse.stop()
    assert run(program, pulse).strip() == "False"


def run(program: str, pulse: Pulse) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=ROOT, env=pulse.environment, capture_output=True, text=True, timeout=PATIENCE * 30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("said", ["Device unavailable", "Invalid sample rate"])
def test_what_the_sound_library_refuses_is_told_in_one_line(said: str) -> None:
    with (
        pytest.raises(CaptureError, match=f"the sound device refuses: {said}") as caught,
        devices._portaudio() as sound,
    ):
        raise sound.PortAudioError(said)
    assert "\n" not in str(caught.value)
