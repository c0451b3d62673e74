from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.training.parts_embeddings import content
from training.errors import SettingsError
from training.made_up import ALARMS, MANIFEST_FILE, write_made_up
from training.manifest import open_manifest
from training.negatives import clicks
from training.sounds import RATE
from training.soundscapes import Materials, SoundscapeSettings, write_soundscapes

KINDS = {**ALARMS, "clicks": clicks}


def test_clips_are_written_with_labels_and_folds(tmp_path: Path) -> None:
    manifest = write_made_up(tmp_path, KINDS, 3, folds=2, progress=False)
    assert open_manifest(tmp_path / MANIFEST_FILE) == manifest
    assert [entry.labels for entry in manifest.entries[::3]] == [("Smoke alarm",), ("Siren",), ()]
    assert [entry.fold for entry in manifest.entries[:3]] == [1, 2, 1]
    samples, rate = soundfile.read(manifest.path(manifest.entries[4]))
    assert rate == RATE
    assert np.abs(samples).max() == pytest.approx(0.5, abs=1e-3)


def test_more_can_be_added_and_each_clip_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    write_made_up(tmp_path / "a", KINDS, 2, progress=False)
    (tmp_path / "a" / "siren-00001.wav").unlink()
    kept = tmp_path / "a" / "clicks-00000.wav"
    before = kept.stat().st_mtime_ns
    write_made_up(tmp_path / "a", dict(reversed(KINDS.items())), 3, progress=False)
    write_made_up(tmp_path / "b", KINDS, 3, progress=False)
    assert kept.stat().st_mtime_ns == before
    assert content(tmp_path / "a", "*.wav") == content(tmp_path / "b", "*.wav")


def test_folder_of_another_seed_is_refused(tmp_path: Path) -> None:
    write_made_up(tmp_path, KINDS, 1, progress=False)
    with pytest.raises(SettingsError, match="seed"):
        write_made_up(tmp_path, KINDS, 1, seed=1, progress=False)
    with pytest.raises(ValueError, match="need count"):
        write_made_up(tmp_path, KINDS, 0)


def test_alarms_go_into_soundscapes_as_one_event(tmp_path: Path) -> None:
    alarms = write_made_up(tmp_path / "clips", {"smoke_alarm": ALARMS["smoke_alarm"]}, 2, progress=False)
    settings = SoundscapeSettings(count=2, seconds=20, events=(1, 1), longest_seconds=6.0)
    made = Materials(alarms, whole=("Smoke alarm",))
    for recording in write_soundscapes(tmp_path / "out", made, settings, progress=False):
        (event,) = recording.heard
        assert 4.5 < event.offset - event.onset < 6.001
