"""The parts of a DenseNet: the layer, the block and the transition (Huang et al., CVPR 2017, section 3).

In inference on a CPU a block writes its maps into one buffer instead of joining them anew for every layer, and no norm
is computed: with a constant norm, relu(s x + b) = s max(x, -b / s) + b for s > 0, and with min for s < 0. The bounds
are one pass over the map, s and b go into the convolution that follows, whose own norm is folded into it as well.
Where a map has few pixels, it is sooner normalised than the weights are changed; ``lab.deploy`` changes them once.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.compat.torch import children_of, has_onednn_linear, is_watched, parts_of
from lab.layers.convolution import (
    FrozenBatchNorm2d,
    NormName,
    convolve,
    is_constant,
    joined_scales,
    make_norm,
    scale_and_shift,
)
from lab.layers.dropout import dropout as drop
from lab.layers.linear import Linear
from lab.layers.product import product
from lab.layers.recompute import recomputed, recomputes
from lab.ops.choice import PYTORCH, choices, size_class
from lab.ops.cpu import needs_gradient, plain_float32

BOTTLENECK = 4
"""Width between the two convolutions of a layer, in growth rates."""
FEW, NEAR = 7, 4
"""Pixels for each output channel, below which the maps are sooner scaled than the weights; within a factor of ``NEAR``
a block is timed both ways."""
NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d, nn.GroupNorm)
"""Those that ``make_norm`` makes."""
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
        self.rectified: RectifiedLinear | None = None

    def keep_constants(self) -> None:
        """Fold the norms once, for ``lab.deploy``."""
        self.rectified = RectifiedLinear.of(self.norm1, self.conv1, self.norm2)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map the maps before, each (B, C_i, H, W), to (B, growth_rate, H, W)."""
        if self.memory_efficient and recomputes(*maps):
            hidden = F.relu(self.norm2(recomputed(self, self._bottleneck, *maps)), inplace=True)
        else:
            hidden = convolve(F.relu(self.norm1(torch.cat(maps, 1)), inplace=True), self.conv1, self.norm2)
        return drop(convolve(hidden, self.conv2, activation="none"), self.dropout, self.training)

    def _bottleneck(self, *maps: Tensor) -> Tensor:
        """Join, normalise, rectify and convolve."""
        return convolve(F.relu(self.norm1(torch.cat(maps, 1)), inplace=True), self.conv1, activation="none")

    def extend(self, buffer: Tensor, channels: int, scratch: Tensor, norms: Norms | None, is_small: bool) -> None:
        """Write the new channels into (B, H, W, C) behind the first ``channels``, which are those before.

        Args:
            buffer: of the block.
            channels: that are there already.
            scratch: memory of as many numbers as the buffer and the first convolution have, which is written over.
            norms: what the norms do; None where ``rectified`` holds it.
            is_small: whether the maps are sooner normalised than the weights are changed.
        """
        seen = buffer[..., :channels]
        split = seen.numel()
        if norms is not None and is_small:
            hidden = product(torch.addcmul(norms.shift, seen, norms.scale).relu_(), self.conv1.weight, self.conv1.bias)
            if norms.own_scale is not None and norms.own_shift is not None:
                torch.addcmul(norms.own_shift, hidden, norms.own_scale, out=hidden)
            hidden.relu_()
        else:
            # In memory that is mapped already: new pages cost as much as the arithmetic.
            room, rest = scratch[:split].view(seen.shape), scratch[split:]
            if norms is None:
                assert self.rectified is not None
                hidden = self.rectified.linear.relu(self.rectified.clamp(seen, room))
            else:
                assert norms.low is not None
                weight, bias = _fold(self.conv1, norms, rest)
                hidden = product(clamp(seen, norms.low, norms.high, out=room), weight, bias, "relu")
        new = self.conv2(hidden.permute(0, 3, 1, 2))
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
        pixels, width = x.numel() // x.shape[1], layers[0].conv1.out_channels
        is_small = pixels < FEW * width
        if FEW / NEAR < pixels / width < FEW * NEAR and any(layer.rectified is None for layer in layers):
            few, many = (partial(self._extended, x, layers, each) for each in (True, False))
            shape = (x.shape[1], len(layers), width, size_class(pixels), is_small)
            ways = {PYTORCH: few, "other": many} if is_small else {PYTORCH: many, "other": few}
            is_small = is_small == (choices().fastest("dense block", shape, lambda: ways) == PYTORCH)
        return self._extended(x, layers, is_small)

    def _extended(self, x: Tensor, layers: list[DenseLayer], is_small: bool) -> Tensor:
        """Let each layer write behind the maps before it; see ``DenseLayer.extend``."""
        batch, channels, height, width = x.shape
        buffer = x.new_empty(batch, height, width, channels + len(layers) * self.growth_rate)
        scratch = x.new_empty(buffer.numel() + layers[-1].conv1.weight.numel())
        buffer[..., :channels] = x.permute(0, 2, 3, 1)
        norms = iter(_norms_of([layer for layer in layers if layer.rectified is None], bounded=not is_small))
        for layer in layers:
            layer.extend(buffer, channels, scratch, next(norms) if layer.rectified is None else None, is_small)
            channels += self.growth_rate
        return buffer.permute(0, 3, 1, 2)


