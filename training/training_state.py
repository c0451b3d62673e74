"""All that changes while a student is trained, in one place: what a checkpoint holds, and nothing beside it.

There are no random states in it, because chance is drawn anew from seed and place at each step.
"""

import csv
import io
from dataclasses import dataclass, field
from typing import Protocol, cast

import torch
from torch import Tensor

from training.average import Average
from training.checkpoints import State
from training.learner import Learner
from training.sampling import SamplerState, SeededSampler

Figures = tuple[int, int, float, float]
"""Steps done, epoch, mean loss since the figures before, learning rate."""


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, object]: ...

    def load_state_dict(self, state: dict[str, object], /) -> object: ...


@dataclass(slots=True)
class TrainingState:
    """The state of a training.

    Attributes:
        learner, optimiser, scaler, sampler, average: the parts that have one of their own.
        step: optimiser steps done.
        history: figures so far.
        total, count: sum of the losses since the last figures, and of how many steps.
    """

    learner: Learner
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    sampler: SeededSampler
    average: Average[Learner] | None
    step: int = 0
    history: list[Figures] = field(default_factory=list)
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    count: int = 0

    def add(self, loss: Tensor) -> None:
        """A step was done; its loss stays on its device, so that nothing waits for it."""
        self.total = self.total.to(loss.device) + loss
        self.count += 1
        self.step += 1

    def sum_up(self, epoch: int, rate: float) -> Figures:
        """Figures of the steps since the last ones, which begin anew."""
        figures = (self.step, epoch, float(self.total) / max(self.count, 1), rate)
        self.history.append(figures)
        self.total, self.count = torch.zeros(()), 0
        return figures

    def history_csv(self) -> str:
        """The figures as a table."""
        text = io.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("step", "epoch", "loss", "rate"))
        table.writerows(self.history)
        return text.getvalue()

    def content(self) -> State:
        """What `restore` needs."""
        state: State = {name: part.state_dict() for name, part in self._parts().items()}
        plain = {"step": self.step, "history": self.history, "total": self.total, "count": self.count}
        return {**state, "sampler": dict(self.sampler.state_dict()), **plain}

    def restore(self, state: State | None) -> None:
        """Go on where another training of the same recipe and data was; nothing is done without a state."""
        if state is None:
            return
        for name, part in self._parts().items():
            part.load_state_dict(cast(dict[str, object], state[name]))
        self.sampler.load_state_dict(cast(SamplerState, state["sampler"]))
        self.step, self.count = cast(int, state["step"]), cast(int, state["count"])
        self.history, self.total = list(cast(list[Figures], state["history"])), cast(Tensor, state["total"])

    def _parts(self) -> dict[str, _Stateful]:
        parts = {"learner": self.learner, "optimiser": self.optimiser, "scaler": self.scaler, "average": self.average}
        return {name: cast(_Stateful, part) for name, part in parts.items() if part is not None}
