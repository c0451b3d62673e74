"""A bundle of ours as a teacher: so a large student can teach a smaller one, and any student be compared with others.

It hears through `ssondo_stream`, as in the monitor.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssondo_stream.loading import load_student
from ssondo_stream.mel import log_mel
from ssondo_stream.types import Samples
from training.teachers.frontend import check_audio


class BundledTeacher:
    """The embeddings of a bundle's student.

    Args:
        bundle: folder, or name of a shipped one.
        device: of the student.

    Raises:
        BundleError: the bundle is incomplete or altered.
        EngineError: its network cannot be run on the device.
    """

    def __init__(self, bundle: str | Path, device: str = "cpu") -> None:
        self._student = load_student(bundle, device=device)
        mel = self._student.spec.mel
        self._window = mel.samples_for(self._student.spec.window_frames)
        self._least = mel.n_fft

    @property
    def sample_rate(self) -> int:
        """Of the audio that it takes, in Hz."""
        return self._student.spec.mel.sample_rate

    @property
    def embedding_dim(self) -> int:
        """Width of an embedding."""
        return self._student.spec.embedding_dim

    def embed(self, audio: Tensor) -> Tensor:
        """Audio [b, n] -> [b, dim] float32, the mean over windows.

        Raises:
            AudioError: the audio has another shape or type, is shorter than a frame, or is not finite.
        """
        return self.embed_frames(audio).mean(1)

    def embed_frames(self, audio: Tensor) -> Tensor:
        """Audio [b, n] -> [b, t, dim] float32, one for each window; the last window ends where the audio does.

        Raises:
            AudioError: as for `embed`.
        """
        check_audio(audio, self._least)
        clips = audio.detach().float().cpu().numpy()
        return torch.from_numpy(np.stack([self._of_clip(clip) for clip in clips])).to(audio.device)

    def _of_clip(self, clip: Samples) -> Samples:
        """[n] -> [windows, dim]."""
        last = max(0, len(clip) - self._window)
        starts = [*range(0, last, self._window), last]
        mel = self._student.spec.mel
        return np.stack([self._student.infer(log_mel(clip[at : at + self._window], mel)).embedding for at in starts])
