from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from training.annotations import Annotated, Heard
from training.errors import AudioFileError, ManifestError
from training.recordings import annotations_sha256, audio_sha256, readable
from training.skipping import Skipping


def recordings(folder: Path) -> list[Annotated]:
    """Three, of which the last cannot be read."""
    for name in ("a.wav", "b.wav", "c.wav"):
        soundfile.write(folder / name, np.random.default_rng(0).standard_normal(100) / 9, 8000)
    (folder / "c.wav").write_text("no audio")
    return [Annotated(folder / name, (Heard(0.0, 1.0, "Bark"),)) for name in ("a.wav", "b.wav", "c.wav")]


def test_recordings_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    found, skipping = recordings(tmp_path), Skipping(0.4)
    assert readable(found, skipping) == found[:2]
    assert [skipped.id for skipped in skipping.found] == ["c.wav"]
    assert "cannot be read as audio" in skipping.found[0].reason
    with pytest.raises(ManifestError, match="1 of 3 scenes"):
        readable(found, Skipping(), "scenes")


@pytest.mark.parametrize(
    ("samples", "said"), [(np.zeros(0), "holds no samples"), (np.array([0.1, np.nan]), "holds NaN or infinity")]
)
def test_recordings_that_cannot_be_streamed_are_left_out(
    tmp_path: Path, samples: np.ndarray[tuple[int], np.dtype[np.float64]], said: str
) -> None:
    found, skipping = recordings(tmp_path)[:2], Skipping(0.5)
    soundfile.write(tmp_path / "b.wav", samples, 8000, subtype="FLOAT")
    assert readable(found, skipping) == found[:1]
    assert skipping.found[0].reason == said


def test_recordings_are_known_by_their_names_and_what_is_in_them(tmp_path: Path) -> None:
    found = recordings(tmp_path)[:2]
    before = audio_sha256(found)
    assert audio_sha256([replace(one, heard=()) for one in found]) == before
    assert audio_sha256(found[::-1]) != before
    (tmp_path / "b.wav").write_bytes((tmp_path / "b.wav").read_bytes()[:-1] + b"\xff")
    assert audio_sha256(found) != before
    (tmp_path / "b.wav").unlink()
    with pytest.raises(AudioFileError, match=r"b\.wav: cannot be read \(No such file"):
        audio_sha256(found)


def test_annotations_are_known_by_their_content() -> None:
    one = Annotated(Path("a.wav"), (Heard(0.0, 1.0, "Bark"),))
    moved = replace(one, heard=(Heard(0.0, 1.5, "Bark"),))
    assert annotations_sha256([one]) == annotations_sha256([replace(one, audio=Path("b.wav"))])
    assert annotations_sha256([one]) != annotations_sha256([moved])
