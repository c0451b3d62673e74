"""Inputs to distillation losses, golden ones and such that can be done by hand."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from training.losses import LossSettings, distillation_loss
from training.mixup import Mixup

T = 0.5
CLUSTERS = torch.tensor([7, 7, 3, 3, 7, 1, 1, 3])
# Exponentials of a student's rows against its teacher's, with sums to be done in the head; only ratios matter, and
# cosines fit into unit vectors at a third of them.
HAND = torch.tensor([[4.0, 2.0, 1.0], [2.0, 3.0, 1.0], [1.0, 2.0, 6.0]]) / 3


def golden_inputs() -> tuple[Tensor, Tensor]:
    draw = np.random.RandomState(7)  # the golden file's generator
    student, teacher = draw.standard_normal((8, 48)), 2 * draw.standard_normal((8, 48)) + 0.3
    return torch.from_numpy(student).float(), torch.from_numpy(teacher).float()


def loss(name: str, student: Tensor, teacher: Tensor, clusters: Tensor | None = CLUSTERS, **settings: object) -> float:
    mixup = settings.pop("mixup", None)
    assert mixup is None or isinstance(mixup, Mixup)
    chosen = replace(LossSettings(name, T), **settings)
    return float(distillation_loss(student, teacher, chosen, clusters, mixup))


def unit_rows(*degrees: float) -> Tensor:
    return torch.tensor([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in degrees])


def vectors_of(exponentials: Tensor) -> tuple[Tensor, Tensor]:
    """Unit student and teacher rows whose exp(cos / T) is as asked."""
    cosines = exponentials.log() * T
    rest = (1 - cosines.square().sum(0, keepdim=True)).sqrt()  # a dimension that no student row has
    return torch.eye(4)[:3], torch.cat((cosines, rest)).T
