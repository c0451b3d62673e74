"""A recipe: everything that decides on what a training gives, as typed settings in TOML.

What only decides on how fast it gets there (device, threads, how often it is saved) is apart from it, so that a
training may move to another machine, while a checkpoint of another recipe is refused.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ssondo_stream.mel import MelConfig
from training.augment import Masks, Range
from training.clips import SECONDS
from training.losses import LOSSES, LossSettings
from training.schedules import ScheduleSettings
from training.supervised import LabelLoss
from training.tables import RecipeError, as_table, from_overridden, need, read_table, to_toml

RECIPES = Path(__file__).parent / "recipes"
SUFFIX = ".toml"

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class StudentSettings:
    """The network that is trained.

    Attributes:
        architecture: in `ssondo_stream.students.ARCHITECTURES`.
        options: its keyword arguments.
        hidden: width of the mapping head between embedding and teacher.
        dropout: in the mapping head, or before a head over labels.
    """

    architecture: str = "mobilenetv3"
    options: Mapping[str, object] = field(default_factory=dict)
    hidden: int = 1280
    dropout: float = 0.2

    def __post_init__(self) -> None:
        need("hidden >= 1", self.hidden, fits=self.hidden >= 1)
        need("0 <= dropout < 1", self.dropout, fits=0 <= self.dropout < 1)


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """Whose embeddings the student learns.

    Attributes:
        name: for people; which teacher it was is decided where embeddings are extracted.
        dim: width of its embeddings, which stored ones must have; 0 takes any.
    """

    name: str
    dim: int = 0

    def __post_init__(self) -> None:
        need("a name", self.name, fits=bool(self.name))
        need("dim >= 0", self.dim, fits=self.dim >= 0)


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How clips are drawn, always with replacement.

    Attributes:
        draws: in an epoch, over all processes.
        by: "clips" draws each alike, "clusters" and "labels" rare ones more often.
        balance: of "clusters": from 0, each clip alike, to 1, each cluster alike, as published.
        label_offset: of "labels": a label that n clips have counts 1 / (label_offset + n), a clip the sum over its
            labels.
    """

    draws: int = 100_000
    by: Literal["clips", "clusters", "labels"] = "clips"
    balance: float = 1.0
    label_offset: float = 100.0

    def __post_init__(self) -> None:
        need("draws >= 1", self.draws, fits=self.draws >= 1)
        need("0 <= balance <= 1", self.balance, fits=0 <= self.balance <= 1)
        need("label_offset >= 0", self.label_offset, fits=0 <= self.label_offset < math.inf)


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """How what the student hears is altered; nothing is, unless it is said.

    Attributes:
        mixup: alpha of the Beta distribution that clips are blended by, 0 for none.
        mixup_energy: whether clips are blended as sounds add up, by their energies, not by their log-mel frames.
        masks: how much SpecAugment hides.
        roll_seconds: clips are shifted in a circle by up to so much either way.
        gain_db: clips are made louder by so much, from and to.
        colour_db: standard deviation of a smooth curve over frequency, as of another microphone; 0 for none.
        mix_style: share of the clips whose bands get means and deviations of another clip's, more or less.
        background: share of the clips that are mixed with another one of the backgrounds.
        background_snr_db: at which ratio, from and to.
    """

    mixup: float = 0.0
    mixup_energy: bool = False
    masks: Masks | None = None
    roll_seconds: float = 0.0
    gain_db: Range = (0.0, 0.0)
    colour_db: float = 0.0
    mix_style: float = 0.0
    background: float = 0.0
    background_snr_db: Range = (5.0, 30.0)

    def __post_init__(self) -> None:
        amounts = {"mixup": self.mixup, "roll_seconds": self.roll_seconds, "colour_db": self.colour_db}
        for key, value in amounts.items():
            need(f"{key} >= 0", value, fits=0 <= value < math.inf)
        for key, value in {"mix_style": self.mix_style, "background": self.background}.items():
            need(f"0 <= {key} <= 1", value, fits=0 <= value <= 1)
        for key, (low, high) in {"gain_db": self.gain_db, "background_snr_db": self.background_snr_db}.items():
            if not -math.inf < low <= high < math.inf:
                raise ValueError(f"{key}: need two numbers that do not fall, got {low} and {high}")


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """How weights follow gradients; the defaults are the published ones.

    Attributes:
        name: "adam" or "adamw".
        rate: the base learning rate.
        betas: of the running means.
        weight_decay: as the optimiser defines it.
        clip: longest gradient, in the 2-norm over all weights; 0 for no limit.
    """

    name: Literal["adam", "adamw"] = "adam"
    rate: float = 8e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip: float = 5.0

    def __post_init__(self) -> None:
        need("rate > 0", self.rate, fits=0 < self.rate < math.inf)
        need("weight_decay >= 0", self.weight_decay, fits=0 <= self.weight_decay < math.inf)
        need("clip >= 0", self.clip, fits=0 <= self.clip < math.inf)
        need("betas from 0 to below 1", list(self.betas), fits=all(0 <= beta < 1 for beta in self.betas))


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training. Either `loss` says how a teacher's embeddings are learnt, or `labels` how labels are.

    Attributes:
        epochs: passes of `sampling.draws` clips.
        batch: clips in an optimiser step, over all processes.
        seconds: heard of each clip; a teacher must have heard the same.
        precision: of the network; weights and losses are always float32.
        columns: whether it is learnt what each column of the student says, not what the clip's mean does. Embeddings
            then are those of a teacher's columns, labels are those annotated beside each clip.
        average: decay of the exponential moving average of the weights, which then is what is kept; 0 for none.
        seed: of weights, draws and augmentation.
    """

    teacher: TeacherSettings | None = None
    loss: LossSettings | None = None
    labels: LabelLoss | None = None
    student: StudentSettings = field(default_factory=StudentSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    mel: MelConfig = field(default_factory=MelConfig)
    epochs: int = 200
    batch: int = 120
    seconds: float = SECONDS
    precision: Precision = "fp32"
    columns: bool = False
    average: float = 0.0
    seed: int = 42

    def __post_init__(self) -> None:
        if (self.loss is None) == (self.labels is None) or (self.teacher is None) != (self.loss is None):
            raise ValueError("need either the tables 'teacher' and 'loss', or the table 'labels'")
        need("epochs >= 1", self.epochs, fits=self.epochs >= 1)
        need("0 <= seed < 2^63", self.seed, fits=0 <= self.seed < 2**63)
        need("0 <= average < 1", self.average, fits=0 <= self.average < 1)
        draws = self.sampling.draws
        need("2 <= batch <= sampling.draws", [self.batch, draws], fits=2 <= self.batch <= draws)
        fits = self.mel.n_fft <= self.seconds * self.mel.sample_rate < math.inf
        need(f"seconds for a frame of {self.mel.n_fft} samples", self.seconds, fits=fits)
        if self.columns and (self.augment.roll_seconds or self.sampling.by == "labels"):
            raise ValueError("columns=true needs clips as they are: no augment.roll_seconds, no sampling by labels")
        if self.columns and self.labels and not self.labels.names:
            raise ValueError("columns=true with labels needs labels.names, in their order")
        if self.sampling.by == "labels" and self.labels is None:
            raise ValueError("sampling by labels needs the table 'labels'")
        if self.sampling.by == "clusters" and self.teacher is None:
            raise ValueError("sampling by clusters, which are of a teacher's embeddings, needs the table 'teacher'")

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps; what is left of the draws is not a batch."""
        return self.sampling.draws // self.batch

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.epochs * self.steps_per_epoch

    @property
    def needs_clusters(self) -> bool:
        """Whether sampling or loss ask for the cluster of each clip."""
        return self.sampling.by == "clusters" or (self.loss is not None and LOSSES[self.loss.name].needs_clusters)

    @property
    def fingerprint(self) -> str:
        """Changes with any value."""
        return hashlib.sha256(json.dumps(as_table(self), sort_keys=True).encode()).hexdigest()

    def to_toml(self) -> str:
        """The recipe with every value spelled out."""
        return to_toml(as_table(self))


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a training is run; what it gives depends on device, threads and processes by rounding alone.

    Attributes:
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        threads: of the arithmetic, 0 for torch's choice; with as many, a training is the same to the last bit.
        readers: threads that read and alter audio.
        ahead: batches that wait for the network at most.
        cache_gib: of decoded audio or frames on disk, by each process; 0 for none.
        save_every: optimiser steps between checkpoints; what a kill may cost.
        log_every: optimiser steps between figures.
        stop_after: optimiser steps, of all runs together; 0 for the recipe's.
        max_skipped_share: of the clips, in [0, 1]; with more that cannot be used the step fails.
        tensorboard: whether its files are written.
        progress: whether a bar is drawn.
    """

    device: str = "auto"
    threads: int = 0
    readers: int = 2
    ahead: int = 3
    cache_gib: float = 4.0
    save_every: int = 500
    log_every: int = 50
    stop_after: int = 0
    max_skipped_share: float = 0.01
    tensorboard: bool = True
    progress: bool = True

    def __post_init__(self) -> None:
        least = {"readers": 1, "ahead": 1, "save_every": 1, "log_every": 1, "stop_after": 0, "threads": 0}
        for key, lowest in least.items():
            need(f"{key} >= {lowest}", value := getattr(self, key), fits=value >= lowest)
        need("cache_gib >= 0", self.cache_gib, fits=0 <= self.cache_gib < math.inf)
        need("0 <= max_skipped <= 1", self.max_skipped_share, fits=0 <= self.max_skipped_share <= 1)


def list_recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in RECIPES.glob(f"*{SUFFIX}"))


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by the name of a shipped one or by path.

    Args:
        name: `matpac_mobilenetv3`, or `my/recipe.toml`.
        overrides: values instead of the file's, as `sampling.draws=1000`.

    Raises:
        RecipeError: there is none, or it is not valid; the message names file or override, key, value and what was
            expected.
    """
    path = RECIPES / f"{name}{SUFFIX}" if name in list_recipes() else Path(name)
    if not path.is_file():
        raise RecipeError(f"no recipe {name!r}: expected a file, or one of {', '.join(list_recipes())}")
    return from_overridden(Recipe, read_table(path), overrides, str(path))
