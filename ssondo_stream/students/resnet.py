"""A residual network of dense convolutions: the teacher to train where none can be had, with room to learn.

Dense convolutions keep a processor busier than those of single channels, so it trains faster than the students that it
teaches. Source of the blocks: K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from ssondo_stream.students.layers import Backbone, ConvNormActivation, with_deviations


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut past both."""

    def __init__(self, channels: int, momentum: float) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            ConvNormActivation(channels, channels, 3, activation=nn.ReLU, momentum=momentum),
            ConvNormActivation(channels, channels, 3, activation=None, momentum=momentum),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, freq, time], the same shape out."""
        return functional.relu(x + self.convs(x))


class ResNet(Backbone):
    """Feature maps of log-mel images, [batch, 1, n_mels, time] -> [batch, dim, n_mels / 16, time / 32].

    The window's mean is taken away first: how far off a sound is says nothing of what it is. So the network sees the
    whole window and has no local parts.

    Args:
        channels: of its four stages.
        dim: of the last map; the embedding has its means and its deviations over time.
        momentum: of batch norm.
    """

    def __init__(self, *, channels: Sequence[int] = (24, 48, 96, 192), dim: int = 192, momentum: float = 0.1) -> None:
        super().__init__()
        if len(channels) != 4 or min(*channels, dim) < 1:
            raise ValueError(f"need channels of 4 stages and dim, all above 0, got {list(channels)} and {dim}")
        self.dim, self.embedding_dim = dim, 2 * dim
        first, *later = channels
        layers: list[nn.Module] = [
            nn.BatchNorm2d(1, momentum=momentum),
            ConvNormActivation(1, first, 5, stride=2, activation=nn.ReLU, momentum=momentum),
        ]
        for before, after in zip(channels, later, strict=False):
            layers.append(ConvNormActivation(before, after, 3, stride=2, activation=nn.ReLU, momentum=momentum))
            layers.append(ResidualBlock(after, momentum))
        self.features = nn.Sequential(*layers)
        self.embedding = ConvNormActivation(channels[-1], dim, 1, activation=None, momentum=momentum)

    def rest(self, maps: Tensor) -> Tensor:
        """From the image to the last map; a column is centred on its frame, as every layer is padded evenly."""
        level = maps.mean(2, keepdim=True).mean(3, keepdim=True)  # in two steps: engines round a long sum
        deep = self.features(maps - level)
        embedded: Tensor = self.embedding(functional.avg_pool2d(deep, (1, 3), (1, 2), (0, 1), count_include_pad=False))
        return embedded

    def columns(self, maps: Tensor) -> Tensor:
        """Each column's share [batch, columns, embedding_dim] of means and standard deviations over time."""
        return with_deviations(super().columns(maps))
