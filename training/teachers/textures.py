"""Statistics of sound textures as a teacher: no network, nothing learnt but the statistics' own means and deviations.

How energy is distributed over bands, how it fluctuates, and how bands move together tells rain from a helicopter,
whatever the level. Source: J. McDermott, E. Simoncelli, "Sound texture perception via statistics of the auditory
periphery", Neuron 71, 2011; here of log-mel frames.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from scipy.fft import dct
from torch import Tensor

from ssondo_stream.mel import MelConfig, log_mel
from ssondo_stream.types import Frames, Samples
from training.clips import read_clip
from training.column_targets import COLUMN_FRAMES
from training.files import make_folder, write_file
from training.manifest import Manifest
from training.teachers.errors import TeacherError
from training.teachers.frontend import check_audio

TEXTURES_FILE = "textures.safetensors"
MEL = MelConfig(n_mels=64, offset=1e-6)
CONTEXT_FRAMES = 160
_AUDIBLE = -12.0  # log energy in a frame's loudest band, below which it counts as silence
_LEAST = 5  # frames that are heard; with fewer all count
_GROUPS, _CEPSTRA = 8, 20
_PERCENTILES = (5, 25, 50, 75, 95)
_MODULATIONS = (0.4, 0.8, 1.6, 2.8, 5.0, 8.0, 14.0, 20.0, 31.0)  # Hz, edges of bands of modulation
_FARTHEST = 3.0  # deviations

Values = NDArray[np.float64]


def texture(frames: Frames) -> Values:
    """Statistics of log-mel frames [t, 64], t > 1, as one vector that does not depend on their level."""
    heard = frames.max(axis=1) > _AUDIBLE
    live = np.asarray(frames[heard] if heard.sum() >= _LEAST else frames, np.float64)
    level = live.mean()
    live = live - level
    groups = np.asarray(frames, np.float64).reshape(len(frames), _GROUPS, -1).mean(axis=2)
    return np.concatenate(
        [
            live.mean(axis=0),
            live.std(axis=0),
            np.percentile(live, _PERCENTILES, axis=0)[:, ::2].ravel(),
            _changes(live),
            _modulation(groups - groups.mean(axis=0)),
            _together(groups),
            _cepstra(live),
            [heard.mean(), frames.std(), frames.max() - frames.mean()],
        ]
    )


def fit_textures(manifest: Manifest, out: Path, seconds: float) -> None:
    """Find mean and deviation of every statistic over a training set, and write them as `textures.safetensors`.

    Raises:
        AudioFileError: a clip cannot be read.
        StorageError: the file cannot be written.
    """
    clips = (read_clip(manifest.path(entry), MEL.sample_rate, seconds).samples for entry in manifest.entries)
    rows = np.concatenate([_of_columns(clip) for clip in clips])
    content = save({"mean": rows.mean(axis=0), "deviation": rows.std(axis=0) + 1e-3})
    make_folder(out)
    write_file(out / TEXTURES_FILE, lambda file: file.write(content))


class TextureTeacher:
    """Standardised statistics, of a stretch of 2.6 s around each column of half a second.

    Args:
        folder: that `fit_textures` wrote, or the file in it.

    Raises:
        TeacherError: there is no such file, or it is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder) / TEXTURES_FILE if Path(folder).is_dir() else Path(folder)
        try:
            found = load_file(path)
            self._mean, self._deviation = found["mean"], found["deviation"]
        except (OSError, SafetensorError, KeyError) as error:
            raise TeacherError(f"{path}: cannot be read as statistics of textures ({error})") from error

    @property
    def sample_rate(self) -> int:
        """Of the audio that it takes, in Hz."""
        return MEL.sample_rate

    @property
    def embedding_dim(self) -> int:
        """Statistics."""
        return len(self._mean)

    def embed(self, audio: Tensor) -> Tensor:
        """Audio [b, n] -> [b, dim] float32, the mean over columns.

        Raises:
            AudioError: the audio has another shape or type, is shorter than two frames, or is not finite.
        """
        return self.embed_frames(audio).mean(1)

    def embed_frames(self, audio: Tensor) -> Tensor:
        """Audio [b, n] -> [b, t, dim] float32, of each column's surroundings.

        Raises:
            AudioError: as for `embed`.
        """
        check_audio(audio, MEL.samples_for(2))
        rows = np.stack([_of_columns(clip) for clip in audio.detach().float().cpu().numpy()])
        standard = np.clip((rows - self._mean) / self._deviation, -_FARTHEST, _FARTHEST)
        return torch.from_numpy(standard.astype(np.float32)).to(audio.device)


def _of_columns(clip: Samples) -> Values:
    """[n] -> [columns, statistics]; at the edges the surroundings are those of the first or last column inside."""
    frames = log_mel(clip, MEL)
    centres = range(0, len(frames), COLUMN_FRAMES)
    starts = [min(max(0, centre - CONTEXT_FRAMES // 2), max(0, len(frames) - CONTEXT_FRAMES)) for centre in centres]
    of = {start: texture(frames[start : start + CONTEXT_FRAMES]) for start in dict.fromkeys(starts)}
    return np.stack([of[start] for start in starts])


def _changes(live: Values) -> Values:
    """Spread, size and skewness of the change from frame to frame, by band."""
    steps = np.diff(live, axis=0)
    spread = steps.std(axis=0)
    return np.concatenate([spread, np.abs(steps).mean(axis=0), (steps**3).mean(axis=0) / (spread**3 + 1e-3)])


def _modulation(groups: Values) -> Values:
    """Log power of the fluctuations of each group of bands, by their rate."""
    power = np.abs(np.fft.rfft(groups * np.hanning(len(groups))[:, None], CONTEXT_FRAMES * 2, axis=0)) ** 2
    rates = np.fft.rfftfreq(CONTEXT_FRAMES * 2, MEL.hop / MEL.sample_rate)
    of = [power[(low <= rates) & (rates < high)].sum(axis=0) for low, high in pairwise(_MODULATIONS)]
    return np.log(np.stack(of) + 1e-3).ravel()


def _together(groups: Values) -> Values:
    """Correlations between groups of bands; 0 for one that never changes."""
    centred = groups - groups.mean(axis=0)
    unit = centred / (np.sqrt((centred**2).sum(axis=0)) + 1e-6)
    rows, columns = np.triu_indices(_GROUPS, 1)
    return np.asarray((unit.T @ unit)[rows, columns])


def _cepstra(live: Values) -> Values:
    """Mean, deviation and spread of the changes of the first cepstral coefficients."""
    cepstra = dct(live, axis=1, norm="ortho")[:, :_CEPSTRA]
    parts: Sequence[Values] = (cepstra.mean(axis=0), cepstra.std(axis=0), np.diff(cepstra, axis=0).std(axis=0))
    return np.concatenate(parts)
