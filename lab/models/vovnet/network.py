"""VoVNet V2 19 to 99: "An Energy and GPU-Computation Efficient Backbone Network" (Lee et al., CVPR Workshops 2019).

With the identity and the squeeze and excitation of "CenterMask" (Lee and Park, CVPR 2020, section 3.2), in the form
that DD3D and DETR3D use: every block has a squeeze and excitation (timm's networks have one in the last block of each
stage). Names of parameters are these authors'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import torch
from torch import Tensor, nn

from lab.checking import check_choice, check_range, check_some
from lab.layers.convolution import BATCH_NORMS, NormName
from lab.models.vovnet.blocks import AggregationStage, BlockSizes, ConvNormReLU, SeparableConvNormReLU, run_layers
from lab.ranges import Flat, Ge, Le, Size

NUM_STAGES = 4
STRIDES = (4, 4, 8, 16, 32)
"""Of the stem and the stages."""


@dataclass(frozen=True)
class VoVNetSizes:
    """The numbers of one variant.

    Attributes:
        stem: channels of the three convolutions before the stages.
        mid: channels of the layers of each stage's blocks.
        out: channels of each stage.
        layers: of a block.
        blocks: of each stage.
        depthwise: whether all but the first convolution of the stem, and the layers, are depthwise separable.
    """

    stem: tuple[int, int, int]
    mid: tuple[int, int, int, int]
    out: tuple[int, int, int, int]
    layers: int
    blocks: tuple[int, int, int, int]
    depthwise: bool = False


_SLIM = ((64, 80, 96, 112), (112, 256, 384, 512))
_FULL = ((128, 160, 192, 224), (256, 512, 768, 1024))
SIZES = {
    "19_slim_dw": VoVNetSizes((64, 64, 64), *_SLIM, 3, (1, 1, 1, 1), depthwise=True),
    "19_dw": VoVNetSizes((64, 64, 64), *_FULL, 3, (1, 1, 1, 1), depthwise=True),
    "19_slim": VoVNetSizes((64, 64, 128), *_SLIM, 3, (1, 1, 1, 1)),
    "19": VoVNetSizes((64, 64, 128), *_FULL, 3, (1, 1, 1, 1)),
    "39": VoVNetSizes((64, 64, 128), *_FULL, 5, (1, 1, 2, 2)),
    "57": VoVNetSizes((64, 64, 128), *_FULL, 5, (1, 1, 4, 3)),
    "99": VoVNetSizes((64, 64, 128), *_FULL, 5, (1, 3, 9, 3)),
}


@dataclass(frozen=True)
class VoVNetOptions(Flat):
    """What all of these backbones take.

    Attributes:
        out_indices: which maps are returned: 0 is the stem, 1 to 4 are ``stage2`` to ``stage5``; later stages are not
            built.
        in_chans: channels of the images.
        norm: ``batch_norm``, ``frozen_batch_norm`` or ``group_norm``.
        frozen_stages: -1 for none, 0 for the stem, k for the stem and the first k stages: they are not trained, and
            stay in evaluation.
        norm_eval: batch norms stay in evaluation, so that their statistics never change (DETR3D: true).
        with_cp: activation checkpointing: recompute each block in the backward pass.
    """

    out_indices: Sequence[int] = (1, 2, 3, 4)
    in_chans: Size = 3
    norm: NormName = "batch_norm"
    frozen_stages: Annotated[int, Ge(-1), Le(4)] = -1
    norm_eval: bool = False
    with_cp: bool = False


PLAIN = VoVNetOptions()


class VoVNet(nn.Module):
    """A backbone: (B, in_chans, H, W) normalised images to the maps of ``out_indices``.

    Args:
        variant: a key of ``SIZES``.
        options: see there.

    Attributes:
        num_channels: channels of each returned map.
        strides: stride of each returned map with respect to the image.

    Raises:
        ConfigError: a word or number is wrong.
    """

    def __init__(self, variant: str = "99", options: VoVNetOptions = PLAIN) -> None:
        super().__init__()
        check_choice("variant", variant, SIZES)
        check_some("out_indices", options.out_indices, range(NUM_STAGES + 1), "stem, stages")
        check_range("in_chans", options.in_chans, least=1)
        self.num_stages = max(options.out_indices)
        check_range("frozen_stages", options.frozen_stages, least=-1, most=self.num_stages)
        self.frozen_stages, self.norm_eval = options.frozen_stages, options.norm_eval
        sizes = SIZES[variant]
        self.stem = _Stem(options.in_chans, sizes, options.norm)
        channels = (sizes.stem[-1], *sizes.out)
        for stage in range(self.num_stages):
            numbers = (channels[stage], sizes.mid[stage], sizes.out[stage], sizes.layers, sizes.blocks[stage])
            of_stage = BlockSizes(*numbers, sizes.depthwise)
            layer = AggregationStage(stage + 2, of_stage, options.norm, options.with_cp)
            self.add_module(f"stage{stage + 2}", layer)
        self.out_indices = tuple(options.out_indices)
        self.num_channels = tuple(channels[index] for index in self.out_indices)
        self.strides = tuple(STRIDES[index] for index in self.out_indices)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        for part in self._frozen_parts():
            part.requires_grad_(False)
        self.train()

    def _frozen_parts(self) -> list[nn.Module]:
        stages = [self.get_submodule(f"stage{stage + 1}") for stage in range(1, self.frozen_stages + 1)]
        return [self.stem, *stages] if self.frozen_stages >= 0 else []

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen stages, and with ``norm_eval`` all batch norms, stay in evaluation. Returns itself."""
        super().train(mode)
        norms = [module for module in self.modules() if isinstance(module, BATCH_NORMS)]
        for part in [*self._frozen_parts(), *(norms if self.norm_eval else ())]:
            part.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``out_indices``, each (B, C, h, w)."""
        if images.device.type in ("cpu", "meta") or torch.is_autocast_enabled(images.device.type):
            # oneDNN and tensor cores compute in this layout; the stages keep it.
            images = images.contiguous(memory_format=torch.channels_last)
        maps = [self.stem(images)]
        for stage in range(self.num_stages):
            maps.append(self.get_submodule(f"stage{stage + 2}")(maps[-1]))
        return [maps[index] for index in self.out_indices]


class _Stem(nn.Sequential):
    """Three 3x3 convolutions, the first and the last with stride 2; their layers stand side by side in the files."""

    def __init__(self, in_chans: int, sizes: VoVNetSizes, norm: NormName) -> None:
        super().__init__()
        first, second, third = sizes.stem
        parts: list[ConvNormReLU] = [ConvNormReLU("stem_1", in_chans, first, 3, 2, norm)]
        for name, widths, stride in (("stem_2", (first, second), 1), ("stem_3", (second, third), 2)):
            if sizes.depthwise:
                parts.append(SeparableConvNormReLU(name, *widths, stride, norm))
            else:
                parts.append(ConvNormReLU(name, *widths, 3, stride, norm))
        for part in parts:
            for name, layer in part.named_children():
                self.add_module(name, layer)
        self._lengths = [len(part) for part in parts]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_chans, H, W) to (B, C, H / 4, W / 4)."""
        layers = list(self)
        for length in self._lengths:
            part, layers = layers[:length], layers[length:]
            x = run_layers(part, x)
        return x
