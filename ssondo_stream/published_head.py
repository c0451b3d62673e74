"""A published head found, read, and checked against the student that it is to sit on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ssondo_stream.bundle import Activation, Label
from ssondo_stream.checkpoint import head_of, read_head
from ssondo_stream.download import locate
from ssondo_stream.errors import CheckpointError
from ssondo_stream.published import HEADS, HEADS_FIT


@dataclass(frozen=True, slots=True)
class Classifier:
    """A head with what its outputs mean.

    Attributes:
        layer: from embeddings [..., dim] to logits [..., classes].
        labels: in the order of the logits.
        activation: from logits to scores.
        source: where it comes from.
    """

    layer: nn.Linear
    labels: tuple[Label, ...]
    activation: Activation
    source: Mapping[str, str]


def find_head(
    head: str | Path, *, student: str, architecture: str, embedding_dim: int, revision: str | None = None
) -> Classifier:
    """A published head by name, or the file of one.

    A file that is named as a published head, such as `esc50.pth`, and has as many classes gets its labels and
    activation; any other gets "Class 0" and so on, and independent scores.

    Args:
        head: name or path.
        student: published name of the student that it is for; empty if that is not known.
        architecture: of that student.
        embedding_dim: of that student.
        revision: to download; see `download.fetch`.

    Raises:
        CheckpointError: there is no such head, it cannot be read, or it was trained on another student.
        DownloadError: it cannot be fetched.
    """
    known = HEADS.get(Path(head).stem)
    if known and ((student and student != HEADS_FIT) or architecture != "mobilenetv3"):
        raise CheckpointError(
            f"head {str(head)!r} was trained on {HEADS_FIT}, so it says nothing about {student or architecture}: train "
            "one of your own, and do not name its file as a published one"
        )
    file = locate(head, HEADS, "head", revision)
    layer = head_of(read_head(file.path), embedding_dim)
    if known is None or known.classes != layer.out_features:
        return Classifier(
            layer, tuple(Label(f"Class {i}") for i in range(layer.out_features)), "sigmoid", file.provenance
        )
    return Classifier(layer, known.labels(), known.activation, file.provenance)
