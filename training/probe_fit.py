"""Fits a head on frozen embeddings: a linear one to its optimum, one with hidden layers by a fixed number of epochs.

Embeddings are standardised by the clips that it is fitted on, and the standardisation is folded into the first layer,
so that the head takes embeddings as they are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ssondo_stream.students import classifier
from training.probe_data import ProbeData, Task

Loss = Callable[[Tensor, Tensor], Tensor]
_MOST_STEPS = 500  # of L-BFGS, which stops where the gradient vanishes
_AT_ONCE = 65_536  # rows


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a head is fitted.

    Attributes:
        hidden_sizes: hidden layers; none for a linear head.
        strength: of the regularisation. A linear head's loss has half of this times the sum of its squared weights,
            for standardised embeddings; with hidden layers it is AdamW's weight decay.
        epochs, batch, learning_rate, dropout: with hidden layers only; dropout is that of the embeddings.
    """

    hidden_sizes: tuple[int, ...] = ()
    strength: float = 1e-2
    epochs: int = 60
    batch: int = 64
    learning_rate: float = 1e-3
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, *self.hidden_sizes) < 1:
            raise ValueError(
                f"need epochs, batch and hidden sizes >= 1, got {self.epochs}, {self.batch} and {self.hidden_sizes}"
            )
        if not 0 <= self.strength < math.inf or not 0 < self.learning_rate < math.inf or not 0 <= self.dropout < 1:
            raise ValueError(
                "need strength >= 0, learning_rate > 0 and 0 <= dropout < 1, "
                f"got {self.strength}, {self.learning_rate} and {self.dropout}"
            )


def fit(data: ProbeData, task: Task, recipe: Recipe, seed: int = 0) -> nn.Module:
    """A head [..., dim] -> logits [..., labels], in evaluation mode.

    Args:
        data: all of which it is fitted on.
        task: softmax cross-entropy, or binary cross-entropy summed over labels; means over clips.
        recipe: how.
        seed: of the first weights, the order of clips and dropout; a linear head has none of these.
    """
    mean, deviation = _standard(data.embeddings)
    rows = ((torch.from_numpy(data.embeddings) - mean) / deviation).float()
    targets = torch.from_numpy(data.targets)
    fitter = _with_hidden if recipe.hidden_sizes else _linear
    with torch.random.fork_rng(devices=[]):  # what others draw at random is left as it was
        torch.manual_seed(seed)
        head = fitter(rows, targets, task, recipe)
    return _taking_raw(head, mean, deviation).requires_grad_(False).eval()


def fit_linear(embeddings: NDArray[np.float32], targets: NDArray[np.float32], strength: float) -> nn.Module:
    """A linear head [..., dim] -> logits [..., labels] for targets [rows, labels] anywhere from 0 to 1."""
    mean, deviation = _standard(embeddings)
    rows = (torch.from_numpy(embeddings) - mean) / deviation
    head = _linear(rows, torch.from_numpy(targets), "multi", Recipe(strength=strength))
    return _taking_raw(head, mean, deviation).requires_grad_(False).eval()


@torch.no_grad()
def head_scores(head: nn.Module, embeddings: NDArray[np.float32], task: Task) -> NDArray[np.float32]:
    """Scores of embeddings [clips, dim]: [clips, labels], 0 to 1."""
    starts = range(0, len(embeddings), _AT_ONCE)
    parts = [_ACTIVATIONS[task](head(torch.from_numpy(embeddings[start : start + _AT_ONCE]))) for start in starts]
    scores: NDArray[np.float32] = torch.cat(parts).numpy()
    return scores


@torch.no_grad()
def head_loss(head: nn.Module, data: ProbeData, task: Task) -> float:
    """What `fit` makes small, without the regularisation."""
    return float(_LOSSES[task](head(torch.from_numpy(data.embeddings)), torch.from_numpy(data.targets)))


def _linear(rows: Tensor, targets: Tensor, task: Task, recipe: Recipe) -> nn.Module:
    """The optimum of a convex loss, from zeros, by L-BFGS in double precision."""
    head, rows = nn.Linear(rows.shape[1], targets.shape[1]).double(), rows.double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimiser = torch.optim.LBFGS(
        head.parameters(),
        max_iter=_MOST_STEPS,
        history_size=20,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        optimiser.zero_grad()
        loss = _LOSSES[task](head(rows), targets) + recipe.strength / 2 * head.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it partly
        return float(loss.detach())

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return head


def _with_hidden(rows: Tensor, targets: Tensor, task: Task, recipe: Recipe) -> nn.Module:
    """AdamW with a cosine schedule over the epochs."""
    head = classifier(rows.shape[1], targets.shape[1], recipe.hidden_sizes)
    optimiser = torch.optim.AdamW(head.parameters(), lr=recipe.learning_rate, weight_decay=recipe.strength)
    steps = recipe.epochs * -(-len(rows) // recipe.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(rows))
        for start in range(0, len(rows), recipe.batch):
            batch = order[start : start + recipe.batch]
            loss = _LOSSES[task](head(functional.dropout(rows[batch], recipe.dropout)), targets[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it partly
            optimiser.step()
            schedule.step()
    return head


def _standard(embeddings: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each dimension, in double precision; 1 for one that never changes."""
    mean, deviation = embeddings.mean(axis=0, dtype=np.float64), embeddings.std(axis=0, dtype=np.float64)
    flat = deviation <= 1e-7 * (np.abs(mean) + 1e-12)
    return torch.from_numpy(mean), torch.from_numpy(np.where(flat, 1.0, deviation))


@torch.no_grad()
def _taking_raw(head: nn.Module, mean: Tensor, deviation: Tensor) -> nn.Module:
    """W (x - m) / s + b = (W / s) x + (b - (W / s) m), for the first layer."""
    head = head.double()
    first = next(layer for layer in head.modules() if isinstance(layer, nn.Linear))
    first.weight.div_(deviation)
    first.bias.sub_(first.weight @ mean)
    return head.float()


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits, targets.to(logits.dtype).argmax(dim=1))


def _binary(logits: Tensor, targets: Tensor) -> Tensor:
    loss = functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    return loss.sum(dim=1).mean()


_LOSSES: dict[Task, Loss] = {"single": _cross_entropy, "multi": _binary}
_ACTIVATIONS: dict[Task, Callable[[Tensor], Tensor]] = {
    "single": lambda logits: logits.softmax(dim=1),
    "multi": torch.sigmoid,
}
