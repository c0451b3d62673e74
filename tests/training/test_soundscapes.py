from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.parts_forked import run_python
from tests.training.parts_embeddings import assert_killed, content
from tests.training.parts_sources import backgrounds, clips
from training.annotations import annotated_recordings, read_annotations
from training.errors import ManifestError, SettingsError
from training.manifest import Manifest
from training.skipping import SKIPPED_FILE
from training.sounds import RATE, Sound
from training.soundscapes import Maker, Materials, SoundscapeSettings, write_soundscapes

SETTINGS = SoundscapeSettings(count=3, seconds=12, events=(2, 3), longest_seconds=2.5, seed=4)
PATTERNS = ("*.wav", "*.tsv", "*.json")

WRITE = """
import sys
from pathlib import Path
from tests.parts_killed import die_after
from tests.training.test_soundscapes import SETTINGS, materials
from training.manifest import Manifest
from training.soundscapes import write_soundscapes

die_after(int(sys.argv[2]))
write_soundscapes(Path(sys.argv[1]) / "out", materials(Path(sys.argv[1])), SETTINGS, progress=False)
"""


def materials(folder: Path) -> Materials:
    return Materials(clips(folder / "clips"), backgrounds(folder / "backgrounds"))


def test_soundscapes_are_recordings_with_annotations(tmp_path: Path) -> None:
    written = write_soundscapes(tmp_path / "out", materials(tmp_path), SETTINGS, progress=False)
    assert written == annotated_recordings(tmp_path / "out")
    assert len(written) == 3
    assert {event.label for recording in written for event in recording.heard} == {"Chirp", "Rain"}
    for recording in written:
        samples, rate = soundfile.read(recording.audio)
        assert (rate, len(samples)) == (RATE, 12 * RATE)
        assert -18 <= 20 * np.log10(np.abs(samples).max()) <= -0.9
        assert 1 <= len(recording.heard) <= 3
        assert all(0 <= event.onset < event.offset <= 12 for event in recording.heard)


def test_sounds_are_where_and_as_loud_as_it_says(tmp_path: Path) -> None:
    settings = replace(SETTINGS, events=(1, 1), snr_db=(20.0, 20.0), bridge_seconds=0.0, in_rooms=0.0)
    maker = Maker(materials(tmp_path), settings)
    silent = Maker(materials(tmp_path), replace(settings, events=(0, 0)))
    for number in range(6):
        (scene, heard), (quiet, _) = maker.make(number), silent.make(number)
        heard_at = np.zeros(len(scene.samples), bool)
        for event in heard:
            heard_at[round(event.onset * RATE) : round(event.offset * RATE)] = True
        before = ~heard_at & (np.arange(len(heard_at)) < round(heard[0].onset * RATE))
        scale = float(scene.samples[before] @ quiet.samples[before] / (quiet.samples[before] @ quiet.samples[before]))
        sound = scene.samples - scale * quiet.samples
        assert np.abs(sound[before]).max() < 1e-4 * np.abs(sound).max()
        power, around = (float(np.mean(x[heard_at].astype(float) ** 2)) for x in (sound, scale * quiet.samples))
        assert 10 * np.log10(power / around) == pytest.approx(20, abs=0.5)


def test_rooms_leave_the_onset_where_it_is(tmp_path: Path) -> None:
    settings = replace(SETTINGS, events=(1, 1), snr_db=(60.0, 60.0), in_rooms=1.0)
    scene, heard = Maker(materials(tmp_path), settings).make(0)
    level = np.abs(scene.samples[: round(heard[0].onset * RATE) - 1]).max()
    assert level < 0.01 * np.abs(scene.samples).max()


def test_sounds_keep_apart_if_they_must(tmp_path: Path) -> None:
    crowded = replace(SETTINGS, events=(6, 6), polyphony=1, bridge_seconds=0.0)
    alone, mixed = Maker(materials(tmp_path), crowded), Maker(materials(tmp_path), replace(crowded, polyphony=6))

    def overlapping(maker: Maker) -> int:
        events = [maker.make(number)[1] for number in range(4)]
        return sum(b.onset < a.offset for of in events for i, a in enumerate(of) for b in of[i + 1 :])

    assert overlapping(alone) == 0 < overlapping(mixed)


