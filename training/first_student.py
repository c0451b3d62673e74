"""Trains the first student: `python -m training.first_student --esc10 DIR --folds 1,2,3 --out FILE`.

One straight script: draw windows, mix, mask, step, average. It makes do with one core and half an hour; the
distillation pipeline replaces its student.
"""

import argparse
import copy
import math
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ssondo_stream.mel import log_mel
from ssondo_stream.students import ColumnTagger, tagger
from ssondo_stream.types import Frames
from training.data import LABELS
from training.pool import Pool, build_pool
from training.synthesis import COLUMN_FRAMES, MEL, column_targets, training_window

STUDENT = "mn04"
LONGEST = 624
LAST_FRAMES = 16  # of the last column: windows have 16 + 32 m frames
FRAMES_PER_BATCH = 10 * LONGEST


def draw_frames(rng: np.random.Generator) -> int:
    """A window's length: mostly long ones, some of a stream that has just begun."""
    kind = rng.random()
    if kind < 0.45:
        return LONGEST
    if kind < 0.80:
        return LAST_FRAMES + COLUMN_FRAMES * int(rng.integers(7, 13))
    return LAST_FRAMES + COLUMN_FRAMES * int(rng.integers(0, 7))


def draw_batch(
    pool: Pool, rng: np.random.Generator, frames: int, budget: int = FRAMES_PER_BATCH
) -> tuple[Tensor, Tensor]:
    """Windows of one length, `budget` frames in all.

    Returns:
        Log-mel frames [batch, frames, n_mels] and targets [batch, columns, labels].
    """
    size = max(2, min(96, budget // frames))
    scenes = [training_window(pool, rng, MEL.samples_for(frames)) for _ in range(size)]
    mel = np.stack([_equalised(log_mel(scene.samples, MEL), rng) for scene in scenes])
    targets = np.stack([column_targets(scene.heard, len(scene.samples)) for scene in scenes])
    return torch.from_numpy(mel), torch.from_numpy(targets)


def batches(pool: Pool, rng: np.random.Generator, budget: int) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Batches without end, each drawn while the one before it is trained on."""
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(draw_batch, pool, rng, draw_frames(rng), budget)
        while True:
            batch = coming.result()
            coming = ahead.submit(draw_batch, pool, rng, draw_frames(rng), budget)
            yield batch


def _equalised(frames: Frames, rng: np.random.Generator) -> Frames:
    """Frames as another microphone would have heard them: a random smooth curve of a few dB over frequency."""
    if rng.random() < 0.3:
        return frames
    knots = rng.normal(0, rng.uniform(0, 5), size=6)
    gain = 10 ** (np.interp(np.linspace(0, 5, MEL.n_mels), np.arange(6), knots) / 10)
    power = np.maximum(np.exp(frames) - MEL.offset, 0) * gain
    return np.log(power + MEL.offset).astype(np.float32)


def mixup(frames: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Blend each window, and its targets, with another of the batch."""
    share = torch.from_numpy(rng.beta(0.4, 0.4, size=(len(frames), 1, 1)).astype(np.float32))
    share = torch.maximum(share, 1 - share)
    other = torch.from_numpy(rng.permutation(len(frames)))
    return share * frames + (1 - share) * frames[other], share * targets + (1 - share) * targets[other]


def mask(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """SpecAugment: hide a band of mel bins, and at times a few frames, of each window by its mean."""
    for window in frames:
        mean = window.mean()
        low, width = int(rng.integers(MEL.n_mels)), int(rng.integers(1, 21))
        window[:, low : low + width] = mean
        if rng.random() < 0.3 and len(window) > 64:
            start = int(rng.integers(len(window)))
            window[start : start + int(rng.integers(1, 17))] = mean
    return frames


def learning_rate(progress: float, peak: float) -> float:
    """Linear rise over the first twentieth, then a cosine to zero."""
    rise = min(1.0, progress / 0.05)
    return peak * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress - 0.05) / 0.95)))


class Average:
    """Exponential moving average of a student's weights and statistics; the one that is kept."""

    def __init__(self, student: nn.Module, decay: float) -> None:
        self.student = copy.deepcopy(student).eval().requires_grad_(False)
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move towards the student's present state."""
        self.steps += 1
        weight = max(1 - self.decay, 10 / (10 + self.steps))
        for mine, new in zip(self.student.state_dict().values(), student.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(new, weight)
            else:
                mine.copy_(new)


def train(
    pool: Pool,
    *,
    seed: int,
    steps: int,
    minutes: float,
    peak_rate: float = 2e-3,
    budget: int = FRAMES_PER_BATCH,
    log_every: int = 100,
) -> ColumnTagger:
    """Train a student until the steps or the minutes are used up, whichever comes first; the schedule follows."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    student = tagger(STUDENT, len(LABELS), dropout=0.3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a valid form that its stubs lack
    average = Average(student, decay=0.998)
    optimiser = torch.optim.AdamW(student.parameters(), weight_decay=0.02)
    drawn = batches(pool, np.random.default_rng([seed, 1]), budget)
    began, step, progress, losses = time.monotonic(), 0, 0.0, 0.0
    while progress < 1:
        frames, targets = next(drawn)
        if rng.random() < 0.5:
            frames, targets = mixup(frames, targets, rng)
        frames = mask(frames, rng)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(progress, peak_rate)
        loss = binary_cross_entropy_with_logits(student(frames).column_logits, targets)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it partly
        nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        optimiser.step()
        average.update(student)
        step += 1
        losses += float(loss.detach())
        elapsed = (time.monotonic() - began) / 60
        progress = max(step / steps, elapsed / minutes)
        if step % log_every == 0:
            print(f"step {step} minutes {elapsed:.1f} progress {progress:.2f} loss {losses / log_every:.4f}")
            losses = 0.0
    drawn.close()
    print(f"trained {step} steps in {(time.monotonic() - began) / 60:.1f} minutes")
    kept = average.student
    if not isinstance(kept, ColumnTagger):
        raise TypeError(f"expected a ColumnTagger, got {type(kept)}")
    return kept


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--esc10", type=Path, required=True, help="folder with meta.csv and the clips")
    parser.add_argument("--folds", default="1,2,3,4", help="to train on")
    parser.add_argument("--out", type=Path, required=True, help="where the weights go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=25.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folds = [int(fold) for fold in arguments.folds.split(",")]
    pool = build_pool(arguments.esc10, folds, np.random.default_rng([arguments.seed, *folds]), variants=4, made_up=120)
    student = train(pool, seed=arguments.seed, steps=arguments.steps, minutes=arguments.minutes)
    torch.save(student.state_dict(), arguments.out)


if __name__ == "__main__":
    main()
