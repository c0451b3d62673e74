"""Distillation losses: how far a student's projections are from its teacher's embeddings.

All have one signature, so that a recipe chooses among them by name, and all are computed in float32 whatever the
network runs in: at a temperature of 0.07 the exponentials alone would overflow float16.

Mixup. Row i of a mixed batch holds the share P_ij of clip j: its weight for itself, the rest for its partner, while the
teacher's embeddings are those of the clips as they were. Without mixup P is the identity.

- Losses of single rows (cosine, MSE, L1, KL) are taken against both targets and averaged by their shares.
- Contrastive losses take both targets as positives, weighted by their shares; a target of which the row holds anything
  is not among the negatives of `decoupled`.
- Losses with clusters extend the shares: the row holds Q_ij = sum of P_ik over the clips k of the cluster of j. A
  target is a negative where Q_ij = 0, and in `cluster_aware` a positive of weight Q_ij where P_ij = 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, normalize, one_hot, softplus

from training.mixup import Mixup

Reduction = Literal["batchmean", "published"]


@dataclass(frozen=True, slots=True)
class LossSettings:
    """A loss, and what it depends on.

    Attributes:
        name: in `LOSSES`.
        temperature: divides cosine similarities, or for "kl" the embeddings; above 0, and that of the loss in `LOSSES`
            if not given.
        reduction: of "kl": the sum over dimensions, or as published their mean, whose gradient is that much smaller.
        normalise: whether "mse" and "l1" compare unit vectors instead of raw ones.
        alignment_weight, contrastive_weight, cross_cluster_weight: of the parts of "hybrid".
    """

    name: str = "cosine"
    temperature: float = field(default=None)  # type: ignore[assignment]  # a number once it is made
    reduction: Reduction = "batchmean"
    normalise: bool = False
    alignment_weight: float = 1.0
    contrastive_weight: float = 1.0
    cross_cluster_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ValueError(f"no loss {self.name!r}: expected one of {', '.join(LOSSES)}")
        if self.temperature is None:
            object.__setattr__(self, "temperature", LOSSES[self.name].temperature)
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(f"loss {self.name!r}: need temperature > 0, got {self.temperature}")
        if self.reduction not in ("batchmean", "published"):
            raise ValueError(f"reduction must be 'batchmean' or 'published', got {self.reduction!r}")
        weights = {
            key: getattr(self, key) for key in ("alignment_weight", "contrastive_weight", "cross_cluster_weight")
        }
        if not all(0 <= weight < math.inf for weight in weights.values()) or sum(weights.values()) == 0:
            given = ", ".join(f"{key}={weight}" for key, weight in weights.items())
            raise ValueError(f"need weights >= 0, not all of them 0, got {given}")


@dataclass(frozen=True, slots=True)
class Batch:
    """What a loss compares.

    Attributes:
        student: [b, dim] projections.
        teacher: [b, dim] embeddings of the clips before any mixing.
        clusters: [b] integers, the cluster of each clip.
        mixup: how the student's clips were blended, if they were.
    """

    student: Tensor
    teacher: Tensor
    clusters: Tensor | None = None
    mixup: Mixup | None = None

    def __post_init__(self) -> None:
        rows = (len(self.student),)
        if self.student.dim() != 2 or self.student.shape != self.teacher.shape or not len(self.student):
            raise ValueError(
                f"need student and teacher [b, dim], got {list(self.student.shape)} and {list(self.teacher.shape)}"
            )
        if self.clusters is not None and (self.clusters.shape != rows or self.clusters.is_floating_point()):
            raise ValueError(
                f"need clusters [{rows[0]}] of integers, got {self.clusters.dtype} {list(self.clusters.shape)}"
            )
        if self.mixup is not None and self.mixup.partner.shape != rows:
            raise ValueError(f"need a mixup of {rows[0]} rows, got one of {len(self.mixup.partner)}")

    def shares(self) -> Tensor:
        """P, [b, b]: how much of each clip is in each row."""
        rows = len(self.student)
        return torch.eye(rows, device=self.student.device) if self.mixup is None else self.mixup.shares()

    def members(self) -> Tensor:
        """[b, k] of 0 and 1: the cluster of each clip, among the k in the batch."""
        if self.clusters is None:
            raise ValueError("this loss needs the cluster of each clip")
        return one_hot(torch.unique(self.clusters, return_inverse=True)[1]).float()

    def cluster_shares(self) -> Tensor:
        """Q, [b, b]: how much of each clip's cluster is in each row."""
        members = self.members()
        return self.shares() @ (members @ members.T)

    def similarity(self, temperature: float) -> Tensor:
        """[b, b] cosine of each row with each target, over the temperature."""
        return _unit(self.student) @ _unit(self.teacher).T / temperature


