"""DyMN over log-mel images: MobileNetV3's blocks, whose kernels, activations and gates depend on what the window holds.

Names and nesting follow the published checkpoints. Source: F. Schmid et al., "Dynamic Convolutional Neural Networks as
Efficient Pre-trained Audio Models", IEEE/ACM TASLP 2024.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssondo_stream.students.dymn_inference import run_block
from ssondo_stream.students.layers import Backbone, ConvNormActivation, initialise, make_divisible
from ssondo_stream.students.mobilenetv3 import BLOCKS, BlockSpec

KERNELS = 4
"""Kernels that a dynamic convolution mixes."""

_HIDDEN = (32, 128)  # bounds of a context's width, which is a quarter of the expanded channels


class Context(NamedTuple):
    """What a block knows of its input.

    Attributes:
        summary: of the window, [batch, hidden].
        band_gates: [batch, expanded, bands, 1], in 0 to 1.
        column_gates: [batch, expanded, 1, columns], in 0 to 1.
    """

    summary: Tensor
    band_gates: Tensor
    column_gates: Tensor


class ContextGenerator(nn.Module):
    """Looks at the means over time and over frequency as one sequence."""

    def __init__(self, channels: int, hidden: int, expanded: int, stride: int, momentum: float) -> None:
        super().__init__()
        self.stride = stride
        self.joint_conv = nn.Conv2d(channels, hidden, 1, bias=False)
        self.joint_norm = nn.BatchNorm2d(hidden, eps=1e-3, momentum=momentum)
        self.conv_f = nn.Conv2d(hidden, expanded, 1)
        self.conv_t = nn.Conv2d(hidden, expanded, 1)

    def forward(self, x: Tensor) -> Context:
        """Of a block's input [batch, channels, bands, columns]; the gates are those of its output."""
        bands = x.shape[2]
        means = torch.cat((x.mean(3, keepdim=True), x.mean(2, keepdim=True).mT), 2)
        joint = functional.hardswish(self.joint_norm(self.joint_conv(means)))
        of_bands, of_columns = joint[:, :, :bands], joint[:, :, bands:]
        if self.stride > 1:
            of_bands, of_columns = self._pool(of_bands), self._pool(of_columns)
        gates = self.conv_f(of_bands).sigmoid(), self.conv_t(of_columns).sigmoid().mT
        return Context(joint.mean((2, 3)), *gates)

    def _pool(self, sequence: Tensor) -> Tensor:
        return functional.avg_pool2d(sequence, (3, 1), (self.stride, 1), (1, 0))


class DynamicConv(nn.Module):
    """Convolution whose kernel is a mixture of four, weighted for each image by its context.

    Attributes:
        temperature: of the softmax over the four; high ones mix evenly. Training may lower it step by step.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        hidden: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        temperature: float,
    ) -> None:
        super().__init__()
        self.shape = (channels_out, channels_in // groups, kernel, kernel)
        self.stride, self.groups, self.temperature = stride, groups, temperature
        self.weight = nn.Parameter(torch.empty(1, 1, KERNELS, math.prod(self.shape)))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (channels_out * kernel * kernel)))  # Kaiming, fan-out
        self.residuals = nn.Sequential(nn.Linear(hidden, KERNELS))

    def forward(self, x: Tensor, summary: Tensor) -> Tensor:
        """Images [batch, channels_in, bands, columns] and their summaries, as one convolution in groups."""
        batch = x.shape[0]
        attention = (self.residuals(summary) / self.temperature).softmax(1)
        kernels = (attention @ self.weight[0, 0]).view(batch * self.shape[0], *self.shape[1:])
        side_by_side = x.reshape(1, -1, *x.shape[2:])
        padding, groups = self.shape[-1] // 2, self.groups * batch
        y = functional.conv2d(side_by_side, kernels, None, self.stride, padding, 1, groups)
        return y.view(batch, -1, *y.shape[2:])


class DynamicReLU(nn.Module):
    """The larger of two lines in each channel, max(a1 x + b1, a2 x + b2), whose coefficients follow the context."""

    lambdas: Tensor
    init_v: Tensor

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.coef_net = nn.Sequential(nn.Linear(hidden, 4 * channels))
        self.register_buffer("lambdas", torch.tensor([1.0, 1.0, 0.5, 0.5]))
        self.register_buffer("init_v", torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(self, x: Tensor, summary: Tensor) -> Tensor:
        """Images [batch, channels, bands, columns] and their summaries."""
        theta = 2 * self.coef_net(summary).sigmoid() - 1
        coefficients = theta.view(*x.shape[:2], 1, 1, 4) * self.lambdas + self.init_v
        a1, a2, b1, b2 = coefficients.unbind(4)
        return torch.maximum(a1 * x + b1, a2 * x + b2)


class DynamicBlock(nn.Module):
    """Expand, convolve each channel, bend, gate, project; with a shortcut where the shape stays."""

    def __init__(self, spec: BlockSpec, hidden: int, *, stride: int, momentum: float, temperature: float) -> None:
        super().__init__()
        narrow, wide, out = spec.channels_in, spec.expanded, spec.channels_out
        self.shortcut = stride == 1 and narrow == out
        self.expands = wide != narrow
        if self.expands:
            self.exp_conv = DynamicConv(narrow, wide, hidden, temperature=temperature)
            self.exp_norm = nn.BatchNorm2d(wide, eps=1e-3, momentum=momentum)
            self.exp_act = spec.activation()
        self.depth_conv = DynamicConv(
            wide, wide, hidden, spec.kernel, stride=stride, groups=wide, temperature=temperature
        )
        self.depth_norm = nn.BatchNorm2d(wide, eps=1e-3, momentum=momentum)
        self.depth_act = DynamicReLU(wide, hidden)
        self.proj_conv = DynamicConv(wide, out, hidden, temperature=temperature)
        self.proj_norm = nn.BatchNorm2d(out, eps=1e-3, momentum=momentum)
        self.context_gen = ContextGenerator(narrow, hidden, wide, stride, momentum)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels_in, bands, columns] -> [batch, channels_out, bands / stride, columns / stride]."""
        if torch.onnx.is_in_onnx_export():
            return run_block(self, x)
        context: Context = self.context_gen(x)
        y = x
        if self.expands:
            y = self.exp_act(self.exp_norm(self.exp_conv(y, context.summary)))
        y = self.depth_norm(self.depth_conv(y, context.summary))
        y = self.depth_act(y, context.summary) * context.band_gates * context.column_gates
        z: Tensor = self.proj_norm(self.proj_conv(y, context.summary))
        return x + z if self.shortcut else z


