import numpy as np
import pytest
import torch

from ssondo_stream.mel import MelConfig, log_mel
from ssondo_stream.students.logmel import LogMel
from tests.parts_checkpoints import audio, golden

NOISE = torch.randn(40_000, generator=torch.Generator().manual_seed(0)) * 0.1
OTHER = MelConfig(sample_rate=16_000, n_fft=400, hop=160, n_mels=40, f_min=20, f_max=8_000, mean=-4.5, std=2.0)


@pytest.mark.parametrize("config", [MelConfig(), OTHER], ids=["published", "another"])
@pytest.mark.parametrize("gain", [1.0, 1e-3, 0.0])
def test_front_end_in_torch_equals_that_in_numpy(config: MelConfig, gain: float) -> None:
    ours = LogMel(config)(NOISE * gain)
    np.testing.assert_allclose(ours.T.numpy(), log_mel((NOISE * gain).numpy(), config), rtol=0, atol=2e-5)


@pytest.mark.parametrize("clip", [0, 1])
def test_front_end_in_torch_is_the_published_one(clip: int) -> None:
    ours = LogMel()(audio(10, clip + 1))
    assert ours.shape == (128, 624)
    np.testing.assert_allclose(ours.numpy(), golden("mn")["log_mel"][clip, 0], rtol=0, atol=2e-5)


def test_leading_axes_stay_and_clips_do_not_mix() -> None:
    front_end, batch = LogMel(), NOISE[:36_000].reshape(3, 2, 6_000)
    images = front_end(batch)
    assert images.shape == (3, 2, 128, MelConfig().frames_in(6_000))
    torch.testing.assert_close(images[2, 1], front_end(batch[2, 1]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_module_of_another_precision_still_computes_in_float32(dtype: torch.dtype) -> None:
    images = LogMel().to(dtype)(NOISE.to(dtype))
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, LogMel()(NOISE.to(dtype).float()), rtol=0, atol=0)


def test_constants_follow_the_device() -> None:
    assert {buffer.device.type for buffer in LogMel().to("meta").buffers()} == {"meta"}


def test_autocast_does_not_reach_the_front_end() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        images = LogMel()(NOISE)
    torch.testing.assert_close(images, LogMel()(NOISE), rtol=0, atol=0)


def test_front_end_leaves_nothing_in_a_state_dict() -> None:
    assert not LogMel().state_dict()
    assert not list(LogMel().parameters())


def test_gradients_reach_the_audio() -> None:
    sound = NOISE.clone().requires_grad_()
    LogMel()(sound).sum().backward()
    assert sound.grad is not None
    assert sound.grad.abs().sum() > 0
