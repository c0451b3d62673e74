"""Heads: from a student's feature map to scores or to a teacher's space."""

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


class ColumnTagger(nn.Module):
    """A backbone and a linear head over the mean of each column.

    The head is linear and the window is the mean of its columns, so the window's logit is exactly the mean of the
    columns' logits, and every column has a score of its own at no cost.
    """

    def __init__(self, backbone: Backbone, dim: int, labels: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone: Backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dim, labels)

    def forward(self, frames: Tensor) -> ColumnOutput:
        """Log-mel frames [batch, time, n_mels] -> logits of each column, embedding of the window."""
        return self.rest(self.prefix(frames))

    def prefix(self, frames: Tensor) -> Tensor:
        """Log-mel frames -> the feature map of the layers that are local in time."""
        return self.backbone.prefix(frames.transpose(1, 2).unsqueeze(1))

    def rest(self, maps: Tensor) -> ColumnOutput:
        """That feature map -> what `forward` gives."""
        deep = self.backbone.rest(maps)
        bands = int(deep.shape[2])  # a constant to the exporter: pooling is faster there than a mean
        columns = functional.avg_pool2d(deep, (bands, 1)).squeeze(2).transpose(1, 2)
        return ColumnOutput(self.head(self.dropout(columns)), columns.mean(1))
