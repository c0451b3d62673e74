"""Learning labels instead of a teacher: targets, losses and the sampling of the published supervised baseline.

The baseline goes through the same loop as the distillation, so that the two differ in what is learnt and in nothing
else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from training.errors import ManifestError
from training.manifest import Entry
from training.mixup import Mixup


@dataclass(frozen=True, slots=True)
class LabelLoss:
    """How labels are learnt.

    Attributes:
        loss: "bce" where a clip may have several labels or none, "ce" where it has one of them.
        names: of the labels, in the order of the head's outputs; those of the manifest, sorted, if none are given.
    """

    loss: str = "bce"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.loss not in LABEL_LOSSES:
            raise ValueError(f"no label loss {self.loss!r}: expected one of {', '.join(LABEL_LOSSES)}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"label names must differ, got {list(self.names)}")


def label_loss(logits: Tensor, targets: Tensor, settings: LabelLoss, mixup: Mixup | None = None) -> Tensor:
    """The loss of a batch, a float32 scalar; a mixed clip has its labels by their shares.

    Args:
        logits: [b, labels] of any floating type.
        targets: [b, labels] from 0 to 1, of the clips before mixing.
        settings: which loss.
        mixup: how the clips were blended.
    """
    if logits.shape != targets.shape:
        raise ValueError(f"need logits and targets [b, labels], got {list(logits.shape)} and {list(targets.shape)}")
    with torch.autocast(logits.device.type, enabled=False):
        wanted = targets.float() if mixup is None else mixup.blend(targets.float())
        return LABEL_LOSSES[settings.loss](logits.float(), wanted)


def label_names(entries: Sequence[Entry], settings: LabelLoss) -> tuple[str, ...]:
    """The labels that are learnt.

    Raises:
        ManifestError: there are none.
    """
    names = settings.names or tuple(sorted({label for entry in entries for label in entry.labels}))
    if not names:
        raise ManifestError("no clip of the manifest has a label; it needs a column 'labels'")
    return names


def label_targets(entries: Sequence[Entry], names: Sequence[str], settings: LabelLoss) -> NDArray[np.float32]:
    """Which labels each clip has, [clips, labels] of 0 and 1.

    Raises:
        ManifestError: a clip has a label of another name, or for "ce" not exactly one; the message names the clip.
    """
    place = {name: number for number, name in enumerate(names)}
    targets = np.zeros((len(entries), len(names)), np.float32)
    for row, entry in enumerate(entries):
        if unknown := [label for label in entry.labels if label not in place]:
            raise ManifestError(f"{entry.id}: label {unknown[0]!r} is none of the {len(names)} that are learnt")
        if settings.loss == "ce" and len(set(entry.labels)) != 1:
            raise ManifestError(f"{entry.id}: the loss 'ce' needs one label a clip, this has {len(set(entry.labels))}")
        targets[row, [place[label] for label in entry.labels]] = 1
    return targets


def label_weights(targets: NDArray[np.float32], offset: float = 100.0) -> NDArray[np.float64]:
    """Chance of each clip to be drawn, [clips], summing to 1, as in the published baseline.

    A label that n clips have counts 1 / (offset + n), a clip the sum over its labels; so one without any is not drawn.

    Args:
        targets: [clips, labels] of 0 and 1, not all 0.
        offset: 0 or more; the larger, the less do rare labels count.
    """
    heard = targets.sum(axis=0, dtype=np.float64)
    weights = targets @ (1 / (offset + np.maximum(heard, 1)))
    if not weights.sum() > 0:
        raise ValueError("need a clip with a label")
    return np.asarray(weights / weights.sum(), np.float64)


def _bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over clips and labels."""
    return binary_cross_entropy_with_logits(logits, targets)


def _ce(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over clips of the cross entropy with the labels' shares."""
    return cross_entropy(logits, targets)


LABEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"bce": _bce, "ce": _ce}
