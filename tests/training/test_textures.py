from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ssondo_stream.errors import AudioError
from ssondo_stream.mel import log_mel
from ssondo_stream.students.contexts import CONTEXT_FRAMES
from ssondo_stream.students.textures import Textures
from tests.training.parts_extract import tones
from training.clips import read_clip
from training.manifest import open_manifest
from training.teachers import TeacherError, load_teacher
from training.teachers.textures import MEL, TEXTURES_FILE, TextureTeacher, fit_textures

RATE = MEL.sample_rate


def noise(seconds: float, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    """Statistics of some tones."""
    fit_textures(open_manifest(tones(tmp_path / "clips", 6)), tmp_path / "textures", 1.0)
    return tmp_path / "textures"


def test_the_training_set_itself_is_standard(tmp_path: Path, fitted: Path) -> None:
    embedded = load_teacher(str(fitted)).embed_frames(
        torch.from_numpy(np.stack([noise(1.0, seed) for seed in range(3)]))
    )
    assert embedded.abs().max() <= 3
    clips = open_manifest(tmp_path / "clips")
    heard = np.stack([read_clip(clips.path(entry), RATE, 1.0).samples for entry in clips.entries])
    assert TextureTeacher(fitted).embed(torch.from_numpy(heard)).mean(0).abs().mean() < 0.1


def test_what_it_says_are_standardised_statistics_of_textures(fitted: Path) -> None:
    """As they would be with what it knows of their means and deviations."""
    teacher, sounds = TextureTeacher(fitted), np.stack([noise(12.0), noise(12.0, 1)])
    known = load_file(fitted / TEXTURES_FILE)
    with torch.no_grad():
        found = Textures(MEL.n_mels)(torch.from_numpy(np.stack([log_mel(one, MEL) for one in sounds])))
    expected = np.clip((found.transpose(1, 2).numpy() - known["mean"]) / known["deviation"], -3, 3)
    np.testing.assert_allclose(teacher.embed_frames(torch.from_numpy(sounds)).numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("samples", [np.zeros(2 * RATE, np.float32), np.full(2 * RATE, 0.3, np.float32)])
def test_silence_is_told_in_finite_numbers(fitted: Path, samples: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    assert TextureTeacher(fitted).embed(torch.from_numpy(samples)[None]).isfinite().all()


def test_a_column_is_told_by_its_surroundings(fitted: Path) -> None:
    teacher = TextureTeacher(fitted)
    half = np.concatenate([noise(8), np.sin(np.arange(8 * RATE) * 0.1).astype(np.float32)])
    frames = teacher.embed_frames(torch.from_numpy(half)[None])[0]
    assert frames.shape == (-(-MEL.frames_in(len(half)) // 32), teacher.embedding_dim)
    assert MEL.samples_for(CONTEXT_FRAMES) < len(half) / 2
    assert torch.equal(frames[0], frames[5])
    assert torch.equal(frames[-1], frames[-5])
    assert not torch.equal(frames[0], frames[-1])


def test_what_cannot_be_heard_is_refused(fitted: Path) -> None:
    with pytest.raises(AudioError, match="at least"):
        TextureTeacher(fitted).embed(torch.zeros(1, 1000))


def test_a_missing_or_damaged_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="cannot be read as statistics"):
        TextureTeacher(tmp_path)
    (tmp_path / TEXTURES_FILE).write_bytes(b"nonsense")
    with pytest.raises(TeacherError, match=TEXTURES_FILE):
        load_teacher(str(tmp_path))