@dataclass(frozen=True, slots=True)
class Loss:
    """An entry of the table.

    Attributes:
        compute: a batch and settings -> a scalar.
        needs_clusters: whether the batch must have them.
        temperature: where a recipe gives none: 0.07 is usual of cosines (CLIP, CLAP), which lie within 1; 4 of the
            softmax over embeddings (Hinton et al. 2015), which anything lower makes one-hot.
    """

    compute: Callable[[Batch, LossSettings], Tensor]
    needs_clusters: bool = False
    temperature: float = 0.07


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    settings: LossSettings,
    clusters: Tensor | None = None,
    mixup: Mixup | None = None,
) -> Tensor:
    """The loss of a batch, a float32 scalar that always has a graph to the student.

    Rows that have no positive or no negative drop out of the losses that need both; with none left the loss is 0.

    Args:
        student: [b, dim] of any floating type.
        teacher: [b, dim] of any floating type, of the clips before mixing.
        settings: which loss.
        clusters: [b] integers; `LOSSES[name].needs_clusters` tells whether they are needed.
        mixup: how the student's clips were blended.

    Raises:
        ValueError: shapes do not match, or clusters are missing.
    """
    with torch.autocast(student.device.type, enabled=False):
        batch = Batch(student.float(), teacher.detach().float(), clusters, mixup)
        return LOSSES[settings.name].compute(batch, settings)


def _unit(x: Tensor) -> Tensor:
    return normalize(x, dim=1, eps=1e-6)


_Rows = Callable[[Tensor, Tensor, LossSettings], Tensor]


def _by_row(loss: _Rows, batch: Batch, settings: LossSettings) -> Tensor:
    """The mean over rows of a loss that compares each with its own target, or with both of a mixed clip."""
    own = loss(batch.student, batch.teacher, settings)
    if batch.mixup is None:
        return own.mean()
    others = loss(batch.student, batch.teacher[batch.mixup.partner], settings)
    return torch.lerp(others, own, batch.mixup.weight.float()).mean()


def _cosine(student: Tensor, teacher: Tensor, _: LossSettings) -> Tensor:
    """1 - cos."""
    return 1 - (_unit(student) * _unit(teacher)).sum(1)


def _difference(student: Tensor, teacher: Tensor, settings: LossSettings) -> Tensor:
    return _unit(student) - _unit(teacher) if settings.normalise else student - teacher


def _mse(student: Tensor, teacher: Tensor, settings: LossSettings) -> Tensor:
    return _difference(student, teacher, settings).square().mean(1)


def _l1(student: Tensor, teacher: Tensor, settings: LossSettings) -> Tensor:
    return _difference(student, teacher, settings).abs().mean(1)


def _kl(student: Tensor, teacher: Tensor, settings: LossSettings) -> Tensor:
    """T^2 KL(softmax(t / T) || softmax(y / T)) (Hinton et al. 2015)."""
    p = log_softmax(teacher / settings.temperature, dim=1)
    q = log_softmax(student / settings.temperature, dim=1)
    terms = p.exp() * (p - q) * settings.temperature**2
    return terms.mean(1) if settings.reduction == "published" else terms.sum(1)


