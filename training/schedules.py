"""Learning-rate schedules: multipliers of the base rate, as functions of the step.

`torch.optim.lr_scheduler.LambdaLR` takes such a function as it is, stepped once after every optimiser step; and as
functions of the step alone they need no state to resume.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

Multiplier = Callable[[int], float]
"""Optimiser steps done -> what the base learning rate is multiplied with."""


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """A schedule, and what it depends on.

    Attributes:
        name: in `SCHEDULES`.
        warmup_epochs, hold_until_epoch, down_epochs, last: of "published": where the rise ends and the descent begins,
            how long that takes, and the multiplier at its end.
        by_epoch: whether "published" changes between epochs only, as it was; short trainings want each step.
        warmup_share: of all steps, for "one_cycle".
        start_divisor, end_divisor: "one_cycle" begins at 1 / start_divisor and ends at that / end_divisor.
    """

    name: str = "published"
    warmup_epochs: float = 8
    hold_until_epoch: float = 80
    down_epochs: float = 95
    last: float = 0.01
    by_epoch: bool = True
    warmup_share: float = 0.3
    start_divisor: float = 25.0
    end_divisor: float = 1e4

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise ValueError(f"no schedule {self.name!r}: expected one of {', '.join(SCHEDULES)}")
        if not (0 <= self.warmup_epochs <= self.hold_until_epoch and self.down_epochs > 0 and 0 <= self.last <= 1):
            raise ValueError(
                "need 0 <= warmup_epochs <= hold_until_epoch, down_epochs > 0 and 0 <= last <= 1, got "
                f"{self.warmup_epochs}, {self.hold_until_epoch}, {self.down_epochs}, {self.last}"
            )
        if not (0 < self.warmup_share < 1 and self.start_divisor >= 1 and self.end_divisor >= 1):
            raise ValueError(
                "need 0 < warmup_share < 1 and divisors of at least 1, got "
                f"{self.warmup_share}, {self.start_divisor}, {self.end_divisor}"
            )


def schedule(settings: ScheduleSettings, steps_per_epoch: int, epochs: int) -> Multiplier:
    """The schedule of a training, for `LambdaLR`.

    Args:
        settings: which.
        steps_per_epoch: optimiser steps.
        epochs: in all.
    """
    if min(steps_per_epoch, epochs) < 1:
        raise ValueError(f"need steps_per_epoch and epochs of at least 1, got {steps_per_epoch} and {epochs}")
    return partial(SCHEDULES[settings.name], settings, steps_per_epoch, epochs)


def _published(settings: ScheduleSettings, steps_per_epoch: int, _epochs: int, step: int) -> float:
    """Exponential rise, plateau, linear descent (S-SONDO, from EfficientAT).

    exp(-5 (1 - clip(e, 0.5, w) / w)^2) up to the end w of the warm-up, and in the descent
    last + (1 - last) (end - e) / down, where e is the epoch.
    """
    epoch = step // steps_per_epoch if settings.by_epoch else step / steps_per_epoch
    rise, fall = 1.0, 1.0
    if epoch < settings.warmup_epochs:
        rise = math.exp(-5 * (1 - min(max(epoch, 0.5), settings.warmup_epochs) / settings.warmup_epochs) ** 2)
    if epoch > settings.hold_until_epoch:
        left = max(0.0, settings.hold_until_epoch + settings.down_epochs - epoch) / settings.down_epochs
        fall = settings.last + (1 - settings.last) * left
    return rise * fall


def _one_cycle(settings: ScheduleSettings, steps_per_epoch: int, epochs: int, step: int) -> float:
    """Half a cosine up, half a cosine down (Smith and Topin 2017); the base rate is the peak."""
    steps = steps_per_epoch * epochs
    peak = max(settings.warmup_share * steps - 1, 0.0)
    start = 1 / settings.start_divisor
    if step < peak:
        return _cosine(start, 1.0, step / peak)
    return _cosine(1.0, start / settings.end_divisor, (step - peak) / max(steps - 1 - peak, 1.0))


def _constant(_settings: ScheduleSettings, _steps_per_epoch: int, _epochs: int, _step: int) -> float:
    return 1.0


def _cosine(begin: float, end: float, share: float) -> float:
    return end + (begin - end) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


SCHEDULES: dict[str, Callable[[ScheduleSettings, int, int, int], float]] = {
    "published": _published,
    "one_cycle": _one_cycle,
    "constant": _constant,
}
