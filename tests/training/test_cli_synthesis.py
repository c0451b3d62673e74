"""`synthesis`, as it is called."""

import json
from pathlib import Path

import pytest

from tests.training.parts_sources import backgrounds, clips
from tests.training.parts_train_cli import refused, ssondo_train
from training.annotations import annotated_recordings
from training.manifest import Manifest, write_manifest

BRIEF = ("--count", 2, "--seconds", 8, "--longest", 2, "--events", 1, 2, "--quiet")


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Two clips of each of two labels in a CSV, one in each of two folds."""
    manifest = clips(tmp_path / "clips")
    write_manifest(tmp_path / "clips" / "list.csv", manifest.entries)
    return tmp_path / "clips" / "list.csv"


def heard(folder: Path) -> list[str]:
    return [event.label for recording in annotated_recordings(folder) for event in recording.heard]


def test_root_is_of_the_clips_and_nothing_is_of_other_folds(listed: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "list.csv"
    elsewhere.write_text(listed.read_text())
    backgrounds(tmp_path / "rooms")
    others = ("--backgrounds", tmp_path / "rooms", "--distractors", listed, "--others", 1, 1)
    given = ("--clips", elsewhere, "--root", listed.parent, "--folds", 1, *others, *BRIEF)
    code, said, error = ssondo_train("synthesis", "--out", tmp_path / "out", *given, "--dry-run")
    assert code == 0, error
    told = dict(line.rsplit(maxsplit=1) for line in said.splitlines() if line.startswith("listed"))
    assert [int(count) for count in told.values()] == [2, 1, 2]  # the backgrounds have no folds
    assert ssondo_train("synthesis", "--out", tmp_path / "out", *given)[0] == 0
    assert set(heard(tmp_path / "out")) <= {"Chirp", "Rain"}


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        (["--rooms", 0.25], "in_rooms", 0.25),
        (["--bridge-seconds", 0.5], "bridge_seconds", 0.5),
        (["--margin-seconds", 1.5], "margin_seconds", 1.5),
        (["--whole", "Chirp, Rain"], "whole", ["Chirp", "Rain"]),
        (["--steady", "Rain"], "steady", ["Rain"]),
    ],
)
def test_settings_are_those_of_the_options(
    listed: Path, tmp_path: Path, options: list[object], key: str, value: object
) -> None:
    code, *_ = ssondo_train("synthesis", "--clips", listed, "--out", tmp_path / "out", *BRIEF, *options)
    assert (code, json.loads((tmp_path / "out" / "soundscapes.json").read_text())[key]) == (0, value)


def test_share_of_unreadable_clips_is_that_of_the_option(listed: Path, tmp_path: Path) -> None:
    for name in ("chirp0.wav", "rain0.flac", "rain1.flac"):
        (listed.parent / name).write_text("no audio")
    given = ("synthesis", "--clips", listed, "--out", tmp_path / "out", *BRIEF)
    refused(1, "1 of 4 clips cannot be read, at most 0 may be", *given)
    assert ssondo_train(*given, "--max-skipped", 0.75)[0] == 0
    (listed.parent / "chirp1.wav").write_text("no audio")
    told = "4 of 4 clips cannot be read, at most 3 may be"
    refused(1, told, *given[:-1], "--out", tmp_path / "none", "--quiet", "--max-skipped", 1)


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ([], 2, "5 to 5 clips need a manifest of clips: name one, or ask for 0 0"),
        (["--events", 0, 0, "--others", 1, 2], 2, "1 to 2 distractors need a manifest of distractors"),
        (["--clips", "{}", "--seed", -1], 2, "need seed of at least 0, got -1"),
        (["--clips", "{}", "--seconds", "inf"], 2, "got 5.0, inf and margins of 0.0"),
        (["--clips", "{}", "--snr-db", "nan", 1], 2, "need snr_db from low to high, got nan to 1.0"),
        (["--clips", "{}", "--peak-dbfs", -3, 1], 2, "peak_dbfs up to 0, got 1.0 and 1.0"),
        (["--clips", "{}", "--rooms", 2], 2, "need a share in_rooms of 0 to 1, got 2.0"),
        (["--clips", "{}", "--max-skipped", 2], 2, "need a share most_skipped of 0 to 1, got 2.0"),
        (["--clips", "{}", "--steady", "Snow"], 1, "no clip is labelled 'Snow'; known: Chirp, Rain"),
        (["--clips", "{}", "--folds", 7], 1, "of folds 7 the manifest names no audio; its folds are 0, 1"),
        (["--events", 0, 0, "--folds", 1], 2, "--root and --folds are of --clips"),
        (["--clips", "{}/.."], 1, "no clip has a label; a CSV names one each in the column 'labels'"),
    ],
)
def test_mistake_is_refused_before_anything_is_written(
    *, listed: Path, tmp_path: Path, dry: list[str], options: list[object], code: int, told: str
) -> None:
    given = [str(option).replace("{}/..", str(listed.parent)).replace("{}", str(listed)) for option in options]
    refused(code, told, "synthesis", "--out", tmp_path / "out", *given, *dry)
    assert not (tmp_path / "out").exists()


def test_dry_run_refuses_the_folder_of_other_soundscapes(listed: Path, tmp_path: Path) -> None:
    given = ("synthesis", "--clips", listed, "--out", tmp_path / "out", *BRIEF)
    assert ssondo_train(*given)[0] == 0
    refused(1, "seed: it has 0, asked is 3", *given, "--seed", 3, "--dry-run")
    assert ssondo_train(*given, "--dry-run")[0] == 0


def test_sounds_that_found_no_room_are_counted(listed: Path, tmp_path: Path) -> None:
    few = Manifest(listed.parent, clips(listed.parent).entries[2:])
    write_manifest(listed.parent / "rain.csv", few.entries)
    crowded = ("--events", 30, 30, "--polyphony", 1, "--rooms", 0, "--bridge-seconds", 0, "--count", 1)
    given = ("--clips", listed.parent / "rain.csv", "--seconds", 8, "--longest", 2, "--quiet", *crowded)
    code, said, _ = ssondo_train("synthesis", "--out", tmp_path / "out", *given)
    placed = len(heard(tmp_path / "out"))
    assert 1 <= placed < 6
    assert (code, said) == (
        0,
        f"{tmp_path}/out: 1 soundscapes with {placed} sounds; {30 - placed} more found no room\n",
    )
