"""What is trained, a student and the head that it learns through, and the file that is left of it.

The head is only there to be learnt through; it is kept beside the student, since a probe may want what it maps to.
"""

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ssondo_stream.students import Backbone, MLPHead, build
from ssondo_stream.students.heads import image
from training.checkpoints import CheckpointError, load_plain
from training.files import write_file
from training.recipe import Recipe
from training.tables import RecipeError, from_table

STUDENT_FILE = "student.safetensors"
_SAFETENSORS = ".safetensors"
_TOLD = "training"
_NOT_OURS = ("classifier.",)  # what published ImageNet weights have beside the student's


class Learner(nn.Module):
    """A student with a mapping head.

    Args:
        backbone: the student.
        head: from its embeddings to what is learnt.
        gather: puts the parts of a batch together that several processes have.
        columns: whether the head maps what each column says, not the clip's mean.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: MLPHead,
        gather: Callable[[Tensor], Tensor] | None = None,
        *,
        columns: bool = False,
    ) -> None:
        super().__init__()
        self.backbone: Backbone = backbone
        self.head = head
        self._gather, self._columns = gather, columns

    def embed(self, frames: Tensor) -> Tensor:
        """Log-mel frames [b, t, n_mels] -> embeddings [b, embedding_dim]."""
        return self.embed_columns(frames).mean(1)

    def embed_columns(self, frames: Tensor) -> Tensor:
        """Log-mel frames [b, t, n_mels] -> each column's share of the embedding, [b, columns, embedding_dim]."""
        return self.backbone.columns(self.backbone(image(frames)))

    def forward(self, frames: Tensor) -> Tensor:
        """Log-mel frames [b, t, n_mels] -> what the head makes of them, or of those of all processes together.

        [b, targets], or where columns are learnt [b, columns, targets].
        """
        embeddings = self.embed_columns(frames) if self._columns else self.embed(frames)
        mapped: Tensor = self.head(embeddings if self._gather is None else self._gather(embeddings))
        return mapped


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        learner: in evaluation mode.
        recipe: that it was trained by.
        labels: of the head's outputs, where labels were learnt.
    """

    learner: Learner
    recipe: Recipe
    labels: tuple[str, ...]


def new_learner(
    recipe: Recipe, target_dim: int, gather: Callable[[Tensor], Tensor] | None = None, initial: Path | None = None
) -> Learner:
    """A learner with the weights that the recipe's seed gives.

    Args:
        recipe: its student.
        target_dim: width of what is learnt.
        gather: puts the parts of a batch together that several processes have.
        initial: file of weights that the student begins with instead.

    Raises:
        RecipeError: the student's architecture or options make no sense.
        CheckpointError: the file cannot be read, or is not of this student.
    """
    student = recipe.student
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        try:
            backbone = build(student.architecture, student.options)
        except (ValueError, TypeError) as error:
            raise RecipeError(f"student: {error}") from error
        head = MLPHead(backbone.embedding_dim, target_dim, hidden=student.hidden, dropout=student.dropout)
    if initial:
        load_initial(backbone, initial)
    return Learner(backbone, head, gather, columns=recipe.columns)


def load_initial(backbone: Backbone, path: Path) -> None:
    """Give a student the weights that it begins with: published ones (`.pt`), or those of a finished training.

    Raises:
        CheckpointError: the file cannot be read, or is not of this student.
    """
    if path.suffix == _SAFETENSORS:
        found = {name.removeprefix("backbone."): tensor for name, tensor in _tensors(path)[0].items()}
        tensors = {name: tensor for name, tensor in found.items() if not name.startswith("head.")}
    else:
        tensors = {name: tensor for name, tensor in _pickled(path).items() if not name.startswith(_NOT_OURS)}
    _load(backbone, tensors, path)


def save_learner(path: Path, learner: Learner, recipe: Recipe, labels: Sequence[str]) -> None:
    """Write weights and recipe into one file.

    Raises:
        StorageError: the disk is full.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in learner.state_dict().items()}
    target_dim = learner.head.mlp[-1].out_features
    told = {"recipe": recipe.to_toml(), "labels": list(labels), "target_dim": target_dim}
    content = save(tensors, metadata={_TOLD: json.dumps(told)})  # one key: several are written in a random order
    write_file(path, lambda file: file.write(content))


def load_learner(path: Path) -> Trained:
    """A finished training by its file, or by the folder that holds it.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    path = path / STUDENT_FILE if path.is_dir() else path
    tensors, told = _tensors(path)
    try:
        training = json.loads(told[_TOLD])
        recipe = from_table(Recipe, tomllib.loads(training["recipe"]), f"{path}: recipe")
        learner = new_learner(recipe, int(training["target_dim"]))
        labels = tuple(str(name) for name in training["labels"])
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: was not left by a training, {type(error).__name__}: {error}") from error
    _load(learner, tensors, path)
    return Trained(learner.eval(), recipe, labels)


def _tensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118  # no dict
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors ({error})") from error


def _pickled(path: Path) -> dict[str, Tensor]:
    expected = f"expected a dictionary of tensors, or {STUDENT_FILE} of a training"
    try:
        found = load_plain(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {expected}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path}: {expected}, found {type(found).__name__}")
    return {str(name): tensor for name, tensor in found.items()}


def _load(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        told = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path}: is not of this student ({told})") from error
