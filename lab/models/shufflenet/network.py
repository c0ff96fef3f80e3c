"""ShuffleNetV2: "Practical Guidelines for Efficient CNN Architecture Design" (Ma et al., ECCV 2018, section 3).

Keys and numbers are torchvision's. Half of a block's channels passes by, the other half goes through 1x1, depthwise 3x3
and 1x1 convolutions; then the channels of both halves are shuffled (figure 3c, d). The authors' own code, and
YOLO-FastestV2 after it, shuffles before a block instead of after it (``shuffle="before"``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.checking import check_choice, check_some
from lab.compat.torch import is_watched
from lab.layers.convolution import NormName, Scales, convolve, folded, make_norm, pairs_in, product
from lab.ops.pooling import max_pool3x3
from lab.ops.shuffle import interleave, interleave_last

Shuffle = Literal["after", "before"]
REPEATS = (4, 8, 4)


def _pointwise(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1, bias=False)


def _depthwise(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)


def _rows(x: Tensor) -> Tensor:
    """Return the pixels (B H W, C) of a map (B, C, H, W), a view channels last."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


class ShuffleUnit(nn.Module):
    """A block: what passes by beside three convolutions, or with stride 2 two branches of the whole input.

    Args:
        in_channels: C.
        out_channels: C with stride 1; even.
        stride: 1 or 2.
        norm: of each convolution.
        shuffle: whether the channels are shuffled after the block, or before one of stride 1.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: NormName, shuffle: Shuffle) -> None:
        super().__init__()
        self.stride = stride
        self.shuffle = shuffle
        half = out_channels // 2
        self.branch1 = nn.Sequential()
        if stride == 2:
            self.branch1 = nn.Sequential(
                _depthwise(in_channels, stride),
                make_norm(norm, in_channels),
                _pointwise(in_channels, half),
                make_norm(norm, half),
                nn.ReLU(inplace=True),
            )
        self.branch2 = nn.Sequential(
            _pointwise(in_channels if stride == 2 else half, half),
            make_norm(norm, half),
            nn.ReLU(inplace=True),
            _depthwise(half, stride),
            make_norm(norm, half),
            _pointwise(half, half),
            make_norm(norm, half),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor, scales: Scales | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H / stride, W / stride)."""
        if scales and self.shuffle == "after":
            return self._by_rows(x, scales)
        aside, through = self._split(x, scales)
        first, middle, last = pairs_in(self.branch2)
        through = convolve(through, *first, scales=scales)
        through = convolve(through, *middle, activation="none", scales=scales)
        through = convolve(through, *last, scales=scales)
        return interleave(aside, through) if self.shuffle == "after" else torch.cat((aside, through), dim=1)

    def _by_rows(self, x: Tensor, scales: Scales) -> Tensor:
        """Run on rows of pixels: on a CPU views and calls take a fifth of the time otherwise."""
        batch, _, height, width = x.shape
        first, _, _, middle, _, last, *_ = self.branch2
        aside = through = _rows(x)
        if self.stride == 1:
            aside, through = aside.chunk(2, dim=1)
        else:
            depthwise, _, pointwise, *_ = self.branch1
            aside = product(_rows(F.conv2d(x, *scales[depthwise], 2, 1, 1, x.shape[1])), *scales[pointwise], "relu")
        through = product(through, *scales[first], "relu").view(batch, height, width, -1).permute(0, 3, 1, 2)
        through = F.conv2d(through, *scales[middle], self.stride, 1, 1, through.shape[1])
        height, width = through.shape[2:]
        through = product(_rows(through), *scales[last], "relu")
        return interleave_last(aside, through).view(batch, height, width, -1).permute(0, 3, 1, 2)

    def pairs(self) -> list[tuple[nn.Conv2d, nn.Module]]:
        """Return the convolutions, each with its norm."""
        return [*(pairs_in(self.branch1) if self.stride == 2 else ()), *pairs_in(self.branch2)]

    def _split(self, x: Tensor, scales: Scales | None) -> tuple[Tensor, Tensor]:
        """Return the first branch's result, or what passes by, and the input of the second."""
        if self.stride == 2:
            first, last = pairs_in(self.branch1)
            aside = convolve(x, *first, activation="none", scales=scales)
            return convolve(aside, *last, scales=scales), x
        if self.shuffle == "after":
            return x.chunk(2, dim=1)  # type: ignore[return-value]
        return x[:, 0::2], x[:, 1::2]


class ShuffleStage(nn.Sequential):
    """The blocks of one resolution."""

    def forward(self, x: Tensor, scales: Scales | None = None) -> Tensor:
        """Run the blocks."""
        for block in self:
            x = block(x, scales)
        return x


