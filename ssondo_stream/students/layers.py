"""The pieces that convolutional students are made of.

Names and nesting follow the published checkpoints, so that their tensors load by name.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a channel count to a multiple of `divisor`, never below 90 % of `value`."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class Backbone(nn.Module, ABC):
    """A student without a head: images [batch, 1, n_mels, time] -> feature maps [batch, dim, bands, columns].

    Attributes:
        dim: channels of the last feature map.
    """

    dim: int

    def forward(self, x: Tensor) -> Tensor:
        """Feature map of images [batch, 1, n_mels, time]."""
        return self.rest(self.prefix(x))

    @abstractmethod
    def prefix(self, x: Tensor) -> Tensor:
        """The layers that are local in time; see `local_extent`."""

    @abstractmethod
    def rest(self, maps: Tensor) -> Tensor:
        """The layers after them."""

    @abstractmethod
    def local_extent(self) -> tuple[int, int]:
        """Frames per column of the prefix's map, and frames that a column sees to either side of its first."""


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


def initialise(module: nn.Module) -> None:
    """Published initial weights: Kaiming fan-out for convolutions, N(0, 0.01) for linear layers."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, 0, 0.01)
            nn.init.zeros_(part.bias)
