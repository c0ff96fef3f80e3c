"""MobileNetV2: "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (Sandler et al., CVPR 2018, table 2).

Keys and numbers are torchvision's. A block widens by 1x1, filters each channel by 3x3 and narrows by 1x1 without an
activation; the shortcut stands between the narrow ends (section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from lab.checking import check_some
from lab.compat.torch import are_watched, has_forward_hooks, is_watched
from lab.layers.convolution import NormName, Scales, convolve, is_constant, make_norm, pairs_in, scales_of
from lab.ops.choice import PYTORCH, SAMPLE, Timings, choices, size_class

SETTING = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Of each run of blocks: expansion, channels, blocks, stride of the first one."""
STAGE_ENDS = (1, 3, 6, 13, 17)
"""The last blocks of each resolution, whose maps a backbone returns: strides 2, 4, 8, 16, 32."""
CACHED = 4 << 20
"""Bytes of a block's wide maps that are computed at once in inference on a CPU, where that is faster than all."""


def _rounded(channels: float) -> int:
    """Return the closest multiple of 8, at least 8, and no more than a tenth below what was asked for."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


def _unit(in_channels: int, out_channels: int, kernel: int, stride: int, groups: int, norm: NormName) -> nn.Sequential:
    """Return a convolution, a norm and a ReLU6."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, make_norm(norm, out_channels), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """A block: 1x1 wider (not where ``expansion`` is 1), depthwise 3x3, 1x1 narrower, with a shortcut where it fits."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int, norm: NormName) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.has_shortcut = stride == 1 and in_channels == out_channels
        wider = [_unit(in_channels, hidden, 1, 1, 1, norm)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *wider,
            _unit(hidden, hidden, 3, stride, hidden, norm),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            make_norm(norm, out_channels),
        )

    def pairs(self) -> list[tuple[nn.Conv2d, nn.Module]]:
        """Return the convolutions, each with its norm."""
        units = [child for child in self.conv if isinstance(child, nn.Sequential)]
        return [pair for layers in (*units, self.conv) for pair in pairs_in(layers)]

    def forward(self, x: Tensor, scales: Scales | None = None, reuse: bool = False) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H / stride, W / stride); ``reuse``: ``x`` may be written over."""
        pairs = self.pairs()
        count = self._at_once(x, pairs)
        if count is None or not self._pays(x, count, pairs, scales):
            return self._block(x, pairs, scales, reuse)
        return self._in_parts(x, count, pairs, scales, reuse)

    def _in_parts(
        self, x: Tensor, count: int, pairs: Sequence[tuple[nn.Conv2d, nn.Module]], scales: Scales | None, reuse: bool
    ) -> Tensor:
        return torch.cat([self._block(part, pairs, scales, reuse) for part in x.split(count)])

    def _pays(self, x: Tensor, count: int, pairs: Sequence[tuple[nn.Conv2d, nn.Module]], scales: Scales | None) -> bool:
        """Whether parts of ``count`` images are computed faster than all at once: some caches gain, others lose."""
        layers = [layer for layer, _ in pairs]
        of_image = sum(layer.weight.numel() for layer in layers) * x.shape[2] * x.shape[3]
        shape = (*(layer.out_channels for layer in layers), *layers[-2].stride, *x.shape[1:], size_class(len(x)))

        def ways() -> Timings:
            part = x[: max(2 * count, SAMPLE // of_image)]
            given = (pairs, scales, False)
            return {PYTORCH: partial(self._block, part, *given), "parts": partial(self._in_parts, part, count, *given)}

        return choices().fastest("mobilenet block", shape, ways) == "parts"

    def _at_once(self, x: Tensor, pairs: Sequence[tuple[nn.Conv2d, nn.Module]]) -> int | None:
        """Return of how few images a cache holds the wide map, in inference on a CPU.

        None for all, without asking how many there are, which a graph that is exported may leave open.
        """
        if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return None
        widest = pairs[-1][0].in_channels * x.shape[2] * x.shape[3] * x.element_size()
        count = max(1, CACHED // widest)
        if count >= len(x) or are_watched(list(self.conv.modules())):
            return None
        return count if all(isinstance(norm, nn.Identity) or is_constant(norm) for _, norm in pairs) else None

    def _block(
        self, x: Tensor, pairs: Sequence[tuple[nn.Conv2d, nn.Module]], scales: Scales | None, reuse: bool
    ) -> Tensor:
        *before, last = pairs
        out = x
        for pair in before:
            out = convolve(out, *pair, activation="relu6", scales=scales)
        add = x if self.has_shortcut else None
        return convolve(out, *last, add=add, activation="none", reuse=reuse, scales=scales)


class _MobileNetTrunk(nn.Module):
    """The stem and ``num_blocks`` blocks, without a head."""

    def __init__(self, width_mult: float, norm: NormName, in_chans: int, num_blocks: int) -> None:
        super().__init__()
        self.num_blocks = num_blocks
        channels = [_rounded(32 * width_mult)]
        features: list[nn.Module] = [_unit(in_chans, channels[0], 3, 2, 1, norm)]
        for expansion, width, repeats, first_stride in SETTING:
            for index in range(repeats):
                stride = first_stride if index == 0 else 1
                channels.append(_rounded(width * width_mult))
                features.append(InvertedResidual(channels[-2], channels[-1], stride, expansion, norm))
        self.block_channels = tuple(channels)
        self.features = nn.Sequential(*features[: num_blocks + 1])

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward_blocks(self, images: Tensor) -> list[Tensor]:
        """Map (B, in_chans, H, W) to the maps of the stem and of each block that ends a resolution."""
        if images.device.type in ("cpu", "meta") or torch.is_autocast_enabled(images.device.type):
            # oneDNN and tensor cores compute in this layout; the blocks keep it.
            images = images.contiguous(memory_format=torch.channels_last)
        stem, *blocks = list(self.features)[: self.num_blocks + 1]
        scales = scales_of([norm for block in blocks for _, norm in block.pairs()])  # type: ignore[operator]
        x = convolve(images, *pairs_in(stem)[0], activation="relu6")  # type: ignore[arg-type]
        maps, reuse = [], False
        for index, block in enumerate(blocks, 1):
            x = block(x, scales, reuse)
            # No shortcut begins at a returned map: the next resolution's first block has none.
            reuse = not has_forward_hooks(block)
            if index in STAGE_ENDS:
                maps.append(x)
        return maps


class MobileNetV2(_MobileNetTrunk):
    """A classifier: (B, in_chans, H, W) normalised images to (B, num_classes) logits, or (B, C) without a head.

    Args:
        num_classes: K; 0 for none.
        norm: ``batch_norm``, ``frozen_batch_norm`` or ``group_norm``.
        in_chans: channels of the images.
        width_mult: of the published channels, rounded to multiples of 8.
        dropout: before the head.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        norm: NormName = "batch_norm",
        in_chans: int = 3,
        width_mult: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(width_mult, norm, in_chans, num_blocks=STAGE_ENDS[-1])
        self.num_features = _rounded(1280 * max(1.0, width_mult))
        self.features.append(_unit(self.block_channels[-1], self.num_features, 1, 1, 1, norm))
        head = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()
        self.classifier = nn.Sequential(nn.Dropout(dropout), head)
        self._init_weights()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        last: nn.Module = self.features[-1]
        x = self.forward_blocks(images)[-1]
        pair = pairs_in(last)[0]  # type: ignore[arg-type]
        # A hook may wait on the last feature map.
        x = last(x) if is_watched(last) else convolve(x, *pair, activation="relu6")
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


class MobileNetV2Features(_MobileNetTrunk):
    """A backbone: (B, in_chans, H, W) normalised images to the maps of ``out_indices``; later blocks are not built.

    Args:
        out_indices: which maps: 0 to 4 for the last blocks of strides 2, 4, 8, 16, 32.
        norm: as a classifier's.
        in_chans: channels of the images.
        width_mult: as a classifier's.

    Attributes:
        num_channels: channels of each returned map.
        strides: stride of each returned map with respect to the image.
    """

    def __init__(
        self,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        norm: NormName = "batch_norm",
        in_chans: int = 3,
        width_mult: float = 1.0,
    ) -> None:
        check_some("out_indices", out_indices, range(5), "strides 2 to 32")
        super().__init__(width_mult, norm, in_chans, num_blocks=STAGE_ENDS[max(out_indices)])
        self.out_indices = tuple(out_indices)
        self.num_channels = tuple(self.block_channels[STAGE_ENDS[index]] for index in out_indices)
        self.strides = tuple(2 ** (index + 1) for index in out_indices)
        self._init_weights()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``out_indices``, each (B, C, H / stride, W / stride)."""
        maps = self.forward_blocks(images)
        return [maps[index] for index in self.out_indices]
