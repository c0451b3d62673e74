from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.training.parts_streams import RATE, Fickle
from training.clip_scores import ClipScores, check_clips, clip_figures, score_clips
from training.errors import ManifestError
from training.manifest import Entry, Manifest
from training.skipping import Skipping

LEVELS = {"loud0.wav": 0.5, "loud1.wav": 0.3, "quiet0.wav": 1e-4, "quiet1.wav": 1e-3}


def clips(folder: Path) -> Manifest:
    """Loud and quiet clips of other rates and lengths than the student's."""
    for name, level in LEVELS.items():
        noise = level * np.random.default_rng(0).standard_normal(5 * 44_100)
        soundfile.write(folder / name, noise, 44_100, subtype="FLOAT")
    return Manifest(folder, tuple(Entry(name, ("Loud" if "loud" in name else "Quiet",), 1) for name in LEVELS))


def test_clips_are_scored_as_windows_of_their_own(tmp_path: Path) -> None:
    student = Fickle()
    found = score_clips(student, clips(tmp_path), progress=False)
    assert [entry.id for entry in found.entries] == list(LEVELS)
    assert found.scores.shape == (4, 2)
    assert (found.scores[:2, 0] > found.scores[2:, 0]).all()
    figures = clip_figures(found, ["Loud", "Quiet"], resamples=20)
    assert figures["macro average precision"].value == 1.0
    assert set(figures) == {
        "accuracy",
        "macro average precision",
        "average precision, Loud",
        "average precision, Quiet",
    }


def test_long_clip_is_heard_for_one_window(tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(25 * RATE)
    for name, samples in (("long.wav", noise), ("first.wav", noise[: 10 * RATE])):
        soundfile.write(tmp_path / name, samples, RATE, subtype="FLOAT")
    found = score_clips(Fickle(), Manifest(tmp_path, (Entry("long.wav"), Entry("first.wav"))), progress=False)
    np.testing.assert_allclose(found.scores[0], found.scores[1], atol=1e-4)


def test_unreadable_clips_are_listed_or_too_many(tmp_path: Path) -> None:
    manifest = clips(tmp_path)
    (tmp_path / "loud0.wav").write_text("no audio")
    skipping = Skipping(0.25)
    found = score_clips(Fickle(), manifest, skipping, progress=False)
    assert [skipped.id for skipped in skipping.found] == ["loud0.wav"]
    assert len(found.entries) == len(found.scores) == 3
    with pytest.raises(ManifestError, match=r"1 of 4 clips cannot be used, .*; the last: loud0\.wav: .* as audio"):
        score_clips(Fickle(), manifest, progress=False)


def scored(*labels: tuple[str, ...]) -> ClipScores:
    entries = tuple(Entry(f"{i}.wav", of) for i, of in enumerate(labels))
    return ClipScores(entries, np.array([[0.9, 0.2, 0.95], [0.1, 0.8, 0.95]], np.float32)[: len(labels)])


def test_labels_that_no_clip_has_take_no_part() -> None:
    figures = clip_figures(scored(("Bark",), ("Rain",)), ["Bark", "Rain", "Siren"], resamples=10)
    assert figures["accuracy"].value == 1.0
    assert "average precision, Siren" not in figures


def test_clips_with_several_labels_have_no_accuracy() -> None:
    assert "accuracy" not in clip_figures(scored(("Bark", "Rain"), ("Rain",)), ["Bark", "Rain", "Siren"], resamples=10)


def test_label_that_the_student_does_not_know_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"0\.wav: the student has no label 'Owl'"):
        clip_figures(scored(("Owl",)), ["Bark", "Rain", "Siren"])


def test_clips_that_nothing_can_be_measured_on_are_refused_before_they_are_heard() -> None:
    for clip, said in (
        (Entry("a.wav"), "no clip has a label"),
        (Entry("a.wav", ("Owl",)), "no label 'Owl'; known: Bark"),
    ):
        with pytest.raises(ManifestError, match=said):
            check_clips(Manifest(Path("none"), (clip,)), ["Bark"])
    check_clips(Manifest(Path("none"), (Entry("a.wav", ("Bark",)), Entry("b.wav"))), ["Bark"])
