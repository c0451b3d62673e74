"""What a training would do, found out without doing it; and what makes two trainings the same."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from training.checkpoints import CHECKPOINT_FILE, load_checkpoint
from training.corpus import Corpus, Sources, open_corpus
from training.hearing import cache_size
from training.learner import new_learner
from training.recipe import Recipe, RunSettings
from training.tables import as_table


@dataclass(frozen=True, slots=True)
class DistillPlan:
    """What a run would do.

    Attributes:
        clips, skipped: of the manifest; what is skipped may be backgrounds too.
        target_dim: width of what is learnt.
        parameters: of the student, without its head.
        steps, done: optimiser steps in all, and by earlier runs.
        cache_bytes, bytes_free: taken on the disk while the step runs, and there.
        resolved: what the result depends on.
    """

    clips: int
    skipped: int
    target_dim: int
    parameters: int
    steps: int
    done: int
    cache_bytes: int
    bytes_free: int
    resolved: Mapping[str, object]


def plan_distillation(recipe: Recipe, sources: Sources, out: Path, run: RunSettings) -> DistillPlan:
    """The dry run: says what `distill` would do, and writes nothing.

    Raises:
        TrainingError: as `distill` does for this recipe, data and output.
    """
    corpus = open_corpus(recipe, sources, max_skipped_share=run.max_skipped_share, progress=run.progress)
    learner = new_learner(recipe, corpus.target_dim, initial=sources.initial_weights)
    resolved = resolved_settings(recipe, corpus)
    state = load_checkpoint(out / CHECKPOINT_FILE, fingerprint_of(resolved))
    there = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    return DistillPlan(
        len(corpus.paths),
        len(corpus.skipped),
        corpus.target_dim,
        sum(parameter.numel() for parameter in learner.backbone.parameters()),
        recipe.steps,
        int(str(state["step"])) if state else 0,
        cache_size(recipe, len(corpus.paths) + len(corpus.backgrounds), run.cache_gib * 2**30),
        shutil.disk_usage(there).free,
        resolved,
    )


def resolved_settings(recipe: Recipe, corpus: Corpus) -> dict[str, object]:
    """All that a training's result depends on; JSON values."""
    return {"step": "distill", **dict(_dotted(as_table(recipe))), **corpus.resolved}


def fingerprint_of(resolved: Mapping[str, object]) -> str:
    """Changes with any of the resolved settings."""
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()


def _dotted(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Values by dotted key, so that the one that differs can be named."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