class _ShuffleNetTrunk(nn.Module):
    """Stem and stages, without a head."""

    def __init__(
        self,
        widths: Sequence[int],
        norm: NormName,
        shuffle: Shuffle,
        in_chans: int,
        num_stages: int,
    ) -> None:
        super().__init__()
        check_choice("shuffle", shuffle, get_args(Shuffle))
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_chans, widths[0], 3, 2, 1, bias=False), make_norm(norm, widths[0]), nn.ReLU(inplace=True)
        )
        self.num_stages = num_stages
        for stage in range(num_stages):
            before, width = widths[stage], widths[stage + 1]
            blocks = [ShuffleUnit(before, width, 2, norm, shuffle)]
            blocks += [ShuffleUnit(width, width, 1, norm, shuffle) for _ in range(REPEATS[stage] - 1)]
            self.add_module(f"stage{stage + 2}", ShuffleStage(*blocks))

    def forward_stages(self, images: Tensor) -> list[Tensor]:
        """Map (B, in_chans, H, W) to the maps of stem, pooling and stages (strides 2, 4, 8, 16, 32)."""
        if images.device.type in ("cpu", "meta") or torch.is_autocast_enabled(images.device.type):
            # oneDNN and tensor cores compute in this layout; the stages keep it.
            images = images.contiguous(memory_format=torch.channels_last)
        stages: list[Any] = [self.get_submodule(f"stage{stage + 2}") for stage in range(self.num_stages)]
        stem = pairs_in(self.conv1)[0]
        scales = folded(images, [stem, *(pair for stage in stages for unit in stage for pair in unit.pairs())])
        maps = [convolve(images, *stem, scales=scales)]
        maps.append(max_pool3x3(maps[0]))
        for stage in stages:
            maps.append(stage(maps[-1], scales))
        return maps


class ShuffleNetV2(_ShuffleNetTrunk):
    """A classifier: (B, in_chans, H, W) normalised images to (B, num_classes) logits, or (B, C) without a head.

    Args:
        widths: channels of the stem, of the three stages and of the last convolution; those of stages even.
        num_classes: K; 0 for none.
        norm: ``batch_norm``, ``frozen_batch_norm`` or ``group_norm``.
        shuffle: ``after`` each block (torchvision), or ``before`` those of stride 1 (the authors' code).
        in_chans: channels of the images.
    """

    def __init__(
        self,
        widths: Sequence[int],
        num_classes: int = 1000,
        norm: NormName = "batch_norm",
        shuffle: Shuffle = "after",
        in_chans: int = 3,
    ) -> None:
        super().__init__(widths, norm, shuffle, in_chans, num_stages=3)
        self.num_features = widths[-1]
        self.conv5 = nn.Sequential(
            _pointwise(widths[-2], widths[-1]), make_norm(norm, widths[-1]), nn.ReLU(inplace=True)
        )
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        last = self.forward_stages(images)[-1]
        # A hook may wait on the last feature map.
        last = self.conv5(last) if is_watched(self.conv5) else convolve(last, *pairs_in(self.conv5)[0])
        logits: Tensor = self.fc(last.mean(dim=(2, 3)))
        return logits


class ShuffleNetV2Features(_ShuffleNetTrunk):
    """A backbone: (B, in_chans, H, W) normalised images to the maps of ``out_indices``; later stages are not built.

    Args:
        widths: as a classifier's; the last one is not used.
        out_indices: which maps: 0 is the stem, 1 the pooled stem, 2 to 4 the stages.
        norm: as a classifier's.
        shuffle: as a classifier's.
        in_chans: channels of the images.

    Attributes:
        num_channels: channels of each returned map.
        strides: stride of each returned map with respect to the image.
    """

    def __init__(
        self,
        widths: Sequence[int],
        out_indices: Sequence[int] = (1, 2, 3, 4),
        norm: NormName = "batch_norm",
        shuffle: Shuffle = "after",
        in_chans: int = 3,
    ) -> None:
        check_some("out_indices", out_indices, range(5), "stem, pooled stem, stages")
        super().__init__(widths, norm, shuffle, in_chans, num_stages=max(0, max(out_indices) - 1))
        channels = (widths[0], *widths[:4])
        self.out_indices = tuple(out_indices)
        self.num_channels = tuple(channels[index] for index in out_indices)
        self.strides = tuple(2 ** (index + 1) for index in out_indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``out_indices``, each (B, C, H / stride, W / stride)."""
        maps = self.forward_stages(images)
        return [maps[index] for index in self.out_indices]
