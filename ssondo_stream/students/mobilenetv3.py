"""MobileNetV3 over log-mel images, as in the published students, at any width.

Source: A. Howard et al., "Searching for MobileNetV3", ICCV 2019; with sigmoid gates, as EfficientAT uses it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from ssondo_stream.students.layers import (
    Backbone,
    ConvNormActivation,
    LocalPart,
    SqueezeExcite,
    initialise,
    make_divisible,
)


class BlockSpec(NamedTuple):
    """One inverted residual; `stage` is the index into `strides` if it is the block that downsamples."""

    kernel: int
    channels_in: int
    expanded: int
    channels_out: int
    gated: bool
    activation: type[nn.Module]
    stage: int | None = None
    tail: bool = False


_R, _H = nn.ReLU, nn.Hardswish
_TAIL_CHANNELS = 160

BLOCKS = (
    BlockSpec(3, 16, 16, 16, False, _R),
    BlockSpec(3, 16, 64, 24, False, _R, stage=0),
    BlockSpec(3, 24, 72, 24, False, _R),
    BlockSpec(5, 24, 72, 40, True, _R, stage=1),
    BlockSpec(5, 40, 120, 40, True, _R),
    BlockSpec(5, 40, 120, 40, True, _R),
    BlockSpec(3, 40, 240, 80, False, _H, stage=2),
    BlockSpec(3, 80, 200, 80, False, _H),
    BlockSpec(3, 80, 184, 80, False, _H),
    BlockSpec(3, 80, 184, 80, False, _H),
    BlockSpec(3, 80, 480, 112, True, _H),
    BlockSpec(3, 112, 672, 112, True, _H),
    BlockSpec(5, 112, 672, 160, True, _H, stage=3, tail=True),
    BlockSpec(5, 160, 960, 160, True, _H, tail=True),
    BlockSpec(5, 160, 960, 160, True, _H, tail=True),
)


_GATED = 4  # the first layer with a gate and so a view of the whole window


class InvertedResidual(nn.Module):
    """Expand, convolve each channel, gate, project; with a shortcut where the shape stays."""

    def __init__(self, spec: BlockSpec, *, stride: int, dilation: int, gated: bool, momentum: float) -> None:
        super().__init__()
        self.shortcut = stride == 1 and spec.channels_in == spec.channels_out
        wide, act = spec.expanded, spec.activation
        layers: list[nn.Module] = []
        if wide != spec.channels_in:
            layers.append(ConvNormActivation(spec.channels_in, wide, 1, activation=act, momentum=momentum))
        layers.append(
            ConvNormActivation(
                wide,
                wide,
                spec.kernel,
                stride=1 if dilation > 1 else stride,
                dilation=dilation,
                groups=wide,
                activation=act,
                momentum=momentum,
            )
        )
        if gated:
            layers.append(SqueezeExcite(wide, make_divisible(wide // 4)))
        layers.append(ConvNormActivation(wide, spec.channels_out, 1, activation=None, momentum=momentum))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels_in, freq, time] -> [batch, channels_out, freq / stride, time / stride]."""
        y: Tensor = self.block(x)
        return x + y if self.shortcut else y


class MobileNetV3(Backbone):
    """Feature maps of log-mel images, [batch, 1, n_mels, time] -> [batch, dim, n_mels / 32, time / 32].

    The defaults are the published `mn10`: 2,971,664 parameters, 960 dimensions.

    Args:
        width_mult: scales every channel count.
        reduced_tail: halves the channels of the last stage.
        dilated: the last stage dilates instead of downsampling.
        strides: of the four stages after the stem.
        se_dims: "c" for channel gates, "" for none.
        momentum: of batch norm; the published 0.01 needs many steps to settle.
    """

    def __init__(
        self,
        *,
        width_mult: float = 1.0,
        reduced_tail: bool = False,
        dilated: bool = False,
        strides: Sequence[int] = (2, 2, 2, 2),
        se_dims: str = "c",
        momentum: float = 0.01,
    ) -> None:
        super().__init__()
        if se_dims not in ("c", ""):
            raise ValueError(f"se_dims must be 'c' or '', got {se_dims!r}")
        if len(strides) != 4:
            raise ValueError(f"need 4 strides, got {len(strides)}")
        specs = [_scaled(spec, width_mult, 2 if reduced_tail else 1) for spec in BLOCKS]
        self.dim = self.embedding_dim = make_divisible(6 * specs[-1].channels_out)
        layers: list[nn.Module] = [ConvNormActivation(1, specs[0].channels_in, 3, stride=2, momentum=momentum)]
        for spec in specs:
            stride = 1 if spec.stage is None else strides[spec.stage]
            dilation = 2 if dilated and spec.tail else 1
            gated = spec.gated and se_dims == "c"
            layers.append(InvertedResidual(spec, stride=stride, dilation=dilation, gated=gated, momentum=momentum))
        layers.append(ConvNormActivation(specs[-1].channels_out, self.dim, 1, momentum=momentum))
        self.features = nn.Sequential(*layers)
        initialise(self)

    def local_parts(self) -> tuple[LocalPart, ...]:
        """The layers before the first gate, which see a few frames only."""
        stride, reach = 1, 0
        for conv in (conv for layer in self._before_gate() for conv in layer.modules()):
            if isinstance(conv, nn.Conv2d):
                reach += conv.padding[1] * stride  # type: ignore[operator]  # a number, "same" is not used here
                stride *= conv.stride[1]
        return (LocalPart(self._first_layers, stride, reach, -(-reach // stride)),)

    def rest(self, maps: Tensor) -> Tensor:
        """The layers from the first gate on, which see the whole window."""
        deep: Tensor = self.features[_GATED + 1 :](self._gated_block()[2:](maps))
        return deep

    def _first_layers(self, x: Tensor) -> tuple[Tensor]:
        maps: Tensor = nn.Sequential(*self._before_gate())(x)
        return (maps,)

    def _before_gate(self) -> list[nn.Module]:
        return [*self.features.children()][:_GATED] + [*self._gated_block().children()][:2]

    def _gated_block(self) -> nn.Sequential:
        """The first block with a gate: expand, depthwise, gate, project; it has no shortcut."""
        block = self.features[_GATED]
        assert isinstance(block, InvertedResidual)  # noqa: S101  # for the type checker
        return block.block


def _scaled(spec: BlockSpec, width_mult: float, reduction: int) -> BlockSpec:
    tail_in = reduction if spec.tail and spec.channels_in == _TAIL_CHANNELS else 1
    tail_out = reduction if spec.tail else 1
    return spec._replace(
        channels_in=make_divisible(spec.channels_in // tail_in * width_mult),
        expanded=make_divisible(spec.expanded // tail_in * width_mult),
        channels_out=make_divisible(spec.channels_out // tail_out * width_mult),
    )
