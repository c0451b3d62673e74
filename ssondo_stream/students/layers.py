"""The pieces that convolutional students are made of.

Names and nesting follow the published checkpoints, so that their tensors load by name.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_VARIANCE_FLOOR = 1e-8


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a channel count to a multiple of `divisor`, never below 90 % of `value`."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class LocalPart(NamedTuple):
    """Layers that are local in time: each column of their maps sees a few frames to either side and nothing else.

    Attributes:
        run: from its input maps [batch, channels, bands, columns] to its output maps; map 0 is the image.
        stride: frames per column of its outputs.
        reach: column i sees frames i * stride - reach to i * stride + reach, all parts before it included.
        context: columns at the end of a stretch, on either side, that are wrong if its inputs are cut off there.
        inputs: numbers of the maps that it takes; the parts' outputs follow the image in order.
        outputs: number of maps that it makes.
    """

    run: Callable[..., tuple[Tensor, ...]]
    stride: int
    reach: int
    context: int
    inputs: tuple[int, ...] = (0,)
    outputs: int = 1


class Backbone(nn.Module, ABC):
    """A student without a head: images [batch, 1, n_mels, time] -> feature maps [batch, dim, bands, columns].

    Attributes:
        dim: channels of the last feature map.
        embedding_dim: width of the embedding.
        computed_dim: of these, how many of the last are computed from the image by `computed`; no layer sees them.
        column_frames: frames per column of the last feature map.
        time_axis: of the maps; 2 where the axes are turned for export.
    """

    dim: int
    embedding_dim: int
    computed_dim: int = 0
    column_frames: int = 32
    time_axis: int = 3

    @property
    def learnt_dim(self) -> int:
        """How many of an embedding's dimensions, the first, come from weights."""
        return self.embedding_dim - self.computed_dim

    def computed(self, x: Tensor) -> Tensor:
        """What the embedding has of an image beside what is learnt, [batch, columns, computed_dim]."""
        return x.new_zeros(len(x), 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Feature map of images [batch, 1, n_mels, time]."""
        return self.rest(self.local(x))

    def local(self, x: Tensor) -> Tensor:
        """The last map of the local parts; the image if there are none."""
        maps = [x]
        for part in self.local_parts():
            maps += part.run(*[maps[i] for i in part.inputs])
        return maps[-1]

    def local_parts(self) -> tuple[LocalPart, ...]:
        """The layers before the first that sees the whole window, in steps worth keeping the results of."""
        return ()

    @abstractmethod
    def rest(self, maps: Tensor) -> Tensor:
        """The layers after the local ones: from their map, or the image, to the last feature map."""

    def columns(self, maps: Tensor) -> Tensor:
        """Each column's share [batch, columns, embedding_dim] of the embedding, which is their mean."""
        bands = int(maps.shape[2])  # a constant to the exporter: pooling is faster there than a mean
        return functional.avg_pool2d(maps, (bands, 1)).squeeze(2).transpose(1, 2)


class ConvNormActivation(nn.Sequential):
    """Convolution without bias, batch norm, activation; padded so that stride 1 keeps the size."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = nn.Hardswish,
        momentum: float = 0.01,
    ) -> None:
        padding = (kernel - 1) // 2 * dilation
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, dilation, groups, bias=False)
        norm = nn.BatchNorm2d(channels_out, eps=1e-3, momentum=momentum)
        super().__init__(conv, norm, *([activation()] if activation else []))


class ChannelGate(nn.Module):
    """Scales each channel by a gate computed from the mean over frequency and time."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Gate [batch, channels, freq, time]."""
        mean = functional.adaptive_avg_pool2d(x, 1)
        # the linear layers as 1 x 1 convolutions: the inference engine then keeps its own layout throughout
        hidden = functional.conv2d(mean, self.fc1.weight[:, :, None, None], self.fc1.bias).relu()
        return x * functional.conv2d(hidden, self.fc2.weight[:, :, None, None], self.fc2.bias).sigmoid()


class SqueezeExcite(nn.Module):
    """The channel gate under the name that it has in published checkpoints."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([ChannelGate(channels, hidden)])

    def forward(self, x: Tensor) -> Tensor:
        """Gate [batch, channels, freq, time]."""
        gated: Tensor = self.conc_se_layers[0](x)
        return gated


def with_deviations(x: Tensor) -> Tensor:
    """Each column's share of means and standard deviations over columns, [batch, columns, dim] -> [..., 2 dim].

    A deviation's share is (x - mean)^2 n / (n - 1) / deviation, whose mean is the deviation; of a single column,
    which has none, the floor. Never in half precision, which does not tell the floor from 0.
    """
    precise = x.to(torch.promote_types(x.dtype, torch.float32))
    squares = (precise - precise.mean(1, keepdim=True)).square()
    count = torch.ones_like(precise[:, :, :1]).sum(1, keepdim=True)
    squares = squares * (count / (count - 1).clamp(min=1)) + _VARIANCE_FLOOR
    shares = squares / squares.mean(1, keepdim=True).sqrt()
    return torch.cat((precise, shares), 2).to(x.dtype)


def initialise(module: nn.Module) -> None:
    """Published initial weights: Kaiming fan-out for convolutions, N(0, 0.01) for linear layers."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, 0, 0.01)
            nn.init.zeros_(part.bias)
