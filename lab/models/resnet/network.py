"""ResNet 18 to 152: "Deep Residual Learning for Image Recognition" (He et al., CVPR 2016), with the stride on the 3x3.

Keys and arithmetic are torchvision's (its v1.5 bottleneck, whose 3x3 convolution has the stride; ``style=caffe`` is the
paper's). As a backbone (``features_only``) it returns a list of maps. Normalisation: ``batch_norm``,
``frozen_batch_norm`` (statistics and affine are constants, as detectors use it) or ``group_norm`` (no dependence on the
batch). ``lab.layers.convolution`` computes a convolution with its norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self, get_args

import torch
from torch import Tensor, nn

from lab.checking import check_choice, check_range, check_some
from lab.errors import ConfigError
from lab.layers.convolution import NormName, convolve, make_norm
from lab.models.resnet.blocks import (
    BasicBlock,
    BlockOptions,
    Bottleneck,
    Downsample,
    ResidualBlock,
    Stage,
    StridePlace,
    conv,
)
from lab.models.resnet.deformable import ModulatedDeformConv2d
from lab.models.resnet.plugins import Plugin, read_plugins
from lab.ops.pooling import max_pool3x3
from lab.ranges import Count, Flat, Ge, Le, Size

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
NUM_STAGES = 4


@dataclass(frozen=True)
class TrunkOptions(Flat):
    """What classifiers and backbones of any depth take.

    Attributes:
        in_chans: channels of the images.
        norm: ``batch_norm``, ``frozen_batch_norm`` or ``group_norm``.
        replace_stride_with_dilation: for layer2, layer3 and layer4 whether they keep the resolution; as in torchvision
            the first block of a stage has the dilation of the stage before.
        zero_init_residual: begin with blocks that are the identity.
        style: which convolution of a bottleneck has the stride: the 3x3 (``pytorch``) or the first 1x1 (``caffe``).
        deep_stem: three 3x3 in place of the first 7x7 (ResNet-C of "Bag of Tricks", He et al., CVPR 2019).
        avg_down: a shortcut averages before its 1x1 (ResNet-D of the same paper).
        frozen_stages: -1 for none, 0 for the stem, k for the stem and layer1 to layer k: they are not trained, and stay
            in evaluation.
        norm_eval: batch norms stay in evaluation, so that their statistics never change.
        with_cp: activation checkpointing: recompute each block in the backward pass.
        plugins: modules behind the convolutions of bottlenecks (``lab.models.resnet.plugins``).
        stage_with_dcn: for layer1 to layer4 whether the 3x3 of their bottlenecks is a modulated deformable convolution.
        deform_groups: groups of channels that have offsets of their own there.
    """

    in_chans: Size = 3
    norm: NormName = "batch_norm"
    replace_stride_with_dilation: Sequence[bool] = (False, False, False)
    zero_init_residual: bool = False
    style: StridePlace = "pytorch"
    deep_stem: bool = False
    avg_down: bool = False
    frozen_stages: Annotated[int, Ge(-1), Le(4)] = -1
    norm_eval: bool = False
    with_cp: bool = False
    plugins: Sequence[Mapping[str, Any]] = ()
    stage_with_dcn: Sequence[bool] = (False, False, False, False)
    deform_groups: Size = 1


PLAIN = TrunkOptions()


class _ResNetTrunk(nn.Module):
    """Stem and stages, without a head."""

    def __init__(self, depth: int, options: TrunkOptions, groups: int, width_per_group: int, num_stages: int) -> None:
        super().__init__()
        _check(depth, options, groups, width_per_group, num_stages)
        self.num_stages, self.frozen_stages, self.norm_eval = num_stages, options.frozen_stages, options.norm_eval
        self.conv1 = _stem_convolutions(options)
        self.bn1 = make_norm(options.norm, 64)
        plugins = read_plugins(options.plugins, NUM_STAGES)
        shared = BlockOptions(options.norm, options.style, groups, width_per_group, options.avg_down, options.with_cp)
        block = BasicBlock if depth < 50 else Bottleneck
        in_channels, dilation = 64, 1
        for stage, blocks in enumerate(DEPTHS[depth][:num_stages]):
            stride, first_dilation = (1 if stage == 0 else 2), dilation
            if stage > 0 and options.replace_stride_with_dilation[stage - 1]:
                stride, dilation = 1, dilation * 2
            sizes = (in_channels, 64 * 2**stage, stride, blocks)
            options_here = replace(shared, deform_groups=options.deform_groups * bool(options.stage_with_dcn[stage]))
            layer = _make_stage(block, sizes, (first_dilation, dilation), options_here, plugins[stage])
            self.add_module(f"layer{stage + 1}", layer)
            in_channels = 64 * 2**stage * block.expansion
        self.stage_channels = (64, *(64 * 2**stage * block.expansion for stage in range(num_stages)))
        self._init_weights(options.zero_init_residual)
        for part in self._frozen_parts():
            part.requires_grad_(False)
        self.train()

    def _init_weights(self, zero_init_residual: bool) -> None:
        plugged = [item for block in self.modules() if isinstance(block, Bottleneck) for item in block.plugged_in()]
        plugged += [item for item in self.modules() if isinstance(item, ModulatedDeformConv2d)]
        own = {module for item in plugged for module in item.modules()}
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module not in own:  # these have their own first weights
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if zero_init_residual and isinstance(module, ResidualBlock):
                nn.init.zeros_(module.norms[-1].weight)  # type: ignore[arg-type]

    def _frozen_parts(self) -> list[nn.Module]:
        stem = [self.conv1, self.bn1] if self.frozen_stages >= 0 else []
        return stem + [self.get_submodule(f"layer{stage}") for stage in range(1, self.frozen_stages + 1)]

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen stages, and with ``norm_eval`` all batch norms, stay in evaluation. Returns itself."""
        super().train(mode)
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm)]
        for part in [*self._frozen_parts(), *(norms if self.norm_eval else ())]:
            part.eval()
        return self

    def forward_stages(self, images: Tensor) -> list[Tensor]:
        """Map (B, in_chans, H, W) to the maps of the stem (stride 2) and of each stage (strides 4, 8, 16, 32)."""
        if images.device.type in ("cpu", "meta") or torch.is_autocast_enabled(images.device.type):
            # oneDNN and tensor cores compute in this layout; the stages keep it.
            images = images.contiguous(memory_format=torch.channels_last)
        maps = [self._stem(images)]
        x = max_pool3x3(maps[0])
        for stage in range(self.num_stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            maps.append(x)
        return maps

    def _stem(self, images: Tensor) -> Tensor:
        layers: list[Any] = list(self.conv1) if isinstance(self.conv1, nn.Sequential) else [self.conv1]
        *before, last = layers
        for convolution, norm in zip(before[::3], before[1::3], strict=True):
            images = convolve(images, convolution, norm)
        return convolve(images, last, self.bn1)


def _check(depth: int, options: TrunkOptions, groups: int, width_per_group: int, num_stages: int) -> None:
    """Refuse what cannot be built."""
    check_choice("depth", depth, DEPTHS)
    check_choice("style", options.style, get_args(StridePlace))
    check_range("in_chans", options.in_chans, least=1)
    check_range("groups", groups, least=1)
    check_range("width_per_group", width_per_group, least=1)
    check_range("frozen_stages", options.frozen_stages, least=-1, most=num_stages)
    if len(options.replace_stride_with_dilation) != NUM_STAGES - 1:
        raise ConfigError("replace_stride_with_dilation has three entries, for layer2, layer3 and layer4")
    if len(options.stage_with_dcn) != NUM_STAGES:
        raise ConfigError("stage_with_dcn has four entries, for layer1 to layer4")
    check_range("deform_groups", options.deform_groups, least=1)


def _stem_convolutions(options: TrunkOptions) -> nn.Module:
    """Return the 7x7 or, as timm names them, the three 3x3 with two norms between; the norm of the last is ``bn1``."""
    if not options.deep_stem:
        return conv(options.in_chans, 64, 7, stride=2)
    first, second, third = conv(options.in_chans, 32, 3, stride=2), conv(32, 32, 3), conv(32, 64, 3)
    norms = [make_norm(options.norm, 32) for _ in range(2)]
    return nn.Sequential(first, norms[0], nn.ReLU(inplace=True), second, norms[1], nn.ReLU(inplace=True), third)


def _make_stage(
    block: type[BasicBlock] | type[Bottleneck],
    sizes: tuple[int, int, int, int],
    dilations: tuple[int, int],
    options: BlockOptions,
    plugins: Sequence[Plugin],
) -> Stage:
    """Return one stage; as in torchvision its first block keeps the dilation of the stage before.

    Args:
        block: its kind.
        sizes: channels that come in, channels within a block, stride of the first block, number of blocks.
        dilations: of the first block and of the others.
        options: shared by all blocks.
        plugins: of each block.
    """
    in_channels, channels, stride, blocks = sizes
    out_channels = channels * block.expansion
    changes = stride != 1 or in_channels != out_channels
    downsample = Downsample(in_channels, out_channels, stride, options) if changes else None
    layers = [block(in_channels, channels, stride, dilations[0], options, downsample, plugins)]
    layers += [block(out_channels, channels, 1, dilations[1], options, None, plugins) for _ in range(blocks - 1)]
    return Stage(*layers)


class ResNet(_ResNetTrunk):
    """A classifier: (B, in_chans, H, W) normalised images to (B, num_classes) logits, or features without a head.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: K; 0 for no head.
        options: of the trunk.
        groups: of the 3x3 of a bottleneck (ResNeXt, Xie et al., CVPR 2017).
        width_per_group: channels of a group in layer1 (128 of one group is the wide ResNet-50-2).

    Raises:
        ConfigError: a number or word is wrong, or the depth has no bottlenecks, which an option needs.
    """

    def __init__(
        self,
        depth: int,
        num_classes: Count = 1000,
        options: TrunkOptions = PLAIN,
        groups: Size = 1,
        width_per_group: Size = 64,
    ) -> None:
        super().__init__(depth, options, groups, width_per_group, num_stages=NUM_STAGES)
        self.num_features = self.stage_channels[-1]
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        pooled = self.forward_stages(images)[-1].mean(dim=(2, 3))
        logits: Tensor = self.fc(pooled)
        return logits


class ResNetFeatures(_ResNetTrunk):
    """A backbone: (B, in_chans, H, W) normalised images to the maps of ``out_indices``; later stages are not built.

    Args:
        depth: 18, 34, 50, 101 or 152.
        out_indices: which maps: 0 is the stem (stride 2), 1 to 4 are layer1 to layer4.
        options: of the trunk.
        groups: see ``ResNet``.
        width_per_group: see ``ResNet``.

    Attributes:
        num_channels: channels of each returned map.
        strides: stride of each returned map with respect to the image.

    Raises:
        ConfigError: as ``ResNet``, or an unknown index.
    """

    def __init__(
        self,
        depth: int,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        options: TrunkOptions = PLAIN,
        groups: Size = 1,
        width_per_group: Size = 64,
    ) -> None:
        check_some("out_indices", out_indices, range(NUM_STAGES + 1), "stem, stages")
        super().__init__(depth, options, groups, width_per_group, num_stages=max(out_indices))
        self.out_indices = tuple(out_indices)
        self.num_channels = tuple(self.stage_channels[index] for index in out_indices)
        strides = [2, 4]
        for dilated in options.replace_stride_with_dilation:
            strides.append(strides[-1] * (1 if dilated else 2))
        self.strides = tuple(strides[index] for index in out_indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``out_indices``, each (B, C, H / stride, W / stride)."""
        maps = self.forward_stages(images)
        return [maps[index] for index in self.out_indices]
