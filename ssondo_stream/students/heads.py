"""Heads: from a student's feature map to scores or to a teacher's space."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from ssondo_stream.students.layers import Backbone


class ColumnOutput(NamedTuple):
    """What a tagging student says: `column_logits` [batch, columns, labels] and `embedding` [batch, dim]."""

    column_logits: Tensor
    embedding: Tensor


class MLPHead(nn.Module):
    """The published mapping head: embedding [..., dim] -> teacher's space [..., out]."""

    def __init__(self, dim: int, out: int, *, hidden: int = 1280, dropout: float = 0.2) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.Hardswish(), nn.Dropout(dropout), nn.Linear(hidden, out))

    def forward(self, embedding: Tensor) -> Tensor:
        """Map embeddings [..., dim]."""
        mapped: Tensor = self.mlp(embedding)
        return mapped


def classifier(dim: int, labels: int, hidden_sizes: Sequence[int] = ()) -> nn.Module:
    """A head over embeddings [..., dim] -> logits [..., labels]: linear, or with hidden layers and ReLU between."""
    widths = (dim, *hidden_sizes)
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    last = nn.Linear(widths[-1], labels)
    return nn.Sequential(*layers, last) if layers else last


class ColumnTagger(nn.Module):
    """A backbone and a head over each column.

    A column's share of the embedding goes through the head like an embedding. With a linear head, the window's logit
    is exactly the mean of the columns' logits, so every column has a score of its own at no cost. With hidden layers
    it is not: a column's logit then is what the head says of a window in which every column is like this one.

    Args:
        backbone: gives the columns.
        head: from [..., embedding_dim] to [..., labels]; without one there are no labels.
        dropout: before the head, in training.
    """

    def __init__(self, backbone: Backbone, head: nn.Module | None, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone: Backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = head

    @property
    def is_apart(self) -> bool:
        """Whether no logit depends on what is computed, which then need not be where only logits are wanted."""
        linear = [layer for layer in self.head.modules() if isinstance(layer, nn.Linear)] if self.head else []
        return not any(layer.weight[:, self.backbone.learnt_dim :].any() for layer in linear[:1])

    def forward(self, frames: Tensor) -> ColumnOutput:
        """Log-mel frames [batch, time, n_mels] -> logits of each column, embedding of the window."""
        return self.pool(self.backbone(image(frames)))

    def rest(self, maps: Tensor) -> ColumnOutput:
        """What `forward` gives without what is computed, from the last map of the local parts."""
        return self.pool(self.backbone.rest(maps))

    def pool(self, maps: Tensor) -> ColumnOutput:
        """What `forward` gives, from the last map of all [batch, channels, bands, columns]."""
        columns = self.backbone.columns(maps)
        seen = functional.pad(columns, (0, self.backbone.embedding_dim - columns.shape[2]))
        logits = columns[..., :0] if self.head is None else self.head(self.dropout(seen))
        return ColumnOutput(logits, columns.mean(1))


def image(frames: Tensor) -> Tensor:
    """Log-mel frames [batch, time, n_mels] -> image [batch, 1, n_mels, time]."""
    return frames.transpose(1, 2).unsqueeze(1)
