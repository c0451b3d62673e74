"""A fitted head as files: in the published layout, as safetensors with its labels, and as part of a bundle.

The published layout has no room for labels or hidden layers, so it is written for linear heads only, for those who use
the published package.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ssondo_stream.bundle import Activation, Label, StudentSpec
from ssondo_stream.students import Backbone, ColumnTagger, classifier
from training.files import make_folder, write_file
from training.probe_data import ProbeError, Task

HEAD_FILE = "head.safetensors"
PUBLISHED_FILE = "head.pth"
PUBLISHED = "probe.linear_probe."
_ABOUT = "probe"
_OFF_SHARE = 0.6
_ACTIVATIONS: dict[Task, Activation] = {"single": "softmax", "multi": "sigmoid"}


@dataclass(frozen=True, slots=True)
class Probe:
    """A head over embeddings.

    Attributes:
        head: embeddings [..., dim] -> logits [..., labels].
        labels: names, in the order of the logits.
        task: that it was fitted to.
        hidden_sizes: its hidden layers.
        thresholds: of each label's score, best for whole clips that the head had not seen.
    """

    head: nn.Module
    labels: tuple[str, ...]
    task: Task
    hidden_sizes: tuple[int, ...]
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.thresholds):
            raise ValueError(f"need a threshold a label, got {len(self.thresholds)} for {len(self.labels)}")

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return _first(self.head).in_features

    @property
    def activation(self) -> Activation:
        """From logits to scores."""
        return _ACTIVATIONS[self.task]


def save_probe(folder: Path, probe: Probe) -> None:
    """Write `head.safetensors`, and `head.pth` in the published layout if the head is linear.

    Raises:
        StorageError: it cannot be written.
    """
    make_folder(folder)
    about = {
        "labels": probe.labels,
        "task": probe.task,
        "hidden_sizes": probe.hidden_sizes,
        "thresholds": probe.thresholds,
    }
    content = save(_tensors(probe.head), metadata={_ABOUT: json.dumps(about)})
    write_file(folder / HEAD_FILE, lambda file: file.write(content))
    if not probe.hidden_sizes:
        published = io.BytesIO()
        torch.save({PUBLISHED + name: tensor for name, tensor in _tensors(probe.head).items()}, published)
        write_file(folder / PUBLISHED_FILE, lambda file: file.write(published.getvalue()))


def load_probe(folder: Path) -> Probe:
    """A probe from its `head.safetensors`.

    Raises:
        ProbeError: the file is missing, damaged, or no probe's.
    """
    path = folder / HEAD_FILE
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[_ABOUT])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
        hidden = tuple(int(size) for size in about["hidden_sizes"])
        labels = tuple(map(str, about["labels"]))
        head = classifier(tensors["weight" if not hidden else "0.weight"].shape[1], len(labels), hidden)
        head.load_state_dict(tensors)
        thresholds = tuple(float(threshold) for threshold in about["thresholds"])
        if about["task"] not in _ACTIVATIONS:
            raise ProbeError(f"{path}: no task {about['task']!r}")
        return Probe(head.requires_grad_(False).eval(), labels, about["task"], hidden, thresholds)
    except KeyError as error:
        raise ProbeError(f"{path}: not a probe's head, it lacks {error}") from error
    except (OSError, SafetensorError, ValueError, RuntimeError, TypeError) as error:
        raise ProbeError(f"{path}: not a probe's head: {error}") from error


def probe_labels(probe: Probe, known: Sequence[Label] = ()) -> tuple[Label, ...]:
    """The probe's labels with its thresholds, for a bundle.

    They are those of whole clips; `thresholds.choose_thresholds` finds better ones for streams.

    Args:
        probe: with thresholds.
        known: labels whose other settings are kept where the name is the same.
    """
    by_name = {label.name: label for label in known}
    return tuple(
        replace(
            by_name.get(name, Label(name)),
            threshold=round(threshold, 4),
            off=round(_OFF_SHARE * threshold, 4),
            early=round((1 + threshold) / 2, 4),
        )
        for name, threshold in zip(probe.labels, probe.thresholds, strict=True)
    )


def with_probe(
    backbone: Backbone, probe: Probe, spec: StudentSpec, labels: Sequence[Label] | None = None
) -> tuple[ColumnTagger, StudentSpec]:
    """A network with the probe as its head, and what its bundle says.

    Args:
        backbone: whose embeddings the probe was fitted on.
        probe: the head.
        spec: front end, window and architecture of the backbone, such as those of the bundle that it came from.
        labels: with settings for streams, in the probe's order; see `probe_labels` if not given.

    Raises:
        ProbeError: the probe is for another width, or the labels are others.
        ValueError: the labels ask for what the bundle has not.
    """
    if probe.dim != backbone.embedding_dim:
        raise ProbeError(f"the probe takes embeddings of {probe.dim}, the network gives {backbone.embedding_dim}")
    labels = tuple(labels) if labels is not None else probe_labels(probe, spec.labels)
    if tuple(label.name for label in labels) != probe.labels:
        raise ProbeError(f"labels must be those of the probe, {probe.labels}, got {[label.name for label in labels]}")
    told = replace(
        spec,
        labels=labels,
        embedding_dim=probe.dim,
        activation=probe.activation,
        architecture=spec.architecture and replace(spec.architecture, hidden_sizes=probe.hidden_sizes),
    )
    return ColumnTagger(backbone, probe.head).eval(), told


def _tensors(head: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in head.state_dict().items()}


def _first(head: nn.Module) -> nn.Linear:
    return next(layer for layer in head.modules() if isinstance(layer, nn.Linear))
