"""Several teachers as one: their embeddings side by side.

Each is brought to unit length first, so that none drowns the others and a cosine between two joint embeddings is the
mean of the members' cosines.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from training.teacher import Teacher
from training.teachers.errors import TeacherError


class Ensemble:
    """Teachers that hear the same audio.

    Args:
        members: two or more, of one sample rate.

    Raises:
        TeacherError: their sample rates differ.
    """

    def __init__(self, members: Sequence[Teacher]) -> None:
        rates = {member.sample_rate for member in members}
        if len(rates) != 1:
            raise TeacherError(f"teachers of an ensemble need one sample rate, these have {sorted(rates)} Hz")
        self._members = tuple(members)

    @property
    def sample_rate(self) -> int:
        """Of the audio that they take, in Hz."""
        return self._members[0].sample_rate

    @property
    def embedding_dim(self) -> int:
        """Of all of them together."""
        return sum(member.embedding_dim for member in self._members)

    def embed(self, audio: Tensor) -> Tensor:
        """Audio [b, n] -> [b, dim]."""
        return torch.cat([normalize(member.embed(audio), dim=-1) for member in self._members], dim=-1)

    def embed_frames(self, audio: Tensor) -> Tensor:
        """Audio [b, n] -> [b, t, dim].

        Raises:
            TeacherError: the members divide audio into stretches of different number.
        """
        parts = [normalize(member.embed_frames(audio), dim=-1) for member in self._members]
        if len({part.shape[1] for part in parts}) != 1:
            counts = ", ".join(str(part.shape[1]) for part in parts)
            raise TeacherError(f"teachers of an ensemble must divide audio alike, these give {counts} stretches")
        return torch.cat(parts, dim=-1)
