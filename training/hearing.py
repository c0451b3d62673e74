"""What a student hears of a clip: its log-mel frames, altered anew each time.

Chance comes from a generator that belongs to the draw, not to the process or thread that happens to do it; so what is
heard is the same whoever reads it, and after any interruption.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssondo_stream.mel import log_mel
from ssondo_stream.types import Samples
from training.augment import background, colour, random_gain, spec_augment, time_roll
from training.clips import read_clip
from training.recipe import Recipe
from training.row_cache import RowCache, kept_rows


class Hearing:
    """The clips as frames. State is what was read of them, kept on disk.

    What is kept are the frames, or the samples where backgrounds are mixed in.

    Args:
        recipe: front end, length, and how clips are altered.
        clips: paths of their audio.
        backgrounds: paths of what may be mixed in.
        cache_bytes: of the file on disk at most.
        folder: where that file lies.

    Raises:
        StorageError: the disk has no room for the cache.
    """

    def __init__(
        self, recipe: Recipe, clips: tuple[Path, ...], backgrounds: tuple[Path, ...], cache_bytes: float, folder: Path
    ) -> None:
        self._augment, self._mel = recipe.augment, recipe.mel
        self._seconds, self._clips, self._backgrounds = recipe.seconds, clips, backgrounds
        files = len(clips) + len(backgrounds) if recipe.augment.background else len(clips)
        self._cache = RowCache(files, kept_shape(recipe), cache_bytes, folder)

    def frames(self, clip: int, rng: np.random.Generator) -> Tensor:
        """A clip as it is heard this time, [t, n_mels].

        Raises:
            AudioFileError: its audio cannot be read any more.
        """
        augment, mel = self._augment, self._mel
        heard = torch.from_numpy(self._frames(clip, rng))[None]
        if augment.gain_db != (0.0, 0.0):
            heard = random_gain(heard, rng, mel, augment.gain_db)
        if augment.colour_db:
            heard = colour(heard, rng, mel, augment.colour_db)
        if augment.roll_seconds:
            heard = time_roll(heard, rng, round(augment.roll_seconds * mel.sample_rate / mel.hop))
        if augment.masks:
            heard = spec_augment(heard, rng, mel, augment.masks)
        return heard[0]

    def _frames(self, clip: int, rng: np.random.Generator) -> NDArray[np.float32]:
        if not self._augment.background:
            return self._kept(clip, self._clips[clip], as_frames=True)
        samples = self._kept(clip, self._clips[clip], as_frames=False)
        if rng.random() < self._augment.background:
            other = int(rng.integers(len(self._backgrounds)))
            noise = self._kept(len(self._clips) + other, self._backgrounds[other], as_frames=False)
            samples = background(samples, noise, rng, self._augment.background_snr_db)
        return log_mel(samples, self._mel)

    def _kept(self, row: int, path: Path, *, as_frames: bool) -> NDArray[np.float32]:
        found = self._cache.get(row)
        if found is None:
            samples: Samples = read_clip(path, self._mel.sample_rate, self._seconds).samples
            found = log_mel(samples, self._mel) if as_frames else samples
            self._cache.put(row, found)
        return found


def kept_shape(recipe: Recipe) -> tuple[int, ...]:
    """Shape of what is kept of a clip."""
    samples = round(recipe.seconds * recipe.mel.sample_rate)
    return (samples,) if recipe.augment.background else (recipe.mel.frames_in(samples), recipe.mel.n_mels)


def cache_size(recipe: Recipe, files: int, cache_bytes: float) -> int:
    """Bytes on disk that `Hearing` will take for so many clips and backgrounds."""
    shape = kept_shape(recipe)
    return kept_rows(files, shape, cache_bytes) * int(np.prod(shape)) * np.dtype(np.float32).itemsize
