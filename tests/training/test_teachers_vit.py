import pytest
import torch
from torch import Tensor

from ssondo_stream.errors import AudioError
from tests.training.parts_teachers import M2D, MATPAC, SMALL, audio, encoder_tensors
from training.losses import LossSettings, distillation_loss
from training.teachers.checkpoints import Family
from training.teachers.vit import AudioViT, Encoder, Geometry


def teacher(family: Family = MATPAC, geometry: Geometry = SMALL) -> AudioViT:
    encoder = Encoder(geometry)
    encoder.load_state_dict(encoder_tensors(geometry))
    return AudioViT(encoder, family.mel, centred=family.centred)


@pytest.mark.parametrize("family", [MATPAC, M2D])
@pytest.mark.parametrize(("seconds", "columns"), [(0.025, 1), (0.1, 1), (0.3, 2), (5, 32), (10, 63), (30, 188)])
def test_every_length_has_its_columns(family: Family, seconds: float, columns: int) -> None:
    assert teacher(family).embed_frames(audio(seconds)).shape == (1, columns, 5 * 64)


def test_chunks_are_encoded_each_for_itself() -> None:
    network = teacher()
    clip = audio(10)
    frames = network.log_mel(clip)
    ends = torch.nn.functional.pad(frames[:, 608:], (0, 0, 0, 10))  # 998 frames end with zeros up to 1008
    with torch.no_grad():
        expected = torch.cat((network.encoder(frames[:, :608]), network.encoder(ends)), dim=1)
    torch.testing.assert_close(network.embed_frames(clip), expected)


def test_longer_positions_make_longer_chunks() -> None:
    network = teacher(geometry=Geometry(dim=64, depth=2, hidden=96, columns=62))
    clip = audio(9.9)  # 988 frames: one chunk
    frames = torch.nn.functional.pad(network.log_mel(clip), (0, 0, 0, 4))
    with torch.no_grad():
        torch.testing.assert_close(network.embed_frames(clip), network.encoder(frames))


def test_embedding_is_the_mean_of_the_columns() -> None:
    network = teacher()
    torch.testing.assert_close(network.embed(audio(7)), network.embed_frames(audio(7)).mean(1))


def test_clips_of_a_batch_do_not_touch() -> None:
    network, clips = teacher(), audio(2, batch=3)
    alone = torch.cat([network.embed(clip[None]) for clip in clips])
    torch.testing.assert_close(network.embed(clips), alone, atol=1e-4, rtol=1e-4)


def test_front_end_stays_in_float32_under_autocast() -> None:
    network, clip = teacher(), audio(1)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network.log_mel(clip), network.log_mel(clip.half()), atol=0.1, rtol=0)
        assert network.log_mel(clip).dtype == torch.float32


def test_embedding_can_be_the_target_of_a_training_step() -> None:
    student = torch.zeros(2, 320).add(0.1).requires_grad_(True)
    target = teacher().embed(audio(1, batch=2))
    assert not target.requires_grad
    distillation_loss(student, target, LossSettings("mse")).backward()
    assert student.grad is not None


@pytest.mark.parametrize(
    ("clip", "told"),
    [
        (torch.zeros(16_000), r"audio \[b, n\]"),
        (torch.zeros(1, 1, 16_000), r"\[1, 1, 16000\]"),
        (torch.zeros(1, 16_000, dtype=torch.int16), "torch.int16"),
        (torch.zeros(1, 399), "at least 400 samples"),
        (torch.zeros(0, 16_000), "at least 400 samples"),
        (torch.full((1, 16_000), torch.nan), "NaN or infinity"),
        (torch.full((1, 16_000), torch.inf), "NaN or infinity"),
    ],
)
@pytest.mark.parametrize("family", [MATPAC, M2D])
def test_audio_that_cannot_be_heard_is_refused(family: Family, clip: Tensor, told: str) -> None:
    with pytest.raises(AudioError, match=told):
        teacher(family).embed(clip)


def test_impossible_geometry_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 64"):
        Geometry(dim=100)
