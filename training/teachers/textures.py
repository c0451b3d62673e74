"""Statistics of sound textures as a teacher: no network, nothing learnt but the statistics' own means and deviations.

They are those of `ssondo_stream.students.textures`, which a student may carry too; alone they tell most of a few
hundred clips apart, and so they teach what a network would have to be shown.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save
from safetensors.torch import load_file
from torch import Tensor

from ssondo_stream.mel import MelConfig, log_mel
from ssondo_stream.students.textures import StandardTextures, Textures
from training.clips import read_clip
from training.files import make_folder, write_file
from training.manifest import Manifest
from training.teachers.errors import TeacherError
from training.teachers.frontend import check_audio

TEXTURES_FILE = "textures.safetensors"
MEL = MelConfig(n_mels=64, offset=1e-6, mean=-5.0, std=5.0)
_AT_ONCE = 64  # clips


def fit_textures(manifest: Manifest, out: Path, seconds: float) -> None:
    """Find mean and deviation of every statistic over a training set, and write them as `textures.safetensors`.

    Raises:
        AudioFileError: a clip cannot be read.
        StorageError: the file cannot be written.
    """
    starts = range(0, len(manifest.entries), _AT_ONCE)
    rows = np.concatenate([_of_clips(manifest, start, seconds) for start in starts])
    content = save({"mean": rows.mean(axis=0), "deviation": rows.std(axis=0) + 1e-3})
    make_folder(out)
    write_file(out / TEXTURES_FILE, lambda file: file.write(content))


def load_textures(path: Path) -> StandardTextures:
    """What `fit_textures` wrote, by its folder or file.

    Raises:
        TeacherError: there is no such file, or it is damaged.
    """
    path = path / TEXTURES_FILE if path.is_dir() else path
    try:
        found = load_file(path)
        return StandardTextures(found["mean"], found["deviation"], MEL.n_mels).eval()
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TeacherError(f"{path}: cannot be read as statistics of textures ({error})") from error


class TextureTeacher:
    """Standardised statistics, of a stretch of 5.1 s around each column of half a second.

    Args:
        folder: that `fit_textures` wrote, or the file in it.

    Raises:
        TeacherError: there is no such file, or it is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self._textures = load_textures(Path(folder))

    @property
    def sample_rate(self) -> int:
        """Of the audio that it takes, in Hz."""
        return MEL.sample_rate

    @property
    def embedding_dim(self) -> int:
        """Statistics."""
        return self._textures.textures.count

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
        with torch.inference_mode():
            found: Tensor = self._textures(_frames(audio.detach().float().cpu().numpy()))
        return found.clone().to(audio.device)


def _of_clips(manifest: Manifest, start: int, seconds: float) -> NDArray[np.float32]:
    """The statistics of every column of some clips, [rows, statistics]."""
    entries = manifest.entries[start : start + _AT_ONCE]
    clips = [read_clip(manifest.path(entry), MEL.sample_rate, seconds).samples for entry in entries]
    with torch.inference_mode():
        found: NDArray[np.float32] = Textures(MEL.n_mels)(_frames(np.stack(clips))).transpose(1, 2).numpy()
    return np.concatenate(found)


def _frames(clips: NDArray[np.float32]) -> Tensor:
    """[b, n] -> [b, t, n_mels]."""
    return torch.from_numpy(np.stack([log_mel(clip, MEL) for clip in clips]))
