"""Mixup: a batch blended with a permutation of itself.

What was blended travels with the batch as a value, so that every loss can give the mixed clips a meaning.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Mixup:
    """Which clip was blended into each, and how much of each is its own.

    Attributes:
        partner: [b] integers, a permutation of the batch's rows.
        weight: [b] in 0..1, the share of the clip itself; the rest is its partner's.
    """

    partner: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        if self.partner.dim() != 1 or self.partner.shape != self.weight.shape or self.partner.is_floating_point():
            raise ValueError(
                f"need partner [b] of integers and weight [b], got {self.partner.dtype} {list(self.partner.shape)} "
                f"and {list(self.weight.shape)}"
            )

    def blend(self, frames: Tensor) -> Tensor:
        """[b, ...] -> [b, ...]: each row with its partner's, by their weights."""
        weight = self.weight.to(frames.dtype).view(-1, *[1] * (frames.dim() - 1))
        return weight * frames + (1 - weight) * frames[self.partner]

    def shares(self) -> Tensor:
        """[b, b] float32: row i says how much of each clip is in mixed clip i; rows sum to 1."""
        weight = self.weight.float()
        own = torch.diag(weight)
        return own.index_put((torch.arange(len(own), device=own.device), self.partner), 1 - weight, accumulate=True)


def draw_mixup(rng: np.random.Generator, batch: int, alpha: float = 0.3, device: str | torch.device = "cpu") -> Mixup:
    """Draw partners, and weights max(b, 1 - b) with b ~ Beta(alpha, alpha), so that a clip stays mostly itself.

    The published recipe blends log-mel frames, with alpha 0.3 (EfficientAT's).

    Args:
        rng: the only source of chance.
        batch: rows.
        alpha: of the Beta distribution, above 0; the smaller, the fewer clips are blended noticeably.
        device: of the tensors.
    """
    if alpha <= 0:
        raise ValueError(f"need alpha > 0, got {alpha}")
    share = rng.beta(alpha, alpha, size=batch).astype(np.float32)
    return with_partners(rng, np.maximum(share, 1 - share), device)


def with_partners(rng: np.random.Generator, weight: NDArray[np.float32], device: str | torch.device = "cpu") -> Mixup:
    """Draw a partner for each row of a batch, of which so much is its own, [b] in 0..1."""
    partner = torch.from_numpy(rng.permutation(len(weight)))
    return Mixup(partner.to(device), torch.from_numpy(weight).to(device))