class Transition(nn.Module):
    """Norm, ReLU, 1x1 to half of the channels, mean over 2x2."""

    def __init__(self, in_channels: int, norm: NormName) -> None:
        super().__init__()
        self.norm = make_norm(norm, in_channels)
        self.conv = nn.Conv2d(in_channels, in_channels // 2, 1, bias=False)
        self.pool = nn.AvgPool2d(2)
        self.rectified: RectifiedLinear | None = None

    def keep_constants(self) -> None:
        """Fold the norm once, for ``lab.deploy``."""
        self.rectified = RectifiedLinear.of(self.norm, self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C / 2, H / 2, W / 2), rounded down."""
        # The convolution and the mean may change places: a quarter of the products.
        if not can_fold(self, x, self.conv.weight):
            rectified = F.relu(self.norm(x), inplace=True)
            if not plain_float32(rectified, self.conv.weight) or is_watched(self.conv) or is_watched(self.pool):
                means: Tensor = self.pool(self.conv(rectified))
                return means
            return convolve(self.pool(rectified), self.conv, activation="none")
        pixels = x.permute(0, 2, 3, 1)
        if self.rectified is not None:
            return self.rectified.linear(_means(self.rectified.clamp(pixels))).permute(0, 3, 1, 2)
        low, high, scale, shift = bounds(*_affine(self.norm))
        means = _means(clamp(pixels, low, high))
        if means.numel() // len(scale) < FEW * self.conv.out_channels:
            pooled = product(torch.addcmul(shift, means, scale), self.conv.weight, self.conv.bias)
        else:
            pooled = product(means, *_fold(self.conv, Norms(scale, shift, low, high)))
        return pooled.permute(0, 3, 1, 2)


class RectifiedLinear(nn.Module):
    """A constant norm, its ReLU and the 1x1 convolution behind it, folded once: bounds and a linear map of pixels.

    Args:
        low: (C,), the least values.
        high: (C,), the largest values, if there are any.
        weight: (O, C).
        bias: (O,).
    """

    low: Tensor
    high: Tensor | None

    def __init__(self, low: Tensor, high: Tensor | None, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        with torch.device("meta"):
            self.linear = Linear(*weight.shape[::-1])
        self.linear.weight, self.linear.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)

    @classmethod
    def of(cls, norm: nn.Module, convolution: nn.Conv2d, after: nn.Module | None = None) -> RectifiedLinear | None:
        """Fold the norms before and after a convolution; None if they depend on the batch."""
        if not all(is_constant(each) or isinstance(each, nn.Identity) for each in (norm, after or nn.Identity())):
            return None
        with torch.no_grad():
            low, high, scale, shift = bounds(*_affine(norm))
            own = (None, None) if after is None or isinstance(after, nn.Identity) else _affine(after)
            return cls(low, high, *_fold(convolution, Norms(scale, shift, low, high, *own)))

    def clamp(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Bound (..., C)."""
        return clamp(x, self.low, self.high, out)


class Norms(NamedTuple):
    """What the constant norms around a 1x1 convolution do.

    Attributes:
        scale: (C,), of the one before.
        shift: (C,).
        low: (C,), see ``bounds``; None where nobody asked for it.
        high: (C,) or None.
        own_scale: (O,), of the one behind; None where there is none.
        own_shift: (O,).
    """

    scale: Tensor
    shift: Tensor
    low: Tensor | None
    high: Tensor | None
    own_scale: Tensor | None = None
    own_shift: Tensor | None = None


def _norms_of(layers: list[DenseLayer], bounded: bool) -> list[Norms]:
    """Return what the norms of some layers of a block do, in a few operations for all of them.

    Args:
        layers: whose norms are not folded yet.
        bounded: whether bounds are wanted.
    """
    if not layers:
        return []
    parts = [children_of(layer) for layer in layers]
    first, second = [part["norm1"] for part in parts], [part["norm2"] for part in parts]
    behind = [norm for norm in second if not isinstance(norm, nn.Identity)]
    scale, shift, sizes = joined_scales(first + behind)
    before, after = sizes[: len(first)], sizes[len(first) :]
    split = sum(before)
    low = high = None
    own_scale, own_shift, scale, shift = scale[split:], shift[split:], scale[:split], shift[:split]
    if bounded:
        low, high, scale, shift = bounds(scale, shift)
    columns = [[None] * len(first) if each is None else each.split(before) for each in (scale, shift, low, high)]
    own = zip(own_scale.split(after), own_shift.split(after), strict=True)
    none = (None, None)
    return [
        Norms(*four, *(none if isinstance(norm, nn.Identity) else next(own)))
        for norm, *four in zip(second, *columns, strict=True)
    ]


def _fold(convolution: nn.Conv2d, norms: Norms, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Fold scales and shifts into a 1x1 convolution, to be applied to bounded maps.

    Args:
        convolution: 1x1.
        norms: before and behind it.
        memory: for the matrix, which is written over.

    Returns:
        ``weight`` (O, C), ``bias`` (O,).
    """
    weight, own = convolution.weight.flatten(1), convolution.bias
    bias = weight @ norms.shift if own is None else torch.addmv(own, weight, norms.shift)
    folded = torch.empty_like(weight) if memory is None else memory[: weight.numel()].view(weight.shape)
    torch.mul(weight, norms.scale, out=folded)
    if norms.own_scale is None or norms.own_shift is None:
        return folded, bias
    return folded.mul_(norms.own_scale[:, None]), torch.addcmul(norms.own_shift, norms.own_scale, bias)


def _means(pixels: Tensor) -> Tensor:
    """Return the means over 2x2 pixels of (B, H, W, C)."""
    return F.avg_pool2d(pixels.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def can_fold(module: nn.Module, x: Tensor, weight: Tensor) -> bool:
    """Whether the parts of a module can be computed together: inference on a CPU, norms constant, no hook within."""
    if not plain_float32(x, weight) or not has_onednn_linear():
        return False
    if torch.is_grad_enabled() and needs_gradient(x, *module.parameters()):
        return False
    has_norms = False
    for part in parts_of(module):
        if is_watched(part):
            return False
        if isinstance(part, NORMS):
            has_norms = True
            if not is_constant(part):
                return False
    return has_norms


def bounds(scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Return a constant norm and the ReLU behind it as (C,) ``low, high, scale, shift``: scale * clamp(x) + shift.

    ``high`` is None where every scale is positive, as in most trained networks: one bound is cheaper than two.
    """
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
