"""ShuffleNetV2's blocks (Ma et al., ECCV 2018, figure 3c, d) and stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.layers.convolution import NormName, Scales, convolve, make_norm, pairs_in
from lab.layers.packed import PackedConv2d
from lab.layers.product import product
from lab.models.shufflenet.gathering import ChannelPlan, Shuffle, plan, sort_inputs, sort_outputs
from lab.ops.shuffle import interleave, interleave_last, separate

_MapShape = tuple[int, int, int]


def pointwise(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return a 1x1 convolution without a bias."""
    return nn.Conv2d(in_channels, out_channels, 1, bias=False)


def _depthwise(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)


def _rows(x: Tensor) -> Tensor:
    """Return the pixels (B H W, C) of a map (B, C, H, W), a view channels last."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _images(rows: Tensor, shape: _MapShape) -> Tensor:
    """Return rows of pixels (B H W, C) as a map (B, C, H, W), a view."""
    return rows.view(*shape, rows.shape[1]).permute(0, 3, 1, 2)


def _shape(x: Tensor) -> _MapShape:
    """Return B, H and W of a map (B, C, H, W)."""
    return x.shape[0], x.shape[2], x.shape[3]


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
                pointwise(in_channels, half),
                make_norm(norm, half),
                nn.ReLU(inplace=True),
            )
        self.branch2 = nn.Sequential(
            pointwise(in_channels if stride == 2 else half, half),
            make_norm(norm, half),
            nn.ReLU(inplace=True),
            _depthwise(half, stride),
            make_norm(norm, half),
            pointwise(half, half),
            make_norm(norm, half),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor, scales: Scales | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H / stride, W / stride)."""
        if scales and self.shuffle == "after":
            return self._by_rows(x, scales)
        if self.stride == 2:
            aside, through = self.branches(x, scales)
        else:
            aside, through = self.split(x)
            through = self.main(through, scales)
        return interleave(aside, through) if self.shuffle == "after" else torch.cat((aside, through), dim=1)

    def _by_rows(self, x: Tensor, scales: Scales) -> Tensor:
        """Run on rows of pixels: on a CPU views and calls take a fifth of the time otherwise."""
        aside = through = _rows(x)
        if self.stride == 1:
            aside, through = aside.chunk(2, dim=1)
        else:
            depthwise, _, pointwise, *_ = self.branch1
            aside = product(_rows(F.conv2d(x, *scales[depthwise], 2, 1, 1, x.shape[1])), *scales[pointwise], "relu")
        through, shape = self.main_by_rows(through, _shape(x), scales)
        return _images(interleave_last(aside, through), shape)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what passes by a block of stride 1 and what goes through its convolutions."""
        if self.shuffle == "after":
            return x.chunk(2, dim=1)  # type: ignore[return-value]
        return separate(x)

    def branches(self, x: Tensor, scales: Scales | None = None) -> tuple[Tensor, Tensor]:
        """Return the results of both branches of a block of stride 2, (B, out_channels / 2, H / 2, W / 2) each."""
        first, last = pairs_in(self.branch1)
        aside = convolve(x, *first, activation="none", scales=scales)
        return convolve(aside, *last, scales=scales), self.main(x, scales)

    def main(self, x: Tensor, scales: Scales | None = None) -> Tensor:
        """Run the three convolutions: (B, C, H, W) to (B, out_channels / 2, H / stride, W / stride)."""
        if scales:
            rows, shape = self.main_by_rows(_rows(x), _shape(x), scales)
            return _images(rows, shape)
        first, middle, last = pairs_in(self.branch2)
        x = convolve(convolve(x, *first), *middle, activation="none")
        return convolve(x, *last)

    def main_by_rows(self, rows: Tensor, shape: _MapShape, scales: Scales) -> tuple[Tensor, _MapShape]:
        """Run the three convolutions on rows of pixels (B H W, C), of a map with B, H and W.

        Returns:
            The rows of the result, with its B, H and W.
        """
        first, _, _, middle, _, last, *_ = self.branch2
        x = _images(product(rows, *scales[first], "relu"), shape)
        if isinstance(middle, PackedConv2d) and middle.packed is not None:
            x = middle.compute(x)
        else:
            x = F.conv2d(x, *scales[middle], self.stride, 1, 1, x.shape[1])
        return product(_rows(x), *scales[last], "relu"), _shape(x)

    def pairs(self) -> list[tuple[nn.Conv2d, nn.Module]]:
        """Return the convolutions, each with its norm."""
        return [*(pairs_in(self.branch1) if self.stride == 2 else ()), *pairs_in(self.branch2)]


class ShuffleStage(nn.Sequential):
    """The blocks of one resolution.

    Attributes:
        plan: of the channels, once the shuffles are a part of the weights (``fold_shuffles``).
    """

    plan: ChannelPlan | None = None

    def forward(self, x: Tensor, scales: Scales | None = None) -> Tensor:
        """Run the blocks."""
        if self.plan is not None:
            return self._gathered(x, scales, self.plan)
        for block in self:
            x = block(x, scales)
        return x

    def _gathered(self, x: Tensor, scales: Scales | None, plan: ChannelPlan) -> Tensor:
        """Run the blocks on what they gather; the result's channels lie as ``plan.taken[-1]`` says."""
        blocks: list[Any] = list(self)
        first, *rest = blocks
        results = first.branches(x, scales)
        shape = _shape(results[0])
        if scales:
            results = [_rows(result) for result in results]
        made = [result.split(sizes, 1) for result, sizes in zip(results, plan.sizes, strict=False)]
        for block, pieces, sizes in zip(rest, plan.pieces, plan.sizes[2:], strict=False):
            through = torch.cat([made[result][piece] for result, piece in pieces], 1)
            found = block.main_by_rows(through, shape, scales)[0] if scales else block.main(through)
            made.append(found.split(sizes, 1))
        joined = torch.cat([made[result][piece] for result, piece in plan.pieces[-1]], 1)
        return _images(joined, shape) if scales else joined

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
