"""Several processes that train one student on parts of each batch.

Contrastive losses and batch norm look at the whole batch, so its parts are put together again, in the order that they
would have in a single process: process r has the rows r, r + world, r + 2 world and so on.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx
from torch.nn.parallel import DistributedDataParallel

from training.shared_norm import share_batch_norm
from training.tables import RecipeError

_M = TypeVar("_M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank, world: its number, and how many there are.
        device: that it works on.
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    def gather(self, rows: Tensor) -> Tensor:
        """[b, ...] of each process -> [b * world, ...] in all of them; its gradient is that of the whole batch's loss.

        Every process computes the same loss of the same rows, so the gradient of its own needs no communication. It is
        multiplied by `world`, because the gradients of weights are averaged over processes, not added.
        """
        if self.world == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows.contiguous(), self.rank, self.world)  # type: ignore[no-untyped-call]
        return gathered

    def own(self, rows: Tensor) -> Tensor:
        """[b * world, ...] -> its own [b, ...]."""
        return rows[self.rank :: self.world]

    def together(self, module: _M) -> tuple[_M, nn.Module]:
        """A module whose batch norm sees the whole batch, and the same wrapped so that gradients are averaged."""
        module = module.to(self.device)
        if self.world == 1:
            return module, module
        module = share_batch_norm(module)
        return module, DistributedDataParallel(module)

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def connected(device: str = "auto") -> Generator[Processes]:
    """The processes that `torchrun` started, or this one alone.

    Args:
        device: "cpu", "cuda" (with torchrun each its own GPU), or "auto" for a GPU where there is one.

    Raises:
        RecipeError: there is no such device.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = _device(device)
    if world == 1:
        yield Processes(device=chosen)
        return
    if chosen.startswith("cuda"):
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.startswith("cuda") else "gloo", rank=rank, world_size=world)
    try:
        yield Processes(rank, world, chosen)
    finally:
        distributed.destroy_process_group()


def _device(name: str) -> str:
    there = torch.cuda.is_available()
    if name == "cpu" or (name == "auto" and not there):
        return "cpu"
    if name not in ("auto", "cuda") and not name.startswith("cuda:"):
        raise RecipeError(f"no device {name!r}: expected auto, cpu, cuda or cuda:N")
    if not there:
        raise RecipeError(f"device {name!r}: torch finds no GPU here")
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name in ("auto", "cuda") else name


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, rank: int, world: int) -> Tensor:
        ctx.place = rank, world  # type: ignore[attr-defined]  # the context is what a function keeps things in
        parts = [torch.empty_like(rows) for _ in range(world)]
        distributed.all_gather(parts, rows)
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        rank, world = ctx.place  # type: ignore[attr-defined]
        return gradient[rank::world] * world, None, None
