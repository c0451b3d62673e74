"""Balanced data sampling: every cluster of the training set is heard equally often, whatever its size.

The draw of an epoch depends on the seed and the epoch alone. Processes share it out among them, so that several hear
together what one would have heard, batch for batch.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from training.errors import ClusterError, SettingsError


class SamplerState(TypedDict):
    """Where a sampler is, and of which draw; JSON values."""

    epoch: int
    position: int
    draws: int
    seed: int
    weights_sha256: str


_DRAW: tuple[Literal["draws", "seed", "weights_sha256"], ...] = ("draws", "seed", "weights_sha256")


def clusters_of(ids: Sequence[str], clusters: Mapping[str, int]) -> NDArray[np.int64]:
    """The cluster of each clip, [n].

    Raises:
        ClusterError: a clip has none; the message names the first.
    """
    missing = [name for name in ids if name not in clusters]
    if missing:
        raise ClusterError(
            f"{len(missing)} of {len(ids)} clips have no cluster; the first is {missing[0]}: "
            "cluster the embeddings of this manifest again"
        )
    return np.array([clusters[name] for name in ids], np.int64)


def balanced_weights(clusters: ArrayLike, balance: float = 1.0) -> NDArray[np.float64]:
    """Chance of each clip to be drawn, [n], summing to 1: w_i in proportion to n_c ** -balance.

    n_c is the size of the clip's cluster in the training set. At 1, as published for S-SONDO, every cluster has the
    same chance, at 0 every clip; between them a cluster's chance goes with n_c ** (1 - balance).

    Args:
        clusters: [n] integers.
        balance: 0 to 1.
    """
    labels = np.asarray(clusters)
    if labels.ndim != 1 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"need clusters [n] of integers, n > 0, got {labels.dtype} {list(labels.shape)}")
    if not 0 <= balance <= 1:
        raise ValueError(f"need 0 <= balance <= 1, got {balance}")
    _, cluster, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    weights = sizes[cluster].astype(np.float64) ** -balance
    return np.asarray(weights / weights.sum())


@dataclass(slots=True)
class SeededSampler(Sampler[int]):
    """Clip numbers drawn with replacement by their weights; process `rank` of `world` gets every world-th draw.

    Local batches of b then make up the batch of b * world that a single process would have had.

    State is the epoch and the position in it. The position is that of training, not of reading ahead: the loop says
    with `advance` how many clips it is done with, so workers that prefetch are no matter.

    Attributes:
        weights: [clips], not negative, not all 0; they need not sum to 1.
        draws: of an epoch, by all processes together; a multiple of `world`.
        seed: of the draw.
        rank, world: of this process, and how many there are.
    """

    weights: NDArray[np.float64]
    draws: int
    seed: int = 0
    rank: int = 0
    world: int = 1
    epoch: int = field(default=0, init=False)
    position: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights, np.float64)
        if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
            raise ValueError("need finite weights [clips], none negative and not all 0")
        if not 0 <= self.rank < self.world:
            raise ValueError(f"need 0 <= rank < world, got {self.rank} and {self.world}")
        if self.draws < 1 or self.draws % self.world:
            raise ValueError(f"need draws > 0 that {self.world} processes can share equally, got {self.draws}")
        if self.seed < 0:
            raise ValueError(f"need seed >= 0, got {self.seed}")
        self.weights = weights

    def __iter__(self) -> Iterator[int]:
        """This process's clips from the position on."""
        return iter(self._drawn()[self.position + self.rank :: self.world].tolist())

    def __len__(self) -> int:
        return (self.draws - self.position) // self.world

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; in the one it is in, the sampler stays where it is."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def advance(self, clips: int) -> None:
        """Say that this process, and each other, has been trained on so many more clips."""
        position = self.position + clips * self.world
        if not self.position <= position <= self.draws:
            raise ValueError(f"an epoch has {self.draws} draws, cannot go from {self.position} to {position}")
        self.position = position

    def state_dict(self) -> SamplerState:
        """What `load_state_dict` needs to go on; the same in every process, and for any number of them."""
        digest = hashlib.sha256(self.weights.tobytes()).hexdigest()
        return {
            "epoch": self.epoch,
            "position": self.position,
            "draws": self.draws,
            "seed": self.seed,
            "weights_sha256": digest,
        }

    def load_state_dict(self, state: SamplerState) -> None:
        """Go on where another sampler of the same draw was.

        Raises:
            SettingsError: it was of another seed, length or weights; the message names which.
        """
        mine = self.state_dict()
        other = [f"{key} was {state.get(key)}, is {mine[key]}" for key in _DRAW if state.get(key) != mine[key]]
        if other:
            raise SettingsError(f"the checkpoint's sampler is of another draw: {'; '.join(other)}")
        position = state["position"]
        if not 0 <= position <= self.draws or position % self.world:
            raise SettingsError(f"{self.world} processes cannot go on at draw {position} of {self.draws}")
        self.epoch, self.position = state["epoch"], position

    def _drawn(self) -> NDArray[np.int64]:
        """[draws] clip numbers of the epoch, for all processes, by inversion of the cumulated weights."""
        steps = np.cumsum(self.weights)
        chance = np.random.default_rng([self.seed, self.epoch]).random(self.draws)
        found = np.searchsorted(steps, chance * steps[-1], side="right")
        return np.asarray(np.minimum(found, np.flatnonzero(self.weights)[-1]), np.int64)  # the product may round up
