import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.config import Settings
from monitor.errors import ConfigError
from monitor.replay import replay
from tests.parts import PATIENCE
from tests.parts_scene import RATE, alarm_scene

WALL_CLOCK = {"event_id", "onset", "offset", "published_at"}


@pytest.fixture
def alarm(tmp_path: Path) -> Path:
    path = tmp_path / "alarm.wav"
    soundfile.write(path, alarm_scene(before=4.2), RATE)
    return path


def replayed(*files: Path, **settings: object) -> list[dict[str, object]]:
    out = io.StringIO()
    assert replay(files, Settings.model_validate(settings), as_json=True, out=out) == 0
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_replay_tells_the_alarm_in_seconds_of_the_file(alarm: Path) -> None:
    started, ended = replayed(alarm)
    assert (started["event_type"], ended["event_type"]) == ("started", "ended")
    assert started["slug"] == ended["slug"] == "smoke_alarm"
    assert (ended["source"], ended["confirmed"]) == ("alarm.wav", True)
    assert ended["onset_s"] == pytest.approx(4.2, abs=0.5)
    assert ended["offset_s"] == pytest.approx(4.2 + 6.5, abs=1.0)
    assert (started["seq"], ended["seq"], started["offset_s"]) == (1, 2, None)


def test_two_replays_differ_in_ids_and_dates_only(alarm: Path) -> None:
    def lasting(events: list[dict[str, object]]) -> list[dict[str, object]]:
        return [{key: value for key, value in event.items() if key not in WALL_CLOCK} for event in events]

    assert lasting(replayed(alarm)) == lasting(replayed(alarm))


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
@pytest.mark.parametrize("channels", [1, 12])
def test_any_rate_and_number_of_channels_gives_the_same_event(tmp_path: Path, rate: int, channels: int) -> None:
    import soxr  # noqa: PLC0415

    audio = soxr.resample(alarm_scene(before=4.2), RATE, rate)
    path = tmp_path / "alarm.wav"
    soundfile.write(path, np.repeat(audio[:, None], channels, axis=1), rate)
    ended = [event for event in replayed(path) if event["event_type"] == "ended" and event["confirmed"]]
    assert [event["slug"] for event in ended] == ["smoke_alarm"]
    assert ended[0]["onset_s"] == pytest.approx(4.2, abs=0.5)


@pytest.mark.parametrize("samples", [1, 100, 20_000])
def test_very_short_file_is_replayed_without_events(tmp_path: Path, samples: int) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.zeros(samples, np.float32), RATE)
    assert replayed(path) == []


def test_picture_is_drawn(alarm: Path, tmp_path: Path) -> None:
    picture = tmp_path / "alarm.png"
    assert replay([alarm], Settings(), plot=picture, out=io.StringIO()) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert 20_000 < picture.stat().st_size < 300_000


def test_picture_of_several_files_is_refused(alarm: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="draws one file, got 2"):
        replay([alarm, alarm], Settings(), plot=tmp_path / "x.png")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"", "cannot be read as sound"), (b"not a sound", "cannot be read as sound")],
)
def test_unreadable_file_is_named_in_one_line_and_the_others_are_replayed(
    alarm: Path, tmp_path: Path, content: bytes | None, said: str
) -> None:
    bad = tmp_path / "bad.wav"
    if content is not None:
        bad.write_bytes(content)
    command = [sys.executable, "-m", "monitor", "replay", "--json", str(bad), str(alarm)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE * 60)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"{bad}: {said}" in result.stderr
    assert len(result.stdout.splitlines()) == 2


def test_empty_sound_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0, np.float32), RATE)
    assert replay([path], Settings(), out=io.StringIO()) == 1
    assert f"{path}: holds no audio" in capsys.readouterr().err
