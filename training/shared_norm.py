"""Batch norm over the parts of a batch that several processes have.

torch's own does so on GPUs only; this one is for processors, so that what several GPUs train can be tested without any.
"""

from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx

_M = TypeVar("_M", bound=nn.Module)


class SharedBatchNorm(nn.Module):
    """Batch norm whose mean and variance are those of all processes together, as in a single one.

    Args:
        norm: whose weights, statistics and settings it takes over.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        if norm.momentum is None or norm.running_mean is None or norm.running_var is None:
            raise ValueError("need a batch norm with momentum and running statistics")
        self.eps, self.momentum = norm.eps, norm.momentum
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)
        self.register_buffer("num_batches_tracked", norm.num_batches_tracked)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [batch, channels, bands, time]; in training by what all processes have of the batch."""
        if not self.training:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        y = x.float()
        count = y.numel() // y.shape[1] * distributed.get_world_size()
        mean = _total(y.sum((0, 2, 3))) / count
        centred = y - mean[:, None, None]
        variance = _total(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scaled: Tensor = centred / (variance + self.eps).sqrt()[:, None, None]
        if self.weight is not None:
            scaled = scaled * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


def share_batch_norm(module: _M) -> _M:
    """Let every batch norm of the module, changed in place, see all processes; names of tensors stay."""
    if next(module.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call, no-any-return]  # it gives what it got
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, SharedBatchNorm(child))
    return module


class _Total(torch.autograd.Function):
    """The sum over processes, in each of them, with a gradient to each."""

    @staticmethod
    def forward(_ctx: FunctionCtx, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(_ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(values: Tensor) -> Tensor:
    total = values.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total


def _total(values: Tensor) -> Tensor:
    total: Tensor = _Total.apply(values)  # type: ignore[no-untyped-call]  # torch does not annotate it
    return total
