"""A small encoder of the teachers' kind, and its file."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from training.teachers.checkpoints import FAMILIES
from training.teachers.vit import Encoder, Geometry

MATPAC = replace(FAMILIES["matpac"], depth=2)
M2D = replace(FAMILIES["m2d"], depth=2)
SMALL = Geometry(dim=64, depth=2, hidden=96)


def encoder_tensors(geometry: Geometry = SMALL) -> dict[str, Tensor]:
    """Seeded weights by our names, in which every tensor matters."""
    draw = torch.Generator().manual_seed(0)
    wanted = Encoder(geometry).state_dict()
    return {name: 0.3 * torch.randn(value.shape, generator=draw) for name, value in wanted.items()}


def saved(content: object, folder: Path, name: str = "teacher.pt") -> Path:
    """Save as users' files are."""
    path = folder / name
    torch.save(content, path)
    return path


def audio(seconds: float, batch: int = 1) -> Tensor:
    """Noise at 16 kHz, [b, n]."""
    return 0.1 * torch.randn(batch, round(16_000 * seconds), generator=torch.Generator().manual_seed(1))
