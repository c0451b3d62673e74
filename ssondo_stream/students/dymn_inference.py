"""A DyMN block for one window at a time, in the operations that inference engines run fastest.

It computes what the block computes in evaluation mode. Batch norms go into the four kernels, which are constants;
the gates over frequency go into the coefficients of the activation; the sequences of the context have three axes, to
which ONNX Runtime applies no layout of its own; and both lines of the activation are batch norms, each one pass over
the map instead of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from ssondo_stream.students.dymn import ContextGenerator, DynamicBlock, DynamicConv, DynamicReLU


def run_block(block: DynamicBlock, x: Tensor) -> Tensor:
    """One image [1, channels_in, bands, columns] -> [1, channels_out, bands / stride, columns / stride]."""
    summary, band_gates, column_gates = _context(block.context_gen, x)
    convs = [block.depth_conv, block.proj_conv, *([block.exp_conv] if block.expands else [])]
    depth, project, *expand = _mixtures(convs, summary)
    y = block.exp_act(_convolved(block.exp_conv, block.exp_norm, expand[0], x)) if expand else x
    y = _convolved(block.depth_conv, block.depth_norm, depth, y)
    y = _activated(block.depth_act, y, summary, band_gates) * column_gates[:, :, None]
    y = _convolved(block.proj_conv, block.proj_norm, project, y)
    return x + y if block.shortcut else y


def _context(generator: ContextGenerator, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Summary [1, hidden], gates over frequency [1, expanded, bands] and over time [1, expanded, columns]."""
    bands = int(x.shape[2])
    scale, shift = _scale_and_shift(generator.joint_norm)
    weight = generator.joint_conv.weight[..., 0] * scale[:, None, None]
    joint = functional.hardswish(functional.conv1d(torch.cat((x.mean(3), x.mean(2)), 2), weight, shift))
    of_bands, of_columns = joint[:, :, :bands], joint[:, :, bands:]
    if generator.stride > 1:
        of_bands, of_columns = (functional.avg_pool1d(s, 3, generator.stride, 1) for s in (of_bands, of_columns))
    band_gates, column_gates = (
        functional.conv1d(sequence, conv.weight[..., 0], conv.bias).sigmoid()
        for sequence, conv in ((of_bands, generator.conv_f), (of_columns, generator.conv_t))
    )
    return joint.mean(2), band_gates, column_gates


def _mixtures(convs: list[DynamicConv], summary: Tensor) -> tuple[Tensor, ...]:
    """Shares [1, kernels] of each convolution's kernels, all from one product."""
    weights, biases = zip(*(conv.residuals.parameters() for conv in convs), strict=True)
    temperature = convs[0].temperature
    logits = functional.linear(summary, torch.cat(weights) / temperature, torch.cat(biases) / temperature)
    return torch.split(logits.reshape(len(convs), -1).softmax(1), 1)


def _convolved(conv: DynamicConv, norm: nn.BatchNorm2d, shares: Tensor, x: Tensor) -> Tensor:
    """A convolution by the mixed kernel, and the batch norm after it."""
    scale, shift = _scale_and_shift(norm)
    taps = conv.shape[2] * conv.shape[3]
    bank = conv.weight.reshape(-1, conv.shape[0], conv.shape[1] * taps) * scale[:, None]
    kernel = (shares @ bank.flatten(1)).reshape(conv.shape)
    return functional.conv2d(x, kernel, shift, conv.stride, conv.shape[2] // 2, 1, conv.groups)


def _activated(activation: DynamicReLU, y: Tensor, summary: Tensor, band_gates: Tensor) -> Tensor:
    """The larger of the two lines, times the gates over frequency, which are positive.

    Here 2 sigmoid(z) - 1 is tanh(z / 2), and a band of a channel is a channel to the batch norms.
    """
    channels, bands = int(y.shape[1]), int(y.shape[2])
    by_channel, bias = activation.coef_net.parameters()
    weight = by_channel.reshape(channels, 4, -1).transpose(0, 1).reshape(4 * channels, -1)
    theta = functional.linear(summary, weight / 2, bias.reshape(channels, 4).T.reshape(-1) / 2).tanh()
    theta = theta.reshape(4, channels, 1) * activation.lambdas[:, None, None] + activation.init_v[:, None, None]
    a1, a2, b1, b2 = (row.reshape(-1) for row in torch.split(theta * band_gates, 1))
    rows = y.reshape(1, channels * bands, -1)
    zeros, ones = y.new_zeros(channels * bands), y.new_ones(channels * bands)
    first, second = (functional.batch_norm(rows, zeros, ones, a, b, eps=0.0) for a, b in ((a1, b1), (a2, b2)))
    return torch.maximum(first, second).reshape(1, channels, bands, -1)


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation mode as a line, both [channels]."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("need a batch norm that keeps running statistics")
    scale = norm.weight / (variance + norm.eps).sqrt()
    return scale, norm.bias - mean * scale
