"""What every step asks of a teacher, whatever it is inside."""

from typing import Protocol

from torch import Tensor


class Teacher(Protocol):
    """Audio in, embeddings out, without gradients."""

    @property
    def sample_rate(self) -> int:
        """Of the audio that it takes, in Hz."""

    @property
    def embedding_dim(self) -> int:
        """Width of an embedding."""

    def embed(self, audio: Tensor, /) -> Tensor:
        """Audio [b, n] -> embeddings [b, dim]."""

    def embed_frames(self, audio: Tensor, /) -> Tensor:
        """Audio [b, n] -> [b, t, dim], embeddings of the stretches that the teacher divides it into."""
