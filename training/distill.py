"""Trains a student on a teacher's embeddings, or on labels: one loop, top to bottom.

Draw clips, alter them, blend them, compare with what the teacher said of them, step. Every chance is a function of the
recipe's seed and of the place in the training, so a training that was killed goes on to the same bits, and several
processes give what one would have given.
"""

import math
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from training.augment import sounds_together
from training.average import Average
from training.batches import Chance, batches
from training.checkpoints import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from training.columns import as_rows
from training.corpus import Corpus, DistillError, Sources, open_corpus
from training.distill_plan import fingerprint_of, resolved_settings
from training.files import locked, make_folder, remember, write_json, write_text
from training.hearing import Hearing
from training.learner import STUDENT_FILE, Learner, new_learner, save_learner
from training.losses import LossSettings, distillation_loss
from training.manifest import write_skipped
from training.mix_style import in_style
from training.mixup import Mixup
from training.processes import Processes
from training.progress import bar
from training.recipe import Recipe, RunSettings
from training.sampling import SeededSampler
from training.scalars import scalars_for
from training.schedules import schedule
from training.skipping import SKIPPED_FILE
from training.supervised import label_loss
from training.tables import as_table
from training.training_state import TrainingState

SETTINGS_FILE = "settings.json"
RECIPE_FILE = "recipe.toml"
HISTORY_FILE = "history.csv"
REPORT_FILE = "report.json"
TENSORBOARD = "tensorboard"

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class DistillReport:
    """What a run did.

    Attributes:
        steps, done: optimiser steps in all, and by this run and those before it.
        clips, skipped: of the manifest; what was skipped may be backgrounds too.
        loss: mean over the steps since the figures before the last; NaN if there are none.
        seconds: that this run took.
    """

    steps: int
    done: int
    clips: int
    skipped: int
    loss: float
    seconds: float


def distill(
    recipe: Recipe, sources: Sources, out: Path, run: RunSettings | None = None, processes: Processes | None = None
) -> DistillReport:
    """Train, or go on with a training that was stopped; one that is finished is left as it is.

    Writes into `out`: `student.safetensors`, `checkpoint.pt`, `recipe.toml`, `settings.json`, `history.csv`,
    `skipped.csv`, `report.json` and what TensorBoard reads.

    Args:
        recipe: what is trained, and how.
        sources: the data.
        out: a folder.
        run: device, threads, and how often is saved.
        processes: this process among those that `torchrun` started.

    Raises:
        SettingsError: `out` was begun with another recipe or other data.
        DistillError: too many clips or backgrounds cannot be used, or the loss is not finite any more.
        EmbeddingsError: the teacher's embeddings are of another width, or not finite.
        ClusterError: clusters are needed and missing.
        CheckpointError: the initial weights are not of this student.
        StorageError: the disk is full, or another run is at work in `out`; the last checkpoint stays usable.
    """
    run, processes = run or RunSettings(), processes or Processes()
    if recipe.batch % processes.world:
        raise DistillError(
            f"{processes.world} processes cannot share a batch of {recipe.batch}; set batch to a multiple of them"
        )
    corpus = open_corpus(
        recipe, sources, max_skipped_share=run.max_skipped_share, progress=run.progress and processes.first
    )
    fresh = new_learner(recipe, corpus.target_dim, processes.gather, sources.initial_weights)
    resolved = resolved_settings(recipe, corpus)
    make_folder(out)
    with locked(out) if processes.first else nullcontext():
        if processes.first:
            remember(out / SETTINGS_FILE, resolved)
            write_text(out / RECIPE_FILE, recipe.to_toml())
            write_skipped(out / SKIPPED_FILE, corpus.skipped)
        processes.wait()
        report = _train(
            recipe, corpus, fresh=fresh, out=out, run=run, processes=processes, fingerprint=fingerprint_of(resolved)
        )
        if processes.first:
            write_json(out / REPORT_FILE, as_table(report))
    return report


