"""ERes2Net over log-mel images: residual blocks of two scales, and a path that fuses all stages.

It is local in time all the way to its pooling, which is why it can be streamed. Source: Y. Chen et al., "An Enhanced
Res2Net with Local and Global Feature Fusion for Speaker Verification", Interspeech 2023.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssondo_stream.students.layers import Backbone, LocalPart, with_deviations

_EXPANSION = 2  # channels of a block's output over its planes
_STRIDES = (2, 4, 8, 16)  # frames per column after all stages but the first
_TOGETHER = (4, 3, 1, 3)  # blocks of these stages in a local part: fewer repeat less, more cost less between them


def _clamped(x: Tensor) -> Tensor:
    return functional.hardtanh(x, 0.0, 20.0)


class AttentiveFusion(nn.Module):
    """Weighs two maps against each other, position by position: a (1 + g) + b (1 - g) with g = tanh of both."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = channels // reduction
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.SiLU(),
            nn.Conv2d(hidden, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two maps [batch, channels, bands, columns] -> one."""
        gate = torch.tanh(self.local_att(torch.cat((a, b), 1)))
        return a * (1 + gate) + b * (1 - gate)


class Block(nn.Module):
    """1 x 1, two scales of 3 x 3 of which the second sees the first, 1 x 1; each in halves of the channels."""

    def __init__(self, channels: int, planes: int, stride: int, *, fused: bool) -> None:
        super().__init__()
        width, out = planes // 2, planes * _EXPANSION
        self.conv1 = nn.Conv2d(channels, 2 * width, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(2 * width)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))
        if fused:
            self.fuse_models = nn.ModuleList([AttentiveFusion(width)])
        self.fused = fused
        self.conv3 = nn.Conv2d(2 * width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, bands, columns] -> [batch, 2 planes, bands / stride, columns / stride]."""
        first, second = _clamped(self.bn1(self.conv1(x))).chunk(2, 1)
        first = _clamped(self.bns[0](self.convs[0](first)))
        second = self.fuse_models[0](first, second) if self.fused else first + second
        second = _clamped(self.bns[1](self.convs[1](second)))
        return _clamped(self.bn3(self.conv3(torch.cat((first, second), 1))) + self.shortcut(x))


class ERes2Net(Backbone):
    """Feature maps of log-mel images, [batch, 1, n_mels, time] -> [batch, dim, n_mels / 16, time / 16].

    The defaults are the published student: 1,368,068 parameters, embedding of 1024.

    Args:
        m_channels: channels of the stem; all others follow.
        feat_dim: mel bands of the image.
        num_blocks: of the five stages.
    """

    column_frames = 16

    def __init__(
        self, *, m_channels: int = 16, feat_dim: int = 128, num_blocks: Sequence[int] = (3, 4, 6, 3, 3)
    ) -> None:
        super().__init__()
        if len(num_blocks) != 5 or min(num_blocks) < 1:
            raise ValueError(f"num_blocks must be 5 numbers of at least 1, got {list(num_blocks)}")
        if feat_dim % 16 or m_channels % 8:
            raise ValueError(f"need feat_dim in multiples of 16 and m_channels of 8, got {feat_dim} and {m_channels}")
        m = m_channels
        self.num_blocks = tuple(num_blocks)
        self.conv1 = nn.Conv2d(1, m, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(m)
        self.layer1 = _stage(m, m, num_blocks[0], 1, fused=False)
        self.layer2 = _stage(2 * m, 2 * m, num_blocks[1], 2, fused=False)
        self.layer3 = _stage(4 * m, 4 * m, num_blocks[2], 2, fused=True)
        self.layer4 = _stage(8 * m, 8 * m, num_blocks[3], 2, fused=True)
        self.layer5 = _stage(16 * m, 2 * m, num_blocks[4], 2, fused=True)
        self.layer1_downsample = _downsample(2 * m, 4 * m)
        self.layer2_downsample = _downsample(4 * m, 8 * m)
        self.layer3_downsample = _downsample(8 * m, 16 * m)
        self.layer4_downsample = _downsample(16 * m, 4 * m)
        self.fuse_mode12 = AttentiveFusion(4 * m)
        self.fuse_mode123 = AttentiveFusion(8 * m)
        self.fuse_mode1234 = AttentiveFusion(16 * m)
        self.fuse_mode12345 = AttentiveFusion(4 * m)
        self.dim = 4 * m
        self.embedding_dim = 2 * self.dim * (feat_dim // 16)

    def local_parts(self) -> tuple[LocalPart, ...]:
        """The whole network: the first stage, then a few blocks at a time, and what fuses each stage with those before.

        A block reaches two columns further, for its 3 x 3 convolutions are in series. What is fused is kept as the next
        fusion takes it, at half the columns.
        """
        reach = 1 + 2 * self.num_blocks[0]
        parts = [LocalPart(self._first_stage, 1, reach, reach)]
        deep = fused = 1  # numbers of the maps of the last block and of the last fusion
        for stage, (layer, stride, together) in enumerate(zip(self._later_layers(), _STRIDES, _TOGETHER, strict=True)):
            for blocks in _groups(layer, together):
                reach += 2 * len(blocks) * stride
                parts.append(LocalPart(_single(blocks), stride, reach, 2 * len(blocks), (deep,)))
                deep = len(parts)
            parts.append(self._fusion(stage, stride, reach, (deep, fused)))
            fused = len(parts)
        return tuple(parts)

    def rest(self, maps: Tensor) -> Tensor:
        """Nothing is left to do."""
        return maps

    def columns(self, maps: Tensor) -> Tensor:
        """Each column's share [batch, columns, embedding_dim] of means and standard deviations over time."""
        return with_deviations(maps.permute(0, 3, 1, 2).flatten(2))

    def _first_stage(self, x: Tensor) -> tuple[Tensor]:
        return (self.layer1(functional.relu(self.bn1(self.conv1(x)))),)

    def _later_layers(self) -> tuple[nn.Sequential, ...]:
        return self.layer2, self.layer3, self.layer4, self.layer5

    def _fusion(self, stage: int, stride: int, reach: int, inputs: tuple[int, int]) -> LocalPart:
        """The fusion after a stage, with the convolution that halves it for the next."""
        fuse = (self.fuse_mode12, self.fuse_mode123, self.fuse_mode1234, self.fuse_mode12345)[stage]
        if stage == 0:
            halve, halve_fused = self.layer1_downsample, self.layer2_downsample
            return LocalPart(lambda x, y: (halve_fused(fuse(x, halve(y))),), 2 * stride, reach + stride, 1, inputs)
        if stage == len(_STRIDES) - 1:
            return LocalPart(lambda x, y: (fuse(x, y),), stride, reach, 0, inputs)
        after = (self.layer3_downsample, self.layer4_downsample)[stage - 1]
        return LocalPart(lambda x, y: (after(fuse(x, y)),), 2 * stride, reach + stride, 1, inputs)


def _groups(layer: nn.Sequential, size: int) -> list[nn.Sequential]:
    blocks = [*layer.children()]
    return [nn.Sequential(*blocks[i : i + size]) for i in range(0, len(blocks), size)]


def _single(blocks: nn.Sequential) -> Callable[[Tensor], tuple[Tensor]]:
    return lambda x: (blocks(x),)


def _stage(channels: int, planes: int, blocks: int, stride: int, *, fused: bool) -> nn.Sequential:
    first = Block(channels, planes, stride, fused=fused)
    return nn.Sequential(first, *(Block(planes * _EXPANSION, planes, 1, fused=fused) for _ in range(blocks - 1)))


def _downsample(channels: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False)