def chirps_heard(folder: Path, speed: tuple[float, float]) -> list[float]:
    """How long each of some chirps lasts, in seconds."""
    alone = replace(SETTINGS, events=(2, 2), polyphony=1, bridge_seconds=0.0, in_rooms=0.0, speed=speed)
    maker = Maker(Materials(Manifest(folder / "clips", clips(folder / "clips").entries[:1])), alone)
    return [event.offset - event.onset for number in range(4) for event in maker.make(number)[1]]


def test_sounds_are_played_at_speeds_of_their_range(tmp_path: Path) -> None:
    (as_it_is,) = {round(seconds, 4) for seconds in chirps_heard(tmp_path, (1.0, 1.0))}
    assert chirps_heard(tmp_path, (2.0, 2.0)) == pytest.approx([as_it_is / 2] * 16, abs=1e-3)
    drawn = chirps_heard(tmp_path, (0.5, 2.0))
    assert as_it_is / 2 - 1e-3 <= min(drawn) < as_it_is < max(drawn) <= 2 * as_it_is + 1e-3
    assert len({round(seconds, 3) for seconds in drawn}) == 8  # one speed for each sound, which has two chirps


def test_speed_of_one_leaves_soundscapes_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is anything resampled nor anything drawn: what is drawn is drawn for it."""

    def refuse(sound: Sound, speed: float) -> Sound:
        raise AssertionError(f"{sound.label} at {speed}")

    monkeypatch.setattr("training.soundscapes.faster", refuse)
    assert Maker(materials(tmp_path), replace(SETTINGS, speed=(1.0, 1.0))).make(0)[1]
    with pytest.raises(AssertionError, match=r"at 1\.5"):
        Maker(materials(tmp_path), replace(SETTINGS, speed=(1.5, 1.5))).make(0)


def test_sounds_may_go_on_beyond_the_edges(tmp_path: Path) -> None:
    settings = SoundscapeSettings(12, 6.0, events=(3, 3), longest_seconds=4.0, margin_seconds=3.0)
    found = write_soundscapes(tmp_path / "out", materials(tmp_path), settings, progress=False)
    assert {soundfile.info(one.audio).frames for one in found} == {6 * RATE}
    heard = [event for one in found for event in one.heard]
    assert any(event.onset == 0 for event in heard)
    assert any(event.offset == 6.0 for event in heard)
    assert any(event.onset > 0.1 and event.offset < 5.9 for event in heard)
    assert all(0 <= event.onset < event.offset <= 6.0 for event in heard)


def test_negatives_have_distractors_and_no_annotations(tmp_path: Path) -> None:
    others = Materials(None, backgrounds(tmp_path / "backgrounds"), clips(tmp_path / "clips"))
    settings = replace(SETTINGS, events=(0, 0), distractors=(3, 3), count=1)
    (written,) = write_soundscapes(tmp_path / "out", others, settings, progress=False)
    assert written.heard == ()
    quiet, _ = Maker(replace(others, distractors=None), replace(settings, distractors=(0, 0))).make(0)
    samples, _ = soundfile.read(written.audio)
    crest = [np.abs(x).max() / np.sqrt(np.mean(x**2)) for x in (samples, quiet.samples)]
    assert crest[0] > 1.3 * crest[1]


def test_backgrounds_are_made_up_where_there_are_none(tmp_path: Path) -> None:
    scene, heard = Maker(Materials(clips(tmp_path)), SETTINGS).make(0)
    assert heard
    assert np.count_nonzero(scene.samples) > 0.99 * len(scene.samples)


def test_more_can_be_added_and_what_is_complete_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_soundscapes(out, materials(tmp_path), replace(SETTINGS, count=2), progress=False)
    first = sorted(out.glob("*.wav"))[0]
    first.write_bytes(b"left alone")
    lost = sorted(out.glob("*.tsv"))[1]
    kept = lost.read_text()
    lost.unlink()
    write_soundscapes(out, materials(tmp_path), SETTINGS, progress=False)
    assert first.read_bytes() == b"left alone"
    assert lost.read_text() == kept
    assert len(list(out.glob("*.wav"))) == 3


@pytest.mark.parametrize("files", [0, 1, 2, 5])
def test_run_that_was_killed_goes_on_and_gives_the_same_files(tmp_path: Path, files: int) -> None:
    expected = tmp_path / "expected"
    write_soundscapes(expected, materials(tmp_path), SETTINGS, progress=False)
    assert_killed(run_python(WRITE, tmp_path, files))
    write_soundscapes(tmp_path / "out", materials(tmp_path), SETTINGS, progress=False)
    assert content(tmp_path / "out", *PATTERNS) == content(expected, *PATTERNS)


@pytest.mark.parametrize("other", [{"seed": 5}, {"snr_db": (0.0, 1.0)}, {"speed": (0.9, 1.1)}])
def test_folder_of_other_soundscapes_is_refused(tmp_path: Path, other: dict[str, int]) -> None:
    write_soundscapes(tmp_path / "out", materials(tmp_path), replace(SETTINGS, count=1), progress=False)
    with pytest.raises(SettingsError, match=next(iter(other))):
        write_soundscapes(tmp_path / "out", materials(tmp_path), replace(SETTINGS, **other), progress=False)


@pytest.mark.parametrize("role", ["clips", "backgrounds", "distractors"])
def test_folder_of_soundscapes_of_other_materials_is_refused(tmp_path: Path, role: str) -> None:
    given = replace(materials(tmp_path), distractors=clips(tmp_path / "distractors"))
    settings = replace(SETTINGS, distractors=(1, 1), count=1)
    write_soundscapes(tmp_path / "out", given, settings, progress=False)
    first, *rest = getattr(given, role).entries
    other = replace(given, **{role: Manifest(tmp_path, (replace(first, id="other.wav"), *rest))})
    with pytest.raises(SettingsError, match="begun with other settings: manifests"):
        write_soundscapes(tmp_path / "out", other, settings, progress=False)


def test_unreadable_clips_are_listed(tmp_path: Path) -> None:
    given = replace(materials(tmp_path), most_skipped=0.3)
    (tmp_path / "clips" / "rain1.flac").write_text("no audio")
    write_soundscapes(tmp_path / "out", given, SETTINGS, progress=False)
    assert "rain1.flac" in (tmp_path / "out" / SKIPPED_FILE).read_text()
    with pytest.raises(ManifestError, match="1 of 4 clips cannot be read"):
        write_soundscapes(tmp_path / "strict", replace(given, most_skipped=0.0), SETTINGS, progress=False)


def test_labels_can_be_chosen_and_ordered(tmp_path: Path) -> None:
    rain = Materials(clips(tmp_path).in_folds([0, 1]), labels=("Rain", "Chirp"))
    written = write_soundscapes(tmp_path / "out", rain, replace(SETTINGS, count=1), progress=False)
    assert read_annotations(tmp_path / "out" / "soundscape-00000.tsv") == written[0].heard


@pytest.mark.parametrize(
    "wrong",
    [
        {"events": (3, 2)},
        {"count": 0},
        {"polyphony": 0},
        {"longest_seconds": 12.0},
        {"in_rooms": 2.0},
        {"events": (-1, 2)},
        {"speed": (1.2, 0.8)},
        {"speed": (0.0, 1.0)},
        {"peak_dbfs": (-3.0, 1.0)},
        {"snr_db": (float("nan"), 1.0)},
        {"margin_seconds": -1.0},
        {"bridge_seconds": float("inf")},
        {"seconds": float("inf")},
        {"longest_seconds": -0.5},
        {"seed": -1},
    ],
)
def test_impossible_settings_are_refused_in_a_few_words(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="need") as refused:
        replace(SETTINGS, **wrong)
    assert next(iter(wrong)) in str(refused.value)
    assert len(str(refused.value)) < 100


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_impossible_share_of_unreadable_clips_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="need a share most_skipped of 0 to 1"):
        Materials(most_skipped=share)


def test_events_need_clips() -> None:
    with pytest.raises(ValueError, match="2 to 3 clips need a manifest of clips"):
        Maker(Materials(), SETTINGS)
