"""The parts of a ResNet: both residual blocks, the shortcut's projection and the stage (He et al., CVPR 2016)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from lab.compat.torch import has_forward_hooks
from lab.errors import ConfigError
from lab.layers.activation import Activation, activate
from lab.layers.convolution import NormName, Scales, convolve, make_norm, scales_of
from lab.layers.recompute import recomputed, recomputes
from lab.models.resnet.deformable import ModulatedDeformConv2d, deform_convolve
from lab.models.resnet.plugins import Plugin

StridePlace = Literal["pytorch", "caffe"]


@dataclass(frozen=True)
class BlockOptions:
    """What the blocks of a network share.

    Attributes:
        norm: the normalisation.
        style: which convolution of a bottleneck has the stride: the 3x3 (``pytorch``) or the first 1x1 (``caffe``).
        groups: of the 3x3 of a bottleneck.
        width_per_group: channels of a group in layer1; 64 of one group is the ResNet of the paper.
        avg_down: a shortcut averages before its 1x1, which then has no stride.
        with_cp: recompute the block in the backward pass instead of keeping what lies in it.
        deform_groups: the 3x3 of a bottleneck is deformable, with so many groups of offsets; 0 for an ordinary one.
    """

    norm: NormName = "batch_norm"
    style: StridePlace = "pytorch"
    groups: int = 1
    width_per_group: int = 64
    avg_down: bool = False
    with_cp: bool = False
    deform_groups: int = 0


def conv(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Return a convolution without a bias that keeps the size, apart from its stride."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False)


class Downsample(nn.Sequential):
    """What a shortcut does where a block changes the shape: a 1x1 and its norm; with ``avg_down`` a mean before them.

    The mean is that of MMDetection and timm: a window at the border counts only what lies in the map ("Bag of Tricks
    for Image Classification", He et al., CVPR 2019, figure 2c).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, options: BlockOptions) -> None:
        layers: list[nn.Module] = []
        if options.avg_down:
            pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
            layers, stride = [pool if stride > 1 else nn.Identity()], 1
        super().__init__(*layers, conv(in_channels, out_channels, 1, stride), make_norm(options.norm, out_channels))

    def forward(self, x: Tensor, scales: Scales | None = None) -> Tensor:
        """Map (B, C, H, W) to what is added to a block's result; ``scales`` as ``convolve`` takes it."""
        *before, projection, norm = self
        for layer in before:
            x = layer(x)
        return convolve(x, projection, norm, activation="none", scales=scales)  # type: ignore[arg-type]


class ResidualBlock(nn.Module, ABC):
    """What both blocks do: a residual, the shortcut, the last ReLU; ``with_cp`` recomputes all but that ReLU."""

    downsample: Downsample | None
    with_cp: bool

    @property
    @abstractmethod
    def norms(self) -> list[nn.Module]:
        """The norms of the residual, in turn."""

    def forward(self, x: Tensor, reuse: bool = False, scales: Scales | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H / stride, W / stride).

        Args:
            x: what comes in.
            reuse: whether ``x`` may be overwritten.
            scales: what the norms do, as far as it is known.
        """
        if self.with_cp and recomputes(x):
            return activate(recomputed(self, self._sum, x), "relu")
        return self._sum(x, "relu", reuse, scales)

    def _sum(
        self, x: Tensor, activation: Activation = "none", reuse: bool = False, scales: Scales | None = None
    ) -> Tensor:
        shortcut = self._shortcut(x, scales)
        return self._residual(x, shortcut, activation, reuse or shortcut is not x, scales)

    def _shortcut(self, x: Tensor, scales: Scales | None) -> Tensor:
        return x if self.downsample is None else self.downsample(x, scales)

    @abstractmethod
    def _residual(
        self, x: Tensor, shortcut: Tensor, activation: Activation, reuse: bool, scales: Scales | None
    ) -> Tensor: ...


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions around an identity (section 3.3, figure 5 left)."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        dilation: int,
        options: BlockOptions,
        downsample: Downsample | None,
        plugins: Sequence[Plugin] = (),
    ) -> None:
        super().__init__()
        asked = {
            "replace_stride_with_dilation": dilation > 1,
            "style=caffe": options.style != "pytorch",
            "groups": options.groups != 1,
            "width_per_group": options.width_per_group != 64,
            "plugins": bool(plugins),
            "stage_with_dcn": bool(options.deform_groups),
        }
        if name := next((name for name, is_asked in asked.items() if is_asked), ""):
            raise ConfigError(f"{name} needs bottleneck blocks: ResNet 50, 101 or 152")
        self.conv1 = conv(in_channels, channels, 3, stride)
        self.bn1 = make_norm(options.norm, channels)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = make_norm(options.norm, channels)
        self.downsample, self.with_cp = downsample, options.with_cp

    @property
    def norms(self) -> list[nn.Module]:
        """The norms of the residual, in turn."""
        return [self.bn1, self.bn2]

    def _residual(
        self, x: Tensor, shortcut: Tensor, activation: Activation, reuse: bool, scales: Scales | None
    ) -> Tensor:
        out = convolve(x, self.conv1, self.bn1, scales=scales)
        return convolve(out, self.conv2, self.bn2, shortcut, activation, reuse, scales)


class Bottleneck(ResidualBlock):
    """1x1 down, 3x3, 1x1 up, around an identity (section 4.1, figure 5 right); plugins may follow each."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        dilation: int,
        options: BlockOptions,
        downsample: Downsample | None,
        plugins: Sequence[Plugin] = (),
    ) -> None:
        super().__init__()
        width = channels * options.width_per_group // 64 * options.groups
        strides = (1, stride) if options.style == "pytorch" else (stride, 1)
        self.conv1 = conv(in_channels, width, 1, strides[0])
        self.bn1 = make_norm(options.norm, width)
        self.conv2 = _conv2(width, strides[1], dilation, options)
        self.bn2 = make_norm(options.norm, width)
        self.conv3 = conv(width, channels * self.expansion, 1)
        self.bn3 = make_norm(options.norm, channels * self.expansion)
        self.downsample, self.with_cp = downsample, options.with_cp
        widths = {"after_conv1": width, "after_conv2": width, "after_conv3": channels * self.expansion}
        self._plugins: dict[str, list[str]] = {position: [] for position in widths}
        for plugin in plugins:
            if hasattr(self, plugin.name):
                own = "give it a name of its own by cfg.postfix"
                raise ConfigError(f"{plugin.where}: the block has a {plugin.name!r} already; {own}")
            self._plugins[plugin.position].append(plugin.name)
            self.add_module(plugin.name, plugin.build(widths[plugin.position]))

    @property
    def norms(self) -> list[nn.Module]:
        """The norms of the residual, in turn."""
        return [self.bn1, self.bn2, self.bn3]

    def plugged_in(self) -> list[nn.Module]:
        """Return the plugins."""
        return [self.get_submodule(name) for names in self._plugins.values() for name in names]

    def _residual(
        self, x: Tensor, shortcut: Tensor, activation: Activation, reuse: bool, scales: Scales | None
    ) -> Tensor:
        out = self._plugged(convolve(x, self.conv1, self.bn1, scales=scales), "after_conv1")
        out = self._plugged(self._middle(out, scales), "after_conv2")
        if not self._plugins["after_conv3"]:
            return convolve(out, self.conv3, self.bn3, shortcut, activation, reuse, scales)
        out = self._plugged(convolve(out, self.conv3, self.bn3, activation="none", scales=scales), "after_conv3")
        return activate(out + shortcut, activation)

    def _middle(self, x: Tensor, scales: Scales | None) -> Tensor:
        if isinstance(self.conv2, ModulatedDeformConv2d):
            return deform_convolve(x, self.conv2, self.bn2, scales)
        return convolve(x, self.conv2, self.bn2, scales=scales)

    def _plugged(self, x: Tensor, position: str) -> Tensor:
        for name in self._plugins[position]:
            x = self.get_submodule(name)(x)
        return x


def _conv2(width: int, stride: int, dilation: int, options: BlockOptions) -> nn.Conv2d | ModulatedDeformConv2d:
    if options.deform_groups:
        return ModulatedDeformConv2d(width, width, stride, dilation, options.groups, options.deform_groups)
    return conv(width, width, 3, stride, dilation, options.groups)


class Stage(nn.Sequential):
    """The blocks of one resolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks; all but the first may overwrite their input, unless a hook has seen it."""
        reuse = False
        scales = scales_of([norm for block in self for norm in _norms_of(block)])
        for block in self:
            x = block(x, reuse, scales)
            reuse = not has_forward_hooks(block)
        return x


def _norms_of(block: nn.Module) -> list[nn.Module]:
    """Return the norms of a block's residual and of its shortcut."""
    assert isinstance(block, ResidualBlock)
    return block.norms if block.downsample is None else [*block.norms, block.downsample[-1]]
