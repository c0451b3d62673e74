"""The exponential moving average of a student's weights: steadier than the weights of any one step."""

import copy
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

_M = TypeVar("_M", bound=nn.Module)

_WARMUP = 10  # early averages forget faster, or the random weights of the start would stay for 1 / (1 - decay) steps


class Average(Generic[_M]):
    """Average of a module's weights and running statistics.

    State is the module that has them, and the number of updates.

    Args:
        module: as it is at the start; a copy is kept.
        decay: share that the average keeps of itself at each update, in [0, 1).
    """

    def __init__(self, module: _M, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"need 0 <= decay < 1, got {decay}")
        self.module: _M = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's present state by 1 - decay, and at first by more: 10 / (10 + updates)."""
        self.updates += 1
        share = max(1 - self.decay, _WARMUP / (_WARMUP + self.updates))
        for mine, new in zip(self.module.state_dict().values(), module.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(new, share)
            else:
                mine.copy_(new)

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, statistics, and under `updates` their number."""
        return {**self.module.state_dict(), "updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from another average's state."""
        tensors = dict(state)
        self.updates = int(tensors.pop("updates"))
        self.module.load_state_dict(tensors)
