"""ShuffleNetV2: "Practical Guidelines for Efficient CNN Architecture Design" (Ma et al., ECCV 2018, section 3).

Keys and numbers are torchvision's. Half of a block's channels passes by, the other half goes through 1x1, depthwise 3x3
and 1x1 convolutions; then the channels of both halves are shuffled (figure 3c, d). The authors' own code, and
YOLO-FastestV2 after it, shuffles before a block instead of after it (``shuffle="before"``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from lab.checking import check_choice, check_some
from lab.compat.torch import is_watched
from lab.layers.convolution import NormName, Scales, convolve, make_norm, pairs_in
from lab.layers.remembered import Remembered
from lab.models.shufflenet.blocks import ShuffleStage, ShuffleUnit, pointwise
from lab.models.shufflenet.gathering import Shuffle, sort_inputs
from lab.ops.pooling import max_pool3x3

REPEATS = (4, 8, 4)
_PART = 1 << 20
"""Numbers of the stem's map that are computed at once in inference on a CPU."""


class _ShuffleNetTrunk(nn.Module):
    """Stem and stages, without a head.

    Attributes:
        keeps_stem: whether the stem's own map is returned.
    """

    keeps_stem = False

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
        self.scales = Remembered(self, self._pairs)
        for stage in range(num_stages):
            before, width = widths[stage], widths[stage + 1]
            blocks = [ShuffleUnit(before, width, 2, norm, shuffle)]
            blocks += [ShuffleUnit(width, width, 1, norm, shuffle) for _ in range(REPEATS[stage] - 1)]
            self.add_module(f"stage{stage + 2}", ShuffleStage(*blocks))

    def forward_stages(self, images: Tensor) -> list[Any]:
        """Map (B, in_chans, H, W) to the maps of stem, pooling and stages (strides 2, 4, 8, 16, 32).

        The stem's may be None.
        """
        if images.device.type in ("cpu", "meta") or torch.is_autocast_enabled(images.device.type):
            # oneDNN and tensor cores compute in this layout; the stages keep it.
            images = images.contiguous(memory_format=torch.channels_last)
        stages = self._stages()
        scales = self.scales(images)
        maps: list[Any] = list(self._stem(images, scales))
        for stage in stages:
            maps.append(stage(maps[-1], scales))
        return maps

    def _stem(self, images: Tensor, scales: Scales) -> tuple[Tensor | None, Tensor]:
        """Return the map of the stem, None where it need not be kept, and that of the pooling.

        The stem makes the largest map, and many images' would leave the processor's cache before they are pooled.
        """
        stem = pairs_in(self.conv1)[0]
        channels, (height, width) = stem[0].out_channels, images.shape[2:]
        if self.keeps_stem or not scales or images.shape[0] * channels * height * width <= 4 * _PART:
            found = convolve(images, *stem, scales=scales)
            return found, max_pool3x3(found)
        at_once = max(1, 4 * _PART // (channels * height * width))
        pooled = images.new_empty(len(images), -(-height // 4), -(-width // 4), channels).permute(0, 3, 1, 2)
        for part, out in zip(images.split(at_once), pooled.split(at_once), strict=True):
            max_pool3x3(convolve(part, *stem, scales=scales), out)
        return None, pooled

    def fold_shuffles(self) -> list[Sequence[int] | None]:
        """Make the channel shuffles a part of the weights, for ``lab.deploy``, if all norms of the stages are folded.

        Returns:
            For each of ``forward_stages``'s maps, which channel lies at each place from now on; None: as they were.
        """
        stages = self._stages()
        orders: list[Sequence[int] | None] = [None] * (2 + len(stages))
        if all(isinstance(norm, nn.Identity) for stage in stages for unit in stage for _, norm in unit.pairs()):
            for index, stage in enumerate(stages, 2):
                orders[index] = stage.fold_shuffles(orders[index - 1])
        return orders

    def _pairs(self) -> list[tuple[nn.Conv2d, nn.Module]]:
        return [*pairs_in(self.conv1), *(pair for stage in self._stages() for unit in stage for pair in unit.pairs())]

    def _stages(self) -> list[Any]:
        return [self.get_submodule(f"stage{stage + 2}") for stage in range(self.num_stages)]


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
            pointwise(widths[-2], widths[-1]), make_norm(norm, widths[-1]), nn.ReLU(inplace=True)
        )
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()

    def keep_constants(self) -> None:
        """Fold the shuffles, for ``lab.deploy``."""
        order = self.fold_shuffles()[-1]
        if order is not None:
            sort_inputs(self.conv5[0], order)  # type: ignore[arg-type]

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
        self.keeps_stem = 0 in self.out_indices
        self.num_channels = tuple(channels[index] for index in out_indices)
        self.strides = tuple(2 ** (index + 1) for index in out_indices)
        self.restored: list[str | None] = [None] * len(out_indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``out_indices``, each (B, C, H / stride, W / stride)."""
        maps = self.forward_stages(images)
        chosen = [maps[index] for index in self.out_indices]
        return [
            found if name is None else found.index_select(1, self.get_buffer(name))
            for name, found in zip(self.restored, chosen, strict=True)
        ]

    def keep_constants(self) -> None:
        """Fold the shuffles, for ``lab.deploy``; the channels of the maps come back to their places."""
        orders = self.fold_shuffles()
        for place, index in enumerate(self.out_indices):
            order = orders[index]
            if order is not None:
                self.restored[place] = f"places{place}"
                self.register_buffer(f"places{place}", torch.tensor(order).argsort(), persistent=False)
