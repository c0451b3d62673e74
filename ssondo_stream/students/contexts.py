"""Means over the frames around each column, by pooling alone, so that a network of any engine can carry them out."""

import torch
from torch import Tensor
from torch.nn import functional

CONTEXT_FRAMES = 320
"""Frames, five seconds: of shorter ones rhythms and textures tell far less."""
STEP_FRAMES = 16
"""Frames from one patch of a context to the next."""
_LEAST_SHARE = 1e-6
_CENTRE = 2  # a context's middle column is that of its half


class Contexts:
    """Stretches of 320 frames, one from the beginning of every column on.

    Args:
        column_frames: frames from one column to the next.

    Raises:
        ValueError: they do not divide a context, or are not whole steps.
    """

    def __init__(self, column_frames: int) -> None:
        if CONTEXT_FRAMES % column_frames or column_frames % STEP_FRAMES:
            raise ValueError(
                f"textures need column_frames that divide {CONTEXT_FRAMES} and that {STEP_FRAMES} divides, "
                f"got {column_frames}"
            )
        self.column_frames, self.columns = column_frames, CONTEXT_FRAMES // column_frames

    def padded(self, values: Tensor) -> Tensor:
        """[batch, n, time] with zeros behind, so that a column that has begun is whole."""
        return functional.pad(values, (0, self.column_frames - 1))

    def total(self, values: Tensor) -> Tensor:
        """[batch, n, time] -> [batch, n, columns], the share of the context's sum."""
        return self.of_steps(functional.avg_pool1d(values, self.column_frames), self.columns, 1)

    def mean(self, values: Tensor, weight: Tensor) -> Tensor:
        """[batch, n, time], and weights [batch, 1 or n, time] -> [batch, n, columns]."""
        return self.total(values * weight) / self.total(weight).clamp(min=_LEAST_SHARE)

    def of_steps(self, values: Tensor, steps: int, stride: int) -> Tensor:
        """Means of so many steps [batch, n, steps], from every `stride` on; what is missing at the end counts as 0."""
        return functional.avg_pool1d(functional.pad(values, (0, steps - 1)), steps, stride)

    def nearest(self, of: Tensor, inside: Tensor) -> Tensor:
        """For each column what is of the context around it, or of the nearest that is inside altogether.

        Args:
            of: [batch, n, columns], of the context that begins with each column.
            inside: [batch, 1, columns] share of that context that there is.
        """
        number = torch.ones_like(inside).cumsum(2) - 1
        last = ((inside > 1 - _LEAST_SHARE * CONTEXT_FRAMES).to(of.dtype).sum(2, keepdim=True) - 1).clamp(min=0)
        nearest = torch.minimum((number - self.columns // _CENTRE).clamp(min=0), last).long()
        return of.gather(2, nearest.expand(-1, of.shape[1], -1))