def _train(  # noqa: PLR0912, PLR0915  # read top to bottom, it is the training
    recipe: Recipe,
    corpus: Corpus,
    *,
    fresh: Learner,
    out: Path,
    run: RunSettings,
    processes: Processes,
    fingerprint: str,
) -> DistillReport:
    if run.threads:
        torch.set_num_threads(run.threads)
    began, device, kind = time.monotonic(), processes.device, torch.device(processes.device).type

    # The parts, each a function of recipe and data.
    chance = Chance(recipe.seed)
    draws = recipe.steps_per_epoch * recipe.batch
    sampler = SeededSampler(corpus.weights, draws, recipe.seed, processes.rank, processes.world)
    hearing = Hearing(recipe, corpus.paths, corpus.backgrounds, run.cache_gib * 2**30, out)
    # channels last: convolutions are a third faster on processors, and what tensor cores want
    learner, network = processes.together(fresh.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    average = Average(learner, recipe.average) if recipe.average else None
    settings = recipe.optimiser
    optimiser = OPTIMISERS[settings.name](
        learner.parameters(), lr=settings.rate, betas=settings.betas, weight_decay=settings.weight_decay
    )
    scaler = torch.amp.GradScaler(kind, enabled=recipe.precision == "fp16")
    multiplier = schedule(recipe.schedule, recipe.steps_per_epoch, recipe.epochs)

    # Where an earlier run ended.
    state = TrainingState(learner, optimiser, scaler, sampler, average)
    state.restore(load_checkpoint(out / CHECKPOINT_FILE, fingerprint))
    begun, last = state.step, min(recipe.steps, run.stop_after or recipe.steps)

    def save() -> None:
        _refuse_nonsense(state, out)
        if processes.first:
            save_checkpoint(out / CHECKPOINT_FILE, state.content(), fingerprint)
            write_text(out / HISTORY_FILE, state.history_csv())

    # The loop.
    network.train()
    shown = bar("distill", last, unit="step", shown=run.progress and processes.first, done=begun)
    scalars = scalars_for(out / TENSORBOARD, begun) if run.tensorboard and processes.first else None
    for epoch in range(sampler.epoch, recipe.epochs):
        if state.step >= last:
            break
        sampler.set_epoch(epoch)
        left = (last - state.step) * recipe.batch // processes.world
        coming = batches(
            corpus,
            hearing,
            list(sampler)[:left],
            step=state.step,
            batch=recipe.batch,
            chance=chance,
            processes=processes,
            readers=run.readers,
            ahead=run.ahead,
        )
        with closing(coming):
            for part in coming:
                own = part.on(device)
                targets = processes.gather(own.targets)
                clusters = None if own.clusters is None else processes.gather(own.clusters)
                mixup = chance.mixup(state.step, recipe.batch, recipe.augment.mixup, device)
                style = chance.style(state.step, recipe.batch, recipe.augment.mix_style, device)
                frames = _blended(recipe, own.frames, mixup, style, processes)

                chance.seed_network(state.step)
                with torch.autocast(kind, PRECISIONS[recipe.precision], enabled=recipe.precision != "fp32"):
                    outputs = network(frames)
                loss = _loss(recipe, outputs, targets, clusters, mixup)

                rate = settings.rate * multiplier(state.step)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                optimiser.zero_grad()
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch annotates it partly
                if settings.clip:
                    scaler.unscale_(optimiser)
                    clip_grad_norm_(learner.parameters(), settings.clip)
                scaler.step(optimiser)
                scaler.update()
                if average:
                    average.update(learner)

                sampler.advance(len(own.frames))
                state.add(loss.detach())
                shown.update()
                if state.step % run.log_every == 0 or state.step == recipe.steps:
                    _refuse_nonsense(state, out)
                    *_, mean, _ = state.sum_up(epoch, rate)
                    if scalars:
                        scalars.add_scalar("loss", mean, state.step)
                        scalars.add_scalar("rate", rate, state.step)
                if state.step % run.save_every == 0:
                    save()
    shown.close()
    if scalars:
        scalars.close()

    # What is left of it.
    if state.step > begun:
        save()
    if processes.first:
        save_learner(out / STUDENT_FILE, average.module if average else learner, recipe, corpus.labels)
    processes.wait()
    loss_now = state.history[-1][2] if state.history else math.nan
    seconds = time.monotonic() - began
    return DistillReport(recipe.steps, state.step, len(corpus.paths), len(corpus.skipped), loss_now, seconds)


def _blended(recipe: Recipe, frames: Tensor, mixup: Mixup | None, style: Mixup | None, processes: Processes) -> Tensor:
    """This process's part of the batch, of which any clip may be blended with any other."""
    if mixup is None and style is None:
        return frames
    everyones = processes.gather(frames)
    if mixup is not None:
        together = recipe.augment.mixup_energy
        everyones = sounds_together(everyones, mixup, recipe.mel) if together else mixup.blend(everyones)
    return processes.own(everyones if style is None else in_style(everyones, style))


def _loss(recipe: Recipe, outputs: Tensor, targets: Tensor, clusters: Tensor | None, mixup: Mixup | None) -> Tensor:
    rows = as_rows(outputs, targets, clusters, mixup)
    if recipe.labels:
        return label_loss(rows.outputs, rows.targets, recipe.labels, rows.mixup)
    return distillation_loss(rows.outputs, rows.targets, recipe.loss or LossSettings(), rows.clusters, rows.mixup)


def _refuse_nonsense(state: TrainingState, out: Path) -> None:
    if not torch.isfinite(state.total):
        raise DistillError(
            f"{out}: by step {state.step} the loss was {float(state.total)}; {CHECKPOINT_FILE}, if any, is of before: "
            "try a lower optimiser.rate, or precision fp32 or bf16, and another output folder"
        )
