from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.training.parts_sources import clips
from training.crops import CropSettings, crop, write_crops
from training.errors import ManifestError, SettingsError
from training.sounds import RATE, Sound

RNG = np.random.default_rng


def labels(folder: Path) -> tuple[str, ...]:
    return tuple(sorted({name for entry in clips(folder).entries for name in entry.labels}))


def written(folder: Path, count: int = 8, seconds: float = 0.7, seed: int = 0) -> list[tuple[str, bytes]]:
    settings = CropSettings(count, seconds, (0.8, 1.25), seed=seed)
    manifest = write_crops(
        folder / "crops", clips(folder / "clips"), labels(folder / "clips"), settings, progress=False
    )
    return [(entry.labels[0], manifest.path(entry).read_bytes()) for entry in manifest.entries]


def test_crops_are_of_the_length_asked_for_and_each_has_a_label(tmp_path: Path) -> None:
    found = written(tmp_path)
    assert len(found) == 8
    assert {name for name, _ in found} <= set(labels(tmp_path / "clips"))
    assert {soundfile.info(path).frames for path in (tmp_path / "crops").glob("*.wav")} == {round(0.7 * RATE)}


def test_crops_are_the_same_whenever_they_are_made_and_more_can_follow(tmp_path: Path) -> None:
    few = written(tmp_path / "a", count=3)
    assert written(tmp_path / "a", count=6) == written(tmp_path / "b", count=6)
    assert written(tmp_path / "b", count=6)[:3] == few


def test_a_folder_with_crops_of_another_seed_is_refused(tmp_path: Path) -> None:
    written(tmp_path, seed=1)
    with pytest.raises(SettingsError, match="seed"):
        written(tmp_path, seed=2)


def test_a_label_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no clip is labelled 'Nothing'"):
        write_crops(
            tmp_path / "crops", clips(tmp_path), (*labels(tmp_path), "Nothing"), CropSettings(1, 0.5), progress=False
        )


@pytest.mark.parametrize("seconds", [0.2, 1.0, 3.0])
def test_something_is_heard_in_every_crop_at_the_level_asked_for(seconds: float) -> None:
    sound = Sound(np.ones(RATE, np.float32), 0, ((0, RATE),))
    settings = CropSettings(1, seconds, peak_dbfs=(-20.0, -20.0))
    for seed in range(40):
        found = crop(sound, settings, RNG(seed))
        heard = np.abs(found) > 0.05
        assert len(found) == round(seconds * RATE)
        assert np.abs(found).max() == pytest.approx(0.1, rel=1e-3)
        assert heard.sum() >= 0.28 * min(len(found), RATE)


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"seconds": 0.0}, {"speed": (1.2, 0.8)}, {"speed": (0.0, 1.0)}, {"peak_dbfs": (-3.0, 1.0)}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="need"):
        CropSettings(**{"count": 1, "seconds": 1.0, **wrong})  # type: ignore[arg-type]
