"""MobileNetV3 beside statistics of textures: what has to be learnt, and what has not.

A few hundred clips do not teach a network all that simple statistics of a sound tell. The embedding has both, first
what is learnt.
"""

import torch
from torch import Tensor, nn

from ssondo_stream.students.mobilenetv3 import MobileNetV3
from ssondo_stream.students.textures import Textures, standardised

_MOMENTUM = 0.1  # of what is usual of the statistics: that of some thousand columns
_EVERY = 8  # so manieth batch is enough to learn it from


class TexturedMobileNetV3(MobileNetV3):
    """Feature maps of log-mel images with standardised statistics of textures as further channels.

    In training the statistics are hidden, zero in every column: a head that had them would leave the network less to
    learn. What is usual of them is learnt all the while. The parts of the network do without them.

    Args:
        width_mult, momentum: of the network; its other options would move its columns, or its gates.
        n_mels: bands of the images, a multiple of 16.
        audible: see `Textures`.

    Raises:
        ValueError: the bands do not divide into groups.
    """

    def __init__(
        self,
        *,
        width_mult: float = 1.0,
        momentum: float = 0.01,
        n_mels: int = 64,
        audible: float = -1.4,
    ) -> None:
        super().__init__(width_mult=width_mult, momentum=momentum)
        self.textures = Textures(n_mels, column_frames=self.column_frames, audible=audible)
        self.usual = nn.BatchNorm2d(self.textures.count, affine=False, momentum=_MOMENTUM)
        self.register_buffer("batches", torch.tensor(0))
        self.batches: Tensor
        self.computed_dim = self.textures.count
        self.embedding_dim = self.dim + self.computed_dim

    def forward(self, x: Tensor) -> Tensor:
        """The last map [batch, dim, bands, columns], and in each of its bands the statistics."""
        deep = super().forward(x)
        if self.training:
            self._learn_what_is_usual(x)
            found = deep.new_zeros(len(deep), self.computed_dim, deep.shape[3])
        else:
            found = self.computed(x).to(deep.dtype).transpose(1, 2)
        return torch.cat((deep, found.unsqueeze(2).expand(-1, -1, deep.shape[2], -1)), 1)

    @torch.no_grad()
    def computed(self, x: Tensor) -> Tensor:
        """Standardised statistics of images [batch, 1, n_mels, time], [batch, columns, count]."""
        with torch.autocast(x.device.type, enabled=False):
            usual = dict(self.usual.named_buffers())
            mean, deviation = usual["running_mean"], (usual["running_var"] + self.usual.eps).sqrt()
            return standardised(self._found(x).squeeze(3).transpose(1, 2), mean, deviation)

    @torch.no_grad()
    def _learn_what_is_usual(self, x: Tensor) -> None:
        if self.batches % _EVERY == 0:
            with torch.autocast(x.device.type, enabled=False):
                self.usual(self._found(x))
        self.batches += 1

    def _found(self, x: Tensor) -> Tensor:
        frames = x.squeeze(1).transpose(1, 2).to(torch.promote_types(x.dtype, torch.float32))
        found: Tensor = self.textures(frames)
        return found.unsqueeze(3)
