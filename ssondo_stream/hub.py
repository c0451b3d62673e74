"""The published package's interface over our students: `get_ssondo`, `list_models`, `list_heads`.

Same arguments, shapes and numbers; files are read as data only, and from one commit.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from ssondo_stream.checkpoint import backbone_of, projection_of, read_checkpoint
from ssondo_stream.download import locate
from ssondo_stream.errors import BundleError, EngineError
from ssondo_stream.published import MODELS, list_heads, list_models
from ssondo_stream.published_head import find_head
from ssondo_stream.students import classifier
from ssondo_stream.students.projection import load_projection
from ssondo_stream.students.ssondo import Ssondo, StudentParts
from ssondo_stream.torch_student import load_tagger

__all__ = ["Ssondo", "get_ssondo", "list_heads", "list_models"]

NEW_HEADS = ("linear", "mlp")
OWN_HEAD = "bundle"
_HIDDEN = (512,)  # of head="mlp", as published


class _Loaded(NamedTuple):
    """A student with its published name, where that is known, and its architecture."""

    parts: StudentParts
    name: str
    architecture: str


def get_ssondo(  # noqa: PLR0917  # the published order
    checkpoint: str | Path = "matpac-mobilenetv3",
    head: str | Path | None = None,
    n_classes: int | None = None,
    hidden_sizes: Sequence[int] | None = None,
    return_logits: bool = False,
    device: str | torch.device = "cpu",
    *,
    keep_tail: bool = True,
    pad: bool = True,
    revision: str | None = None,
) -> Ssondo:
    """A student with its published weights, in evaluation mode.

    Args:
        checkpoint: a published name (see `list_models`), a `.ckpt` file, or the folder of a bundle.
        head: "linear" or "mlp" for a new one; a published name (see `list_heads`) or the file of one; "bundle" for the
            one that a bundle has.
        n_classes: of a new head.
        hidden_sizes: of a new head "mlp"; (512,) unless given.
        return_logits: see `Ssondo.forward`.
        device: to run on.
        keep_tail: false drops what follows the last whole segment of a clip of a segment or more, as published.
        pad: false takes a clip shorter than a segment at its own length, as streaming does, instead of with silence.
        revision: of the published files; see `download.fetch`.

    Raises:
        CheckpointError: no such checkpoint or head, or it is not what it should be.
        BundleError: no such bundle, or it lacks weights for torch, a head or a mapping head that was asked for.
        DownloadError: a published file cannot be fetched.
        EngineError: there is no such device.
        ValueError: a new head needs `n_classes` above 0.
    """
    if head in NEW_HEADS and (n_classes is None or n_classes < 1):
        raise ValueError(f"head={head!r} needs n_classes above 0, got {n_classes}")
    mapping = return_logits and head is None
    if str(checkpoint) not in MODELS and Path(checkpoint).is_dir():
        loaded = _from_bundle(Path(checkpoint), mapping)
    else:
        loaded = _from_checkpoint(checkpoint, mapping, revision)
    if head in NEW_HEADS:
        hidden = (_HIDDEN if hidden_sizes is None else hidden_sizes) if head == "mlp" else ()
        new = classifier(loaded.parts.backbone.embedding_dim, n_classes or 0, hidden)
        parts = replace(loaded.parts, head=new, labels=(), activation=None)
    else:
        parts = _headed(loaded, head, revision)
    return _on(device, Ssondo(parts, return_logits=return_logits, keep_tail=keep_tail, pad=pad))


def _headed(loaded: _Loaded, head: str | Path | None, revision: str | None) -> StudentParts:
    """The student with no head, its bundle's own, or a published one."""
    parts = loaded.parts
    if head is None:
        return replace(parts, head=None, labels=(), activation=None)
    if head == OWN_HEAD:
        if parts.head is None:
            raise BundleError("head='bundle' is the one that a bundle has, and there is none here")
        return parts
    found = find_head(
        head,
        student=loaded.name,
        architecture=loaded.architecture,
        embedding_dim=parts.backbone.embedding_dim,
        revision=revision,
    )
    return replace(parts, head=found.layer, labels=found.labels, activation=found.activation)


def _from_checkpoint(source: str | Path, mapping: bool, revision: str | None) -> _Loaded:
    checkpoint = read_checkpoint(locate(source, MODELS, "checkpoint or bundle", revision).path)
    parts = StudentParts(
        backbone_of(checkpoint),
        checkpoint.mel,
        checkpoint.window_samples,
        checkpoint.step_samples,
        projection_of(checkpoint) if mapping else None,
    )
    return _Loaded(parts, str(source) if str(source) in MODELS else "", checkpoint.architecture)


def _from_bundle(folder: Path, mapping: bool) -> _Loaded:
    spec, tagger = load_tagger(folder)
    window = spec.mel.samples_for(spec.window_frames)
    parts = StudentParts(
        tagger.backbone,
        spec.mel,
        window,
        window,
        load_projection(folder) if mapping else None,
        tagger.head,
        spec.labels,
        spec.activation,
    )
    return _Loaded(parts, spec.source.get("model", ""), spec.architecture.name if spec.architecture else "")


def _on(device: str | torch.device, model: Ssondo) -> Ssondo:
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise EngineError(f"torch {torch.__version__} has no device {str(device)!r}: {error}") from error