class DyMN(Backbone):
    """Feature maps of log-mel images, [batch, 1, n_mels, time] -> [batch, dim, n_mels / 32, time / 32].

    Every block sees the whole window, so nothing is worth keeping from one window to the next. The defaults are the
    published `dymn10`: 8,643,312 parameters, 960 dimensions.

    Args:
        width_mult: scales every channel count and the width of the contexts.
        strides: of the four stages after the stem.
        temperature: with which the kernels are mixed. No tensor tells it: a student must be loaded with the one it was
            trained with.
        momentum: of batch norm.
    """

    def __init__(
        self,
        *,
        width_mult: float = 1.0,
        strides: Sequence[int] = (2, 2, 2, 2),
        temperature: float = 30.0,
        momentum: float = 0.01,
    ) -> None:
        super().__init__()
        if len(strides) != 4:
            raise ValueError(f"need 4 strides, got {len(strides)}")
        _check_temperature(temperature)
        specs = [_scaled(spec, width_mult) for spec in BLOCKS]
        least, most = (make_divisible(bound * width_mult) for bound in _HIDDEN)
        self.in_c = ConvNormActivation(1, specs[0].channels_in, 3, stride=2, momentum=momentum)
        self.layers = nn.ModuleList()
        for spec in specs:
            stride = 1 if spec.stage is None else strides[spec.stage]
            hidden = min(max(make_divisible(spec.expanded // 4), least), most)
            block = DynamicBlock(spec, hidden, stride=stride, momentum=momentum, temperature=temperature)
            self.layers.append(block)
        self.dim = self.embedding_dim = 6 * specs[-1].channels_out
        self.out_c = ConvNormActivation(specs[-1].channels_out, self.dim, 1, momentum=momentum)
        self._temperature = temperature
        initialise(self)

    @property
    def temperature(self) -> float:
        """Of every dynamic convolution; set it to anneal.

        Raises:
            ValueError: a temperature that is not above 0.
        """
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        _check_temperature(value)
        self._temperature = value
        for module in self.modules():
            if isinstance(module, DynamicConv):
                module.temperature = value

    def rest(self, maps: Tensor) -> Tensor:
        """The whole network."""
        x = self.in_c(maps)
        for block in self.layers:
            x = block(x)
        deep: Tensor = self.out_c(x)
        return deep


def _check_temperature(value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"temperature must be above 0 and finite, got {value}")


def _scaled(spec: BlockSpec, width_mult: float) -> BlockSpec:
    widths = (spec.channels_in, spec.expanded, spec.channels_out)
    narrow, wide, out = (make_divisible(width * width_mult) for width in widths)
    return spec._replace(channels_in=narrow, expanded=wide, channels_out=out)
