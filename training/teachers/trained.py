"""A finished training as a teacher: a network that was trained on labels, say, and now gives nothing but embeddings."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssondo_stream.mel import log_mel
from training.errors import TrainingError
from training.learner import load_learner
from training.teachers.errors import TeacherError
from training.teachers.frontend import check_audio


class TrainedTeacher:
    """The embeddings of a network that `distill` trained.

    Args:
        folder: that `distill` wrote, or its `student.safetensors`.
        device: of the network.

    Raises:
        TeacherError: there is no finished training.
    """

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        try:
            trained = load_learner(Path(folder))
        except TrainingError as error:
            raise TeacherError(str(error)) from error
        self._learner, self._mel, self._device = trained.learner.to(device), trained.recipe.mel, device
        self._learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a form that its stubs lack

    @property
    def sample_rate(self) -> int:
        """Of the audio that it takes, in Hz."""
        return self._mel.sample_rate

    @property
    def embedding_dim(self) -> int:
        """Width of an embedding."""
        return self._learner.backbone.embedding_dim

    def embed(self, audio: Tensor) -> Tensor:
        """Audio [b, n] -> [b, dim] float32, the mean over columns.

        Raises:
            AudioError: the audio has another shape or type, is shorter than a frame, or is not finite.
        """
        return self.embed_frames(audio).mean(1)

    @torch.inference_mode()
    def embed_frames(self, audio: Tensor) -> Tensor:
        """Audio [b, n] -> [b, t, dim] float32, each column's share of the embedding.

        Raises:
            AudioError: as for `embed`.
        """
        check_audio(audio, self._mel.n_fft)
        frames = np.stack([log_mel(clip, self._mel) for clip in audio.detach().float().cpu().numpy()])
        return self._learner.embed_columns(torch.from_numpy(frames).to(self._device)).float().to(audio.device)
