"""The parts of VoVNet: one-shot aggregation with effective squeeze and excitation (CenterMask, CVPR 2020, figure 3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.layers.convolution import NormName, Scales, convolve, make_norm, scales_of
from lab.layers.recompute import recomputed, recomputes


@dataclass(frozen=True)
class BlockSizes:
    """Of the blocks of one stage.

    Attributes:
        in_channels: what comes into the first block.
        mid_channels: of the layers within a block.
        out_channels: of every block.
        layers: within a block.
        blocks: in the stage.
        depthwise: whether a layer is a depthwise 3x3 and a 1x1.
    """

    in_channels: int
    mid_channels: int
    out_channels: int
    layers: int
    blocks: int
    depthwise: bool


class ConvNormReLU(nn.Sequential):
    """A convolution without bias, its norm and ReLU, under the names of the authors' files: ``<name>/conv``."""

    def __init__(self, name: str, in_channels: int, out_channels: int, kernel: int, stride: int, norm: NormName):
        super().__init__()
        convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.add_module(f"{name}/conv", convolution)
        self.add_module(f"{name}/norm", make_norm(norm, out_channels))

    def forward(self, x: Tensor, scales: Scales | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, h, w); ``scales`` as ``convolve`` takes it."""
        return run_layers(self, x, scales)

    @property
    def norm(self) -> nn.Module:
        """Its norm."""
        return self[-1]


def run_layers(layers: Iterable[nn.Module], x: Tensor, scales: Scales | None = None) -> Tensor:
    """Run the layers of a ``ConvNormReLU``: convolutions, of which a norm and ReLU follow the last one."""
    *before, last, norm = layers
    for layer in before:
        x = layer(x)
    return convolve(x, last, norm, scales=scales)  # type: ignore[arg-type]


class SeparableConvNormReLU(ConvNormReLU):
    """A depthwise 3x3, a 1x1, its norm and ReLU: ``<name>/dw_conv3x3``, ``<name>/pw_conv1x1``, ``<name>/pw_norm``."""

    def __init__(self, name: str, in_channels: int, out_channels: int, stride: int, norm: NormName):
        nn.Sequential.__init__(self)
        depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False)
        self.add_module(f"{name}/dw_conv3x3", depthwise)
        self.add_module(f"{name}/pw_conv1x1", nn.Conv2d(in_channels, out_channels, 1, bias=False))
        self.add_module(f"{name}/pw_norm", make_norm(norm, out_channels))


class SqueezeExcitation(nn.Module):
    """Every channel times a factor that one layer reads from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        means: Tensor = self.fc(x.mean(dim=(2, 3), keepdim=True))
        return x * (F.relu6(means + 3) / 6)  # torch's hardsigmoid has 1/6 in single precision


class Aggregation(nn.Module):
    """A chain of 3x3 layers; the input and the result of each are joined once, and a 1x1 reads them.

    Args:
        name: begins the names of its layers.
        in_channels: what comes in.
        sizes: of the stage.
        identity: whether the input is added at the end.
        norm: the normalisation.
    """

    def __init__(self, name: str, in_channels: int, sizes: BlockSizes, identity: bool, norm: NormName) -> None:
        super().__init__()
        mid = sizes.mid_channels
        self.identity = identity
        self.layers = nn.ModuleList()
        self.conv_reduction: ConvNormReLU | None = None
        width = in_channels
        if sizes.depthwise and in_channels != mid:
            self.conv_reduction = ConvNormReLU(f"{name}_reduction_0", in_channels, mid, 1, 1, norm)
            width = mid
        for index in range(sizes.layers):
            layer = f"{name}_{index}"
            if sizes.depthwise:
                self.layers.append(SeparableConvNormReLU(layer, width, mid, 1, norm))
            else:
                self.layers.append(ConvNormReLU(layer, width, mid, 3, 1, norm))
            width = mid
        joined = in_channels + sizes.layers * mid
        self.concat = ConvNormReLU(f"{name}_concat", joined, sizes.out_channels, 1, 1, norm)
        self.ese = SqueezeExcitation(sizes.out_channels)

    def forward(self, x: Tensor, scales: Scales | None = None) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W)."""
        found = [x]
        last = x if self.conv_reduction is None else self.conv_reduction(x, scales)
        for layer in self.layers:
            last = layer(last, scales)
            found.append(last)
        out: Tensor = self.ese(self.concat(torch.cat(found, dim=1), scales))
        return out + x if self.identity else out

    def norms(self) -> Iterator[nn.Module]:
        """Yield the norms of all layers."""
        for module in self.modules():
            if isinstance(module, ConvNormReLU):
                yield module.norm


class AggregationStage(nn.Sequential):
    """The blocks of one resolution, behind a pooling that halves it; all but the first add what they got.

    Args:
        number: 2 to 5; stage 2 does not pool.
        sizes: of its blocks.
        norm: the normalisation.
        with_cp: recompute each block in the backward pass.
    """

    def __init__(self, number: int, sizes: BlockSizes, norm: NormName, with_cp: bool) -> None:
        super().__init__()
        self.pools, self.with_cp = number > 2, with_cp
        width = sizes.in_channels
        for block in range(sizes.blocks):
            name = f"OSA{number}_{block + 1}"
            self.add_module(name, Aggregation(name, width, sizes, block > 0, norm))
            width = sizes.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, h, w), half of it where the stage pools, rounded down."""
        if self.pools:
            x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        scales = scales_of([norm for block in self for norm in block.norms()])  # type: ignore[operator]
        for block in self:
            x = recomputed(block, block, x) if self.with_cp and recomputes(x) else block(x, scales)
        return x