def _contrastive(batch: Batch, settings: LossSettings) -> Tensor:
    """Cross entropy of the pairs along rows and columns, halved (InfoNCE in both directions, as in CLIP and CLAP)."""
    similarity, shares = batch.similarity(settings.temperature), batch.shares()
    pairs = log_softmax(similarity, dim=1) + log_softmax(similarity, dim=0)
    return -0.5 * (shares * pairs).sum() / len(shares)


def _decoupled(batch: Batch, settings: LossSettings) -> Tensor:
    """The positive is not in its own denominator: -S_ii + logsumexp over j != i of S_ij (Yeh et al. 2022)."""
    shares = batch.shares()
    kept = (shares == 0).any(1)
    similarity, shares = batch.similarity(settings.temperature)[kept], shares[kept]
    return _mean(_log_sum(similarity, shares == 0) - (shares * similarity).sum(1))


def _negative_clusters(batch: Batch, settings: LossSettings) -> Tensor:
    """Only clips of other clusters are negatives: -log(e^S_ii / (e^S_ii + sum of e^S_ij with c_j != c_i))."""
    negative = batch.cluster_shares() == 0
    kept = negative.any(1)
    similarity, shares = batch.similarity(settings.temperature)[kept], batch.shares()[kept]
    return _mean((shares * softplus(_log_sum(similarity, negative[kept])[:, None] - similarity)).sum(1))


def _cluster_aware(batch: Batch, settings: LossSettings) -> Tensor:
    """Other clips of the cluster are positives, the clip itself is neither: -log(P / (P + N)), halved, both ways."""
    similarity, held, clusters = batch.similarity(settings.temperature), batch.shares() > 0, batch.cluster_shares()
    positive, negative = clusters.masked_fill(held, 0), clusters == 0
    return 0.5 * (
        _against_clusters(similarity, positive, negative) + _against_clusters(similarity.T, positive.T, negative.T)
    )


def _against_clusters(similarity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    kept = (positive > 0).any(1) & negative.any(1)
    near = torch.logsumexp(similarity[kept] + positive[kept].log(), dim=1)
    return _mean(softplus(_log_sum(similarity[kept], negative[kept]) - near))


def _cross_clusters(batch: Batch) -> Tensor:
    """Minus the mean cosine between the student's centroid of each cluster and the teacher's.

    Of mixed clips, both centroids average over rows by the share of the cluster in them, the teacher's over its
    embeddings blended by P; so the term agrees with the student that aligns every row.
    """
    shares = batch.shares()
    weights = (shares @ batch.members()).T
    centroids = _unit(weights @ _unit(batch.student)), _unit(weights @ shares @ _unit(batch.teacher))
    return -(centroids[0] * centroids[1]).sum(1).mean()


def _hybrid(batch: Batch, settings: LossSettings) -> Tensor:
    return (
        settings.alignment_weight * _by_row(_cosine, batch, settings)
        + settings.contrastive_weight * _cluster_aware(batch, settings)
        + settings.cross_cluster_weight * _cross_clusters(batch)
    )


def _log_sum(similarity: Tensor, mask: Tensor) -> Tensor:
    """Logarithm of the sum of exponentials over the columns of the mask; each row must have one."""
    return torch.logsumexp(similarity.masked_fill(~mask, -torch.inf), dim=1)


def _mean(rows: Tensor) -> Tensor:
    """The mean, or of no rows 0, with a graph either way."""
    return rows.sum() / max(len(rows), 1)


LOSSES = {
    "cosine": Loss(partial(_by_row, _cosine)),
    "mse": Loss(partial(_by_row, _mse)),
    "l1": Loss(partial(_by_row, _l1)),
    "kl": Loss(partial(_by_row, _kl), temperature=4.0),
    "contrastive": Loss(_contrastive),
    "decoupled": Loss(_decoupled),
    "negative_clusters": Loss(_negative_clusters, needs_clusters=True),
    "cluster_aware": Loss(_cluster_aware, needs_clusters=True),
    "hybrid": Loss(_hybrid, needs_clusters=True),
}
