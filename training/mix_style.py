"""Clips in the style of others: what a recording owes to its microphone and its place, not to what sounded there.

Over a clip's time each band has a mean and a deviation, and these are much the same for all cuts of one recording.
Where a network may learn recordings by heart, they are blended with those of another clip. Sources: K. Zhou et al.,
"Domain Generalization with MixStyle", ICLR 2021; by bands of frequency F. Schmid et al., "Knowledge Distillation from
Transformers for Low-Complexity Acoustic Scene Classification", DCASE 2022.
"""

import numpy as np
import torch
from torch import Tensor

from training.mixup import Mixup, with_partners

_LEAST_DEVIATION = 1e-3


def in_style(frames: Tensor, style: Mixup) -> Tensor:
    """Each clip with its bands' means and deviations over time blended with its partner's, [b, t, m], t > 1."""
    precise = frames.double()  # as bands that hardly change would make much of rounding
    mean, deviation = precise.mean(1, keepdim=True), precise.std(1, keepdim=True) + _LEAST_DEVIATION
    return ((precise - mean) / deviation * style.blend(deviation) + style.blend(mean)).to(frames)


def draw_style(
    rng: np.random.Generator, batch: int, share: float, alpha: float = 0.3, device: str | torch.device = "cpu"
) -> Mixup:
    """Draw partners, and how much of its own style each clip keeps, from Beta(alpha, alpha).

    Args:
        rng: the only source of chance.
        batch: rows.
        share: of the clips that are altered, 0 to 1; the others keep their style.
        alpha: of the Beta distribution, above 0; the smaller, the more is all of one style or of the other.
        device: of the tensors.
    """
    if not (0 <= share <= 1 and alpha > 0):
        raise ValueError(f"need a share from 0 to 1 and alpha > 0, got {share} and {alpha}")
    kept = np.where(rng.random(batch) < share, rng.beta(alpha, alpha, size=batch), 1.0).astype(np.float32)
    return with_partners(rng, kept, device)
