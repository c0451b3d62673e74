"""Figures for TensorBoard, in the one place that imports it."""

from pathlib import Path
from typing import Protocol

from training.corpus import DistillError


class Scalars(Protocol):
    """Takes figures by name and step."""

    def add_scalar(self, tag: str, value: float, step: int, /) -> None:
        """Add a figure."""

    def close(self) -> None:
        """Write what is left."""


def scalars_for(folder: Path, step: int) -> Scalars:
    """A writer of TensorBoard's files into a folder.

    Args:
        folder: made if it is not there.
        step: that the training goes on from; figures of later steps, which will be done again, are dropped.

    Raises:
        DistillError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # not everybody has it
    except ImportError as error:
        raise DistillError(f"tensorboard is not installed ({error}): install it, or do without it") from error
    writer: Scalars = SummaryWriter(folder, purge_step=step)
    return writer
