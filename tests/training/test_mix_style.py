import numpy as np
import pytest
import torch
from torch import Tensor

from training.mix_style import draw_style, in_style
from training.mixup import Mixup


def clips(seed: int = 0) -> Tensor:
    """Three clips whose bands lie and move differently."""
    generator = torch.Generator().manual_seed(seed)
    scale, place = torch.rand(3, 1, 8, generator=generator) + 0.5, torch.randn(3, 1, 8, generator=generator)
    return torch.randn(3, 50, 8, generator=generator) * scale + place


def test_a_clip_takes_its_partners_mean_and_deviation_in_each_band() -> None:
    frames, partner = clips(), torch.tensor([1, 2, 0])
    styled = in_style(frames, Mixup(partner, torch.zeros(3)))
    torch.testing.assert_close(styled.mean(1), frames.mean(1)[partner], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(styled.std(1), frames.std(1)[partner], atol=1e-2, rtol=1e-2)
    ours, theirs = ((x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True) for x in (frames, styled))
    torch.testing.assert_close(ours, theirs, atol=1e-2, rtol=1e-2)


def test_a_style_may_be_taken_in_part_or_kept() -> None:
    frames, partner = clips(), torch.tensor([1, 2, 0])
    torch.testing.assert_close(in_style(frames, Mixup(partner, torch.ones(3))), frames)
    half = in_style(frames, Mixup(partner, torch.full((3,), 0.5)))
    torch.testing.assert_close(half.mean(1), (frames.mean(1) + frames.mean(1)[partner]) / 2, atol=1e-4, rtol=1e-4)


def test_silence_and_a_style_of_silence_are_finite() -> None:
    frames = torch.cat([clips()[:1], torch.full((1, 50, 8), -3.0)])
    assert torch.isfinite(in_style(frames, Mixup(torch.tensor([1, 0]), torch.zeros(2)))).all()


def test_so_many_clips_are_altered_and_each_has_one_partner() -> None:
    style = draw_style(np.random.default_rng(0), 1000, share=0.25)
    assert sorted(style.partner.tolist()) == list(range(1000))
    assert 0.2 < (style.weight < 1).float().mean() < 0.3
    assert torch.equal(draw_style(np.random.default_rng(0), 1000, share=0.25).weight, style.weight)


@pytest.mark.parametrize(("share", "alpha"), [(-0.1, 0.3), (1.1, 0.3), (0.5, 0.0)])
def test_nonsense_is_refused(share: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="share from 0 to 1"):
        draw_style(np.random.default_rng(0), 4, share, alpha)
