"""3x3 convolutions with a quarter of the multiplications.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, algorithm F(4x4, 3x3). The map is cut
into tiles of 6x6 that overlap by two; transformed, a tile's convolution is a product at each of 36 places, which are 36
matrix products over all tiles; the inverse transform gives 4x4 outputs. PyTorch has no such convolution on CPUs; on
GPUs cuDNN chooses among its own. ``lab.ops.convolution`` takes it where it is the fastest way.

The points of interpolation are 0, +-sqrt(1/2), +-sqrt(2) and infinity. With the paper's points (0, +-1, +-2, infinity)
the error in float32 is over three times as large; with these it is that of direct convolution
(``tests/unit/ops/test_winograd.py``).

Legend: B images, C channels in, O channels out, T tiles of a part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

OUT, KERNEL = 4, 3
TILE = OUT + KERNEL - 1
PLACES = TILE * TILE
_POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))
_VALUES = 1 << 19
"""Values in one transformed part of the map: 2 MB, which a core's caches hold while it passes through five steps."""
_TILES = 112
"""Tiles of a part at least, however many channels: for fewer, reading the kernels takes longer than using them."""
MIN_CHANNELS = 32
"""Below that the transforms cost more than the products save on any processor; from there on it is measured."""


def output(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve with padding 1 and stride 1.

    Args:
        x: (B, C, H, W), float32.
        weight: (O, C, 3, 3).
        bias: (O,).

    Returns:
        (B, O, H, W), channels last in memory, equal to ``F.conv2d(x, weight, bias, padding=1)`` up to rounding.
    """
    return _convolve(x, _kernels(weight).view(PLACES, *weight.shape[:2]).transpose(1, 2), bias)


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient (B, C, H, W) of the input from that of the output (B, O, H, W).

    It is a convolution with rotated kernels, from O channels to C.
    """
    return _convolve(grad, _kernels(weight, turned=True).view(PLACES, *weight.shape[:2]))


@cache
def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Return the transforms of a tile (36, 36), of a kernel (36, 9), and back to an output (16, 36), row by row.

    Toom and Cook's construction: outputs are a polynomial's values at the points, the last of them at infinity.
    """
    points = np.array(_POINTS)
    data, kernel, back = np.zeros((TILE, TILE)), np.zeros((TILE, KERNEL)), np.zeros((OUT, TILE))
    for row, point in enumerate(points):
        others = np.delete(points, row)
        data[row, :-1] = np.poly(others)[::-1]
        kernel[row] = point ** np.arange(KERNEL) / np.prod(point - others)
        back[:, row] = point ** np.arange(OUT)
    data[-1] = np.poly(points)[::-1]
    kernel[-1, -1] = back[-1, -1] = 1.0
    with torch.inference_mode(False):
        both = [torch.from_numpy(np.kron(matrix, matrix)).float() for matrix in (data, kernel, back)]
    return both[0], both[1], both[2]


def _kernels(weight: Tensor, turned: bool = False) -> Tensor:
    """Return the transformed kernels (36, O * C), optionally of the kernels rotated by 180 degrees."""
    of_kernel = _transforms()[1]
    return (of_kernel.flip(1) if turned else of_kernel) @ weight.reshape(-1, KERNEL * KERNEL).t()


def _convolve(x: Tensor, kernels: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return (B, O, H, W), channels last in memory; kernels (36, C, O), bias (O,)."""
    of_tile, _, back = _transforms()
    num_in, num_out = kernels.shape[1:]
    height, width = x.shape[2:]
    rows, columns = -(-height // OUT), -(-width // OUT)
    out = x.new_empty(len(x), rows, OUT, columns, OUT, num_out)
    parts = _TileParts(x, max(num_in, num_out))
    for images, part in parts:
        mapped = parts.transformed(x, images, part, of_tile)
        product = parts.first(PLACES, mapped.shape[1], num_out)
        torch.bmm(mapped, kernels, out=product)
        result = torch.mm(back, product.view(PLACES, -1), out=parts.second(OUT * OUT, product[0].numel()))
        shaped = result.view(OUT, OUT, *out[images, part].shape[:2], columns, num_out)
        shaped = shaped.permute(2, 3, 0, 4, 1, 5)
        out[images, part].copy_(shaped) if bias is None else torch.add(shaped, bias, out=out[images, part])
    return out.view(len(x), rows * OUT, columns * OUT, num_out)[:, :height, :width].permute(0, 3, 1, 2)


def weight_gradient(x: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient (O, C, 3, 3) of the kernels from that of the output (B, O, H, W)."""
    of_tile, of_kernel, back = _transforms()
    num_out, num_in = grad.shape[1], x.shape[1]
    right, below = -grad.shape[3] % OUT, -grad.shape[2] % OUT
    whole = grad.permute(0, 2, 3, 1)
    whole = F.pad(whole, (0, 0, 0, right, 0, below)) if right or below else whole
    whole = whole.unflatten(1, (-1, OUT)).unflatten(3, (-1, OUT))  # (B, rows, 4, columns, 4, O)
    total = x.new_zeros(PLACES, num_out, num_in)
    parts = _TileParts(x, max(num_in, num_out))
    for images, part in parts:
        mapped = parts.transformed(x, images, part, of_tile)
        tiles = whole[images, part].permute(2, 4, 0, 1, 3, 5)
        tiles = parts.first(*tiles.shape).copy_(tiles).view(OUT * OUT, -1)
        spread = torch.mm(back.t(), tiles, out=parts.third(PLACES, tiles.shape[1])).view(PLACES, -1, num_out)
        total.baddbmm_(spread.transpose(1, 2), mapped)
    gradient = of_kernel.t() @ total.view(PLACES, -1)
    return gradient.t().reshape(num_out, num_in, KERNEL, KERNEL)


class _TileParts:
    """Splits a map (B, C, H, W) into parts that are processed one by one, and holds memory for the steps.

    A part is some rows of tiles of one image, or several whole images, small enough for a CPU's cache. Memory is
    allocated only once; otherwise allocation would cost more than the transforms.
    """

    def __init__(self, x: Tensor, num_channels: int) -> None:
        self.num_images, channels = x.shape[:2]
        self.rows, self.columns = -(-x.shape[2] // OUT), -(-x.shape[3] // OUT)
        of_row, most = PLACES * self.columns * num_channels, max(_VALUES, PLACES * _TILES * num_channels)
        self.num_rows = max(1, min(self.rows, most // of_row))
        self.at_once = max(1, min(self.num_images, most // (of_row * self.rows)))
        values = self.at_once * self.num_rows * of_row
        self._memory = [x.new_empty(values), x.new_empty(values)]
        self._strip = x.new_zeros(self.at_once, self.num_rows * OUT + 2, self.columns * OUT + 2, channels)

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        """Yield the images and the rows of tiles of each part."""
        for image in range(0, self.num_images, self.at_once):
            for row in range(0, self.rows, self.num_rows):
                last = min(self.num_images, image + self.at_once)
                yield slice(image, last), slice(row, min(self.rows, row + self.num_rows))

    def first(self, *size: int) -> Tensor:
        """Return a buffer of this size; every call returns the same memory."""
        return self._memory[0][: math.prod(size)].view(size)

    def second(self, *size: int) -> Tensor:
        """Return a second buffer."""
        return self._memory[1][: math.prod(size)].view(size)

    def third(self, *size: int) -> Tensor:
        """Return a third buffer, which not every caller needs."""
        if len(self._memory) < 3:
            self._memory.append(torch.empty_like(self._memory[0]))
        return self._memory[2][: math.prod(size)].view(size)

    def transformed(self, x: Tensor, images: slice, part: slice, of_tile: Tensor) -> Tensor:
        """Return the transformed tiles (36, T, C) of a part, in ``second``; ``first`` is overwritten."""
        height, width = x.shape[2:]
        above, below = part.start * OUT - 1, min(height, part.stop * OUT + 1)
        strip = self._strip[: images.stop - images.start]
        begin = max(above, 0)
        strip[:, : begin - above] = 0
        strip[:, begin - above : below - above, 1 : width + 1] = x[images, :, begin:below].permute(0, 2, 3, 1)
        strip[:, below - above :] = 0
        image, down, right, _ = strip.stride()
        size = (TILE, TILE, len(strip), part.stop - part.start, self.columns, strip.shape[3])
        view = strip.as_strided(size, (down, right, image, OUT * down, OUT * right, 1))
        tiles = self.first(*size).copy_(view).view(PLACES, -1)
        mapped = torch.mm(of_tile, tiles, out=self.second(PLACES, tiles.shape[1]))
        return mapped.view(PLACES, -1, strip.shape[3])
