"""MobileNetV3 beside statistics of textures: what has to be learnt, and what has not.

A few hundred clips do not teach a network all that simple statistics of a sound tell. The embedding has both; the
statistics travel with the maps of the local part, as the frames that they are of, folded into channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssondo_stream.students.layers import LocalPart
from ssondo_stream.students.mobilenetv3 import MobileNetV3
from ssondo_stream.students.textures import Textures

_FARTHEST = 3.0  # deviations
_MOMENTUM = 0.02  # of what is usual of the statistics: that of some thousand columns


class TexturedMobileNetV3(MobileNetV3):
    """Feature maps of log-mel images with standardised statistics of textures as further channels.

    In training the statistics are hidden, zero in every column: a head that had them would leave the network less to
    learn. What is usual of them is learnt all the while.

    Args:
        width_mult, momentum: of the network; its other options would move its columns, or its gates.
        n_mels: bands of the images, a multiple of 8.
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
        (part,) = super().local_parts()
        self._fold = part.stride
        self.textures = Textures(n_mels, column_frames=self.column_frames, audible=audible)
        self.usual = nn.BatchNorm2d(self.textures.count, affine=False, momentum=_MOMENTUM)
        self.dim = self.embedding_dim = self.dim + self.textures.count

    def local_parts(self) -> tuple[LocalPart, ...]:
        """The layers before the first gate, and beside their maps the frames."""
        return tuple(part._replace(run=self._maps_and_frames) for part in super().local_parts())

    def rest(self, maps: Tensor) -> Tensor:
        """The last map, and in each of its bands the statistics."""
        folded = self._fold**2
        deep = super().rest(maps[:, :-folded])
        frames = functional.pixel_shuffle(maps[:, -folded:], self._fold).squeeze(1)
        found = self._standard(frames if self.time_axis == 2 else frames.transpose(1, 2))
        bands = 5 - self.time_axis
        found = found.transpose(2, self.time_axis).to(deep.dtype)
        return torch.cat((deep, torch.cat([found] * int(deep.shape[bands]), bands)), 1)

    def _maps_and_frames(self, x: Tensor) -> tuple[Tensor]:
        (maps,) = self._first_layers(x)
        fold = self._fold
        padding = (0, 0, 0, fold - 1) if self.time_axis == 2 else (0, fold - 1, 0, 0)
        corners = torch.eye(fold**2, dtype=x.dtype, device=x.device).reshape(-1, 1, fold, fold)
        frames = functional.conv2d(functional.pad(x, padding, mode="replicate"), corners, stride=fold)
        return (torch.cat((maps, frames.to(maps.dtype)), 1),)

    def _standard(self, frames: Tensor) -> Tensor:
        """Frames [batch, time, n_mels] -> standardised statistics [batch, count, columns, 1]; zeros in training."""
        with torch.no_grad(), torch.autocast(frames.device.type, enabled=False):
            precise = frames.to(torch.promote_types(frames.dtype, torch.float32))
            found = self.textures(precise).unsqueeze(3)
            if self.training:
                return torch.zeros_like(self.usual(found))
            usual = dict(self.usual.named_buffers())
            mean, deviation = usual["running_mean"], (usual["running_var"] + self.usual.eps).sqrt()
            standard: Tensor = (found - mean[:, None, None]) / deviation[:, None, None]
            return standard.clamp(-_FARTHEST, _FARTHEST)
