from pathlib import Path

import numpy as np
import pytest
import torch

from ssondo_stream.errors import AudioError
from ssondo_stream.mel import log_mel
from tests.training.parts_extract import tones
from training.clips import read_clip
from training.manifest import open_manifest
from training.teachers import TeacherError, load_teacher
from training.teachers.textures import CONTEXT_FRAMES, MEL, TEXTURES_FILE, TextureTeacher, fit_textures, texture

RATE = MEL.sample_rate


def noise(seconds: float, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    """Statistics of some tones."""
    fit_textures(open_manifest(tones(tmp_path / "clips", 6)), tmp_path / "textures", 1.0)
    return tmp_path / "textures"


def test_a_texture_is_the_same_at_any_level() -> None:
    loud, soft = (texture(log_mel(gain * noise(3), MEL)) for gain in (1.0, 0.5))
    np.testing.assert_allclose(loud, soft, atol=0.05)


def test_a_texture_tells_steady_from_pulsed_noise_more_than_noise_from_noise() -> None:
    pulses = noise(3) * (np.arange(3 * RATE) % (RATE // 8) < RATE // 16)
    steady, other, pulsed = (texture(log_mel(one.astype(np.float32), MEL)) for one in (noise(3), noise(3, 1), pulses))
    assert np.linalg.norm(steady - pulsed) > 3 * np.linalg.norm(steady - other)


@pytest.mark.parametrize("samples", [np.zeros(2 * RATE, np.float32), np.full(2 * RATE, 0.3, np.float32)])
def test_a_texture_of_silence_is_finite(samples: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    assert np.isfinite(texture(log_mel(samples, MEL))).all()


def test_the_training_set_itself_is_standard(tmp_path: Path, fitted: Path) -> None:
    embedded = load_teacher(str(fitted)).embed_frames(
        torch.from_numpy(np.stack([noise(1.0, seed) for seed in range(3)]))
    )
    assert embedded.abs().max() <= 3
    clips = open_manifest(tmp_path / "clips")
    heard = np.stack([read_clip(clips.path(entry), RATE, 1.0).samples for entry in clips.entries])
    assert TextureTeacher(fitted).embed(torch.from_numpy(heard)).mean(0).abs().mean() < 0.1


def test_a_column_is_told_by_its_surroundings(fitted: Path) -> None:
    teacher = TextureTeacher(fitted)
    half = np.concatenate([noise(5), np.sin(np.arange(5 * RATE) * 0.1).astype(np.float32)])
    frames = teacher.embed_frames(torch.from_numpy(half)[None])[0]
    assert frames.shape == (20, teacher.embedding_dim)
    alone = teacher.embed_frames(torch.from_numpy(half[: MEL.samples_for(CONTEXT_FRAMES)])[None])[0]
    torch.testing.assert_close(frames[0], alone[0])
    assert torch.equal(frames[0], frames[2])
    assert not torch.equal(frames[0], frames[10])


def test_what_cannot_be_heard_is_refused(fitted: Path) -> None:
    with pytest.raises(AudioError, match="at least"):
        TextureTeacher(fitted).embed(torch.zeros(1, 1000))


def test_a_missing_or_damaged_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="cannot be read as statistics"):
        TextureTeacher(tmp_path)
    (tmp_path / TEXTURES_FILE).write_bytes(b"nonsense")
    with pytest.raises(TeacherError, match=TEXTURES_FILE):
        load_teacher(str(tmp_path))
