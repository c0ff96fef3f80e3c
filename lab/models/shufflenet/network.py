"""ShuffleNetV2: "Practical Guidelines for Efficient CNN Architecture Design" (Ma et al., ECCV 2018, section 3).

Keys and numbers are torchvision's. Half of a block's channels passes by, the other half goes through 1x1, depthwise 3x3
and 1x1 convolutions; then the channels of both halves are shuffled (figure 3c, d). The authors' own code, and
YOLO-FastestV2 after it, shuffles before a block instead of after it (``shuffle="before"``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.checking import check_choice, check_some
from lab.compat.torch import is_watched
from lab.layers.convolution import NormName, Scales, convolve, make_norm, pairs_in, product
from lab.layers.packed import PackedConv2d
from lab.layers.remembered import Remembered
from lab.models.shufflenet.gathering import Plan, Shuffle, plan, sort_inputs, sort_outputs
from lab.ops.pooling import max_pool3x3
from lab.ops.shuffle import interleave

REPEATS = (4, 8, 4)
_PART = 1 << 20
"""Numbers of the stem's map that are computed at once in inference on a CPU."""


def _pointwise(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1, bias=False)


def _depthwise(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)


def _rows(x: Tensor) -> Tensor:
    """Return the pixels (B H W, C) of a map (B, C, H, W), a view channels last."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _images(rows: Tensor, batch: int, height: int) -> Tensor:
    """Return rows of pixels (B H W, C) as a map (B, C, H, W), a view."""
    return rows.view(batch, height, -1, rows.shape[1]).permute(0, 3, 1, 2)


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
        if self.stride == 2:
            aside, through = self.branches(x, scales)
        else:
            aside, through = self.split(x)
            through = self.main(through, scales)
        return interleave(aside, through) if self.shuffle == "after" else torch.cat((aside, through), dim=1)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what passes by a block of stride 1 and what goes through its convolutions."""
        if self.shuffle == "after":
            return x.chunk(2, dim=1)  # type: ignore[return-value]
        return x[:, 0::2], x[:, 1::2]

    def branches(self, x: Tensor, scales: Scales | None = None) -> tuple[Tensor, Tensor]:
        """Return the results of both branches of a block of stride 2, (B, out_channels / 2, H / 2, W / 2) each."""
        first, last = pairs_in(self.branch1)
        aside = convolve(x, *first, activation="none", scales=scales)
        return convolve(aside, *last, scales=scales), self.main(x, scales)

    def main(self, x: Tensor, scales: Scales | None = None) -> Tensor:
        """Run the three convolutions: (B, C, H, W) to (B, out_channels / 2, H / stride, W / stride)."""
        if scales:
            rows, shape = self.main_by_rows(_rows(x), x.shape[0], x.shape[2], scales)
            return _images(rows, *shape)
        first, middle, last = pairs_in(self.branch2)
        x = convolve(convolve(x, *first), *middle, activation="none")
        return convolve(x, *last)

    def main_by_rows(self, rows: Tensor, batch: int, height: int, scales: Scales) -> tuple[Tensor, tuple[int, int]]:
        """Run on rows of pixels (B H W, C): on a CPU views and calls take a fifth of the time otherwise.

        Returns:
            The rows of the result, with B and its height.
        """
        first, _, _, middle, _, last, *_ = self.branch2
        x = _images(product(rows, *scales[first], "relu"), batch, height)
        if isinstance(middle, PackedConv2d) and middle.packed is not None:
            x = middle.compute(x)
        else:
            x = F.conv2d(x, *scales[middle], self.stride, 1, 1, x.shape[1])
        return product(_rows(x), *scales[last], "relu"), (batch, x.shape[2])

    def pairs(self) -> list[tuple[nn.Conv2d, nn.Module]]:
        """Return the convolutions, each with its norm."""
        return [*(pairs_in(self.branch1) if self.stride == 2 else ()), *pairs_in(self.branch2)]


class ShuffleStage(nn.Sequential):
    """The blocks of one resolution.

    Attributes:
        plan: of the channels, once the shuffles are a part of the weights (``fold_shuffles``).
    """

    plan: Plan | None = None

    def forward(self, x: Tensor, scales: Scales | None = None) -> Tensor:
        """Run the blocks."""
        if self.plan is not None:
            return self._gathered(x, scales, self.plan)
        for block in self:
            x = block(x, scales)
        return x

    def _gathered(self, x: Tensor, scales: Scales | None, plan: Plan) -> Tensor:
        """Run the blocks on what they gather; the result's channels lie as ``plan.taken[-1]`` says."""
        first, *rest = self
        results = first.branches(x, scales)
        shape = results[0].shape[0], results[0].shape[2]
        if scales:
            results = [_rows(result) for result in results]
        made = [result.split(sizes, 1) for result, sizes in zip(results, plan.sizes, strict=False)]
        for block, pieces, sizes in zip(rest, plan.pieces, plan.sizes[2:], strict=False):
            through = torch.cat([made[result][piece] for result, piece in pieces], 1)
            found = block.main_by_rows(through, *shape, scales)[0] if scales else block.main(through)
            made.append(found.split(sizes, 1))
        joined = torch.cat([made[result][piece] for result, piece in plan.pieces[-1]], 1)
        return _images(joined, *shape) if scales else joined

    def fold_shuffles(self, order: Sequence[int] | None) -> Sequence[int] | None:
        """Make the shuffles a part of the weights; all norms were folded before.

        Args:
            order: which channel of the input lies at each place; None as they were.

        Returns:
            The same of the result, where it always stays if they are shuffled before the blocks.
        """
        blocks: list[Any] = list(self)
        outward = blocks[0].branch2[5]
        self.plan = plan(outward.out_channels, len(blocks) - 1, blocks[0].shuffle)
        if order is not None:
            sort_outputs(blocks[0].branch1[0], order)
            sort_inputs(blocks[0].branch1[2], order)
            sort_inputs(blocks[0].branch2[0], order)
        sort_outputs(blocks[0].branch1[2], self.plan.made[0])
        for block, made in zip(blocks, self.plan.made[1:], strict=True):
            sort_outputs(block.branch2[5], made)
        for block, taken in zip(blocks[1:], self.plan.taken[:-1], strict=True):
            sort_inputs(block.branch2[0], taken)
        last = self.plan.taken[-1]
        return None if last == tuple(range(len(last))) else last


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
        at_once = max(1, _PART * 4 // (channels * height * width))
        if self.keeps_stem or not scales or at_once >= len(images):
            found = convolve(images, *stem, scales=scales)
            return found, max_pool3x3(found)
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
            _pointwise(widths[-2], widths[-1]), make_norm(norm, widths[-1]), nn.ReLU(inplace=True)
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
