"""Batches of clips, read ahead of the network that is trained on them.

Every chance is drawn from seed and place in the training alone: there is no random state to save, and a batch is the
same however many processes and threads share it.
"""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.corpus import Corpus
from training.hearing import Hearing
from training.mix_style import draw_style
from training.mixup import Mixup, draw_mixup
from training.processes import Processes

_CLIP, _MIXUP, _NETWORK, _STYLE = range(4)  # what a stream of chance is for


@dataclass(frozen=True, slots=True)
class Part:
    """What this process has of a batch.

    Attributes:
        frames: [b, t, n_mels].
        targets: [b, dim] teacher's embeddings, or labels.
        clusters: [b], where they are used.
    """

    frames: Tensor
    targets: Tensor
    clusters: Tensor | None

    def on(self, device: str) -> "Part":
        """The same on a device."""
        clusters = None if self.clusters is None else self.clusters.to(device)
        return Part(self.frames.to(device), self.targets.to(device), clusters)


@dataclass(frozen=True, slots=True)
class Chance:
    """All that is random in a training, but for the draw of the clips.

    Attributes:
        seed: of the training.
    """

    seed: int

    def of_clip(self, draw: int) -> np.random.Generator:
        """For altering a clip; `draw` counts the clips of the training."""
        return self._generator(_CLIP, draw)

    def mixup(self, step: int, batch: int, alpha: float, device: str) -> Mixup | None:
        """For blending the whole batch of a step; none if alpha is 0."""
        return draw_mixup(self._generator(_MIXUP, step), batch, alpha, device) if alpha else None

    def style(self, step: int, batch: int, share: float, device: str) -> Mixup | None:
        """For giving some of the whole batch of a step the style of others; none if the share is 0."""
        return draw_style(self._generator(_STYLE, step), batch, share, device=device) if share else None

    def seed_network(self, step: int) -> None:
        """For what torch draws in a step, such as dropout."""
        torch.manual_seed(int(self._generator(_NETWORK, step).integers(2**63)))

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def batches(
    corpus: Corpus,
    hearing: Hearing,
    clips: Sequence[int],
    *,
    step: int,
    batch: int,
    chance: Chance,
    processes: Processes,
    readers: int,
    ahead: int,
) -> Generator[Part]:
    """This process's parts of the batches, in their order.

    Args:
        corpus: the clips.
        hearing: gives their frames.
        clips: this process's draws of what is left of the epoch.
        step: of the training, of the first batch.
        batch: clips in a step, over all processes.
        chance: for altering clips.
        processes: this one among others.
        readers: threads.
        ahead: batches that wait to be asked for at most.

    Raises:
        AudioFileError: a clip cannot be read any more.
        EmbeddingsError: a stored embedding is not finite.
    """
    own = batch // processes.world

    def read(number: int) -> Part:
        drawn = np.asarray(clips[number * own : (number + 1) * own], np.int64)
        first = (step + number) * batch + processes.rank
        frames = [
            hearing.frames(clip, chance.of_clip(first + row * processes.world))
            for row, clip in enumerate(drawn.tolist())
        ]
        clusters = None if corpus.clusters is None else torch.from_numpy(corpus.clusters[drawn])
        return Part(torch.stack(frames), torch.from_numpy(corpus.targets(drawn)), clusters)

    waiting: deque[Future[Part]] = deque()
    with ThreadPoolExecutor(readers, thread_name_prefix="read") as pool:
        try:
            for number in range(len(clips) // own):
                waiting.append(pool.submit(read, number))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
