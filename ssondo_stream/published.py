"""What the authors of S-SONDO have published: six students and seven heads, by name.

Tables alone, so that listing them needs neither torch nor a network. Source: the project's repository and model card,
github.com/MedAliAdlouni/ssondo and huggingface.co/mohammedali2501/ssondo.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from ssondo_stream.bundle import Activation, Label
from ssondo_stream.errors import CheckpointError

REPOSITORY = "mohammedali2501/ssondo"
BRANCH = "main"
HEADS_FIT = "matpac-mobilenetv3"
"""The one student that the published heads were trained on."""

_LABELS = Path(__file__).parent / "labels"


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A published student.

    Attributes:
        name: as users say it.
        file: in the repository.
        student: its architecture, for people.
        teacher: that it was distilled from.
        embedding_dim: of its embeddings.
        uploaded: whether the model card lists the file as uploaded; the others are announced there.
    """

    name: str
    file: str
    student: str
    teacher: str
    embedding_dim: int
    uploaded: bool = False

    @property
    def description(self) -> str:
        """One line for people."""
        missing = "" if self.uploaded else "; announced, not uploaded"
        return f"{self.student} distilled from {self.teacher}, embeddings of {self.embedding_dim}{missing}"


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """A published linear classifier over the embeddings of `HEADS_FIT`.

    Attributes:
        name: as users say it, that of its data set.
        file: in the repository.
        task: what it recognises.
        classes: how many.
        activation: from its logits to scores: softmax where a clip has one class, sigmoid where it may have several.
        ordered: whether the order of its classes is published; without it, nobody can say what a score is of.
    """

    name: str
    file: str
    task: str
    classes: int
    activation: Activation
    ordered: bool = False

    @property
    def description(self) -> str:
        """One line for people."""
        unnamed = "" if self.ordered else "; the order of its classes is not published"
        return f"{self.task}, {self.classes} classes, {self.activation}{unnamed}"

    def labels(self) -> tuple[Label, ...]:
        """Its classes in the order of the logits; "Class 0" and so on where that order is not published.

        A label has the id of the AudioSet class that means the same, where there is one. The orders are those of the
        data sets: the targets of ESC-50, the vocabulary of FSD50K (which has the ids too) and the class map of OpenMIC;
        the authors give the same with their teacher, but not with these heads themselves.
        """
        if self.ordered:
            return read_labels(_LABELS / f"{self.name}.csv")
        return tuple(Label(f"Class {index}") for index in range(self.classes))


MODELS = {
    model.name: model
    for model in (
        PublishedModel("matpac-mobilenetv3", "matpac_mobilenetv3.ckpt", "MobileNetV3", "MATPAC++", 960, uploaded=True),
        PublishedModel("matpac-dymn", "matpac_dymn.ckpt", "DyMN", "MATPAC++", 960),
        PublishedModel("matpac-eres2net", "matpac_eres2net.ckpt", "ERes2Net", "MATPAC++", 1024),
        PublishedModel("m2d-mobilenetv3", "m2d_mobilenetv3.ckpt", "MobileNetV3", "M2D", 960),
        PublishedModel("m2d-dymn", "m2d_dymn.ckpt", "DyMN", "M2D", 960),
        PublishedModel("m2d-eres2net", "m2d_eres2net.ckpt", "ERes2Net", "M2D", 1024),
    )
}
HEADS = {
    head.name: head
    for head in (
        PublishedHead("gtzan", "heads/gtzan.pth", "music genres", 10, "softmax"),
        PublishedHead("openmic", "heads/openmic.pth", "instruments", 20, "sigmoid", ordered=True),
        PublishedHead("nsynth", "heads/nsynth.pth", "instrument families", 11, "softmax"),
        PublishedHead("esc50", "heads/esc50.pth", "environmental sounds", 50, "softmax", ordered=True),
        PublishedHead("us8k", "heads/us8k.pth", "urban sounds", 10, "softmax"),
        PublishedHead("magna-tag-a-tune", "heads/magna-tag-a-tune.pth", "music tags", 50, "sigmoid"),
        PublishedHead("fsd50k", "heads/fsd50k.pth", "sound events", 200, "sigmoid", ordered=True),
    )
}


def list_models() -> dict[str, str]:
    """Names of the published students, each with a line about it."""
    return {name: model.description for name, model in MODELS.items()}


def list_heads() -> dict[str, str]:
    """Names of the published heads, each with a line about it."""
    return {name: head.description for name, head in HEADS.items()}


def read_labels(path: Path) -> tuple[Label, ...]:
    """Labels from a CSV file: `name`, and optionally `ontology_id`, one label a line, after a line with these words.

    Raises:
        CheckpointError: the file cannot be read, has no such column, or a label is not usable.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise CheckpointError(f"{path}: cannot be read as CSV: {error}") from error
    if not rows or not rows[0].get("name"):
        raise CheckpointError(f"{path}: expected a first line 'name' or 'name,ontology_id', then a label a line")
    try:
        return tuple(Label(row["name"].strip(), ontology_id=(row.get("ontology_id") or "").strip()) for row in rows)
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: {error}") from error
