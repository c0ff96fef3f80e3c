"""The parts of a DenseNet: the layer, the block and the transition (Huang et al., CVPR 2017, section 3).

In inference on a CPU a block writes its maps into one buffer instead of joining them anew for every layer, and no norm
is computed: with a constant norm, relu(s x + b) = s max(x, -b / s) + b for s > 0, and with min for s < 0. The bounds
are one pass over the map, s and b go into the convolution that follows, whose own norm is folded into it as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.compat.torch import has_forward_hooks, has_forward_pre_hooks, has_onednn_linear, onednn_linear
from lab.layers.convolution import FrozenBatchNorm2d, NormName, convolve, is_constant, make_norm, scale_and_shift
from lab.layers.dropout import dropout as drop
from lab.layers.recompute import recomputed, recomputes
from lab.ops.cpu import plain_float32

BOTTLENECK = 4
"""Width between the two convolutions of a layer, in growth rates."""
NEGLIGIBLE = 1e-20
"""A scale below this share of the shift changes nothing in float32, and would make a bound that is no number."""


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1, norm, ReLU, 3x3: ``growth_rate`` new channels from all channels before."""

    def __init__(
        self, in_channels: int, growth_rate: int, norm: NormName, dropout: float, memory_efficient: bool
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.memory_efficient = memory_efficient
        width = BOTTLENECK * growth_rate
        self.norm1 = make_norm(norm, in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.norm2 = make_norm(norm, width)
        self.conv2 = nn.Conv2d(width, growth_rate, 3, padding=1, bias=False)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map the maps before, each (B, C_i, H, W), to (B, growth_rate, H, W)."""
        if self.memory_efficient and recomputes(*maps):
            hidden = F.relu(self.norm2(recomputed(self, self._bottleneck, *maps)), inplace=True)
        else:
            hidden = convolve(F.relu(self.norm1(torch.cat(maps, 1)), inplace=True), self.conv1, self.norm2)
        return drop(self.conv2(hidden), self.dropout, self.training)

    def _bottleneck(self, *maps: Tensor) -> Tensor:
        """Join, normalise, rectify and convolve."""
        out: Tensor = self.conv1(F.relu(self.norm1(torch.cat(maps, 1)), inplace=True))
        return out

    def extend(self, buffer: Tensor, channels: int, scratch: Tensor) -> None:
        """Write the new channels into (B, H, W, C) behind the first ``channels``, which are those before.

        Args:
            buffer: of the block.
            channels: that are there already.
            scratch: memory of as many numbers as the buffer and the first convolution have, which is written over.
        """
        low, high, scale, shift = bounds(self.norm1)
        own_scale, own_shift = _affine(self.norm2)
        weight = self.conv1.weight.flatten(1)
        bias = own_shift + own_scale * (weight @ shift)
        seen = buffer[..., :channels]
        split = seen.numel()
        # In memory that is mapped already: new pages cost as much as the arithmetic.
        clamped, folded = scratch[:split].view(seen.shape), scratch[split : split + weight.numel()].view(weight.shape)
        clamp(seen, low, high, out=clamped)
        torch.mul(weight, own_scale[:, None], out=folded).mul_(scale)
        hidden = onednn_linear(clamped, folded, bias, "relu")
        new = convolve(hidden.permute(0, 3, 1, 2), self.conv2, activation="none")
        buffer[..., channels : channels + new.shape[1]] = new.permute(0, 2, 3, 1)


class DenseBlock(nn.Module):
    """Layers of one resolution, each of which sees the maps of all before it."""

    def __init__(
        self,
        num_layers: int,
        in_channels: int,
        growth_rate: int,
        norm: NormName,
        dropout: float,
        memory_efficient: bool,
    ) -> None:
        super().__init__()
        self.growth_rate = growth_rate
        for index in range(num_layers):
            channels = in_channels + index * growth_rate
            layer = DenseLayer(channels, growth_rate, norm, dropout, memory_efficient)
            self.add_module(f"denselayer{index + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C + num_layers * growth_rate, H, W)."""
        layers = [layer for layer in self.children() if isinstance(layer, DenseLayer)]
        if can_fold(self, x, layers[0].conv1.weight):
            return self._in_a_buffer(x, layers)
        maps = [x]
        for layer in layers:
            maps.append(layer(maps))
        return torch.cat(maps, 1)

    def _in_a_buffer(self, x: Tensor, layers: list[DenseLayer]) -> Tensor:
        batch, channels, height, width = x.shape
        buffer = x.new_empty(batch, height, width, channels + len(layers) * self.growth_rate)
        scratch = x.new_empty(buffer.numel() + layers[-1].conv1.weight.numel())
        buffer[..., :channels] = x.permute(0, 2, 3, 1)
        for layer in layers:
            layer.extend(buffer, channels, scratch)
            channels += self.growth_rate
        return buffer.permute(0, 3, 1, 2)


class Transition(nn.Module):
    """Norm, ReLU, 1x1 to half of the channels, mean over 2x2."""

    def __init__(self, in_channels: int, norm: NormName) -> None:
        super().__init__()
        self.norm = make_norm(norm, in_channels)
        self.conv = nn.Conv2d(in_channels, in_channels // 2, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C / 2, H / 2, W / 2), rounded down."""
        if not can_fold(self, x, self.conv.weight):
            pooled: Tensor = self.pool(self.conv(F.relu(self.norm(x), inplace=True)))
            return pooled
        # The convolution and the mean may change places: a quarter of the products.
        low, high, scale, shift = bounds(self.norm)
        clamped = clamp(x.permute(0, 2, 3, 1), low, high).permute(0, 3, 1, 2)
        means = F.avg_pool2d(clamped, 2).permute(0, 2, 3, 1)
        weight = self.conv.weight.flatten(1)
        return onednn_linear(means, weight * scale, weight @ shift).permute(0, 3, 1, 2)


def can_fold(module: nn.Module, x: Tensor, weight: Tensor) -> bool:
    """Whether the parts of a module can be computed together: inference on a CPU, norms constant, no hook within."""
    if torch.is_grad_enabled() or not plain_float32(x, weight) or not has_onednn_linear():
        return False
    parts = [part for part in module.modules() if part is not module]
    norms = [part for part in parts if isinstance(part, nn.BatchNorm2d | FrozenBatchNorm2d | nn.GroupNorm)]
    if any(has_forward_hooks(part) or has_forward_pre_hooks(part) for part in parts):
        return False
    return bool(norms) and all(is_constant(norm) for norm in norms)


def bounds(norm: nn.Module) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Return a constant norm and the ReLU behind it as (C,) ``low, high, scale, shift``: scale * clamp(x) + shift.

    ``high`` is None where every scale is positive, as in most trained networks: one bound is cheaper than two.
    """
    scale, shift = _affine(norm)
    if bool((scale > NEGLIGIBLE * shift.abs()).all()):
        return -shift / scale, None, scale, shift
    is_dead = scale.abs() <= NEGLIGIBLE * shift.abs()
    turn = torch.where(is_dead, 0.0, -shift / scale)
    low = torch.where((scale > 0) | is_dead, turn, -torch.inf)
    high = torch.where((scale < 0) | is_dead, turn, torch.inf)
    return low, high, scale.masked_fill(is_dead, 0.0), torch.where(is_dead, shift.relu(), shift)


def clamp(x: Tensor, low: Tensor, high: Tensor | None, out: Tensor | None = None) -> Tensor:
    """Bound (..., C) by (C,) from below and, if asked, from above."""
    if high is None:
        return torch.maximum(x, low, out=out)
    return torch.clamp(x, low, high, out=out)


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d)
    return scale_and_shift(norm)
