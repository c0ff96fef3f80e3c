"""Products of an AFNO layer in the form that is fastest on a CPU; README.md has what this gains.

PyTorch multiplies a batch of large matrices slower than oneDNN multiplies them one by one (AMD EPYC), and what follows
a product finds it in the cache then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lab.compat.torch import has_onednn_linear, onednn_linear
from lab.layers.linear import linear
from lab.ops.cpu import needs_gradient, plain_float32

_LARGE = 1 << 20  # multiplications of one matrix by another, 20 microseconds: a call costs little beside it


def left_product(matrix: Tensor, x: Tensor, plus: Tensor | None = None) -> Tensor:
    """Return ``matrix @ x[i]`` for each i, plus ``plus[i]``.

    Args:
        matrix: (M, N); it gets no gradient.
        x: (B, N, C).
        plus: (B, M, C) or None.

    Returns:
        (B, M, C).
    """
    if not _is_large(matrix.numel() * x.shape[2], x, matrix):
        many = matrix.expand(x.shape[0], -1, -1)
        return torch.bmm(many, x) if plus is None else torch.baddbmm(plus, many, x)
    if not needs_gradient(x, plus):
        return _one_by_one(matrix, x, plus)
    found: Tensor = _LeftProduct.apply(matrix, x, plus)
    return found


def complex_layers(blocks: Tensor, weights: tuple[Tensor, Tensor], biases: tuple[Tensor, Tensor]) -> Iterator[Tensor]:
    """Apply two layers with a ReLU between them to each block of channels.

    Args:
        blocks: (K, B, R, C, 2, I), any strides: real parts and imaginary parts of B * R * C = M modes.
        weights: (K, 2 J, 2 I) and (K, 2 O, 2 J).
        biases: (K, 2 J) and (K, 2 O).

    Yields:
        (M, 2 O) of each block.
    """
    first, second = weights
    if not _is_large(blocks.numel() // len(first) * first.shape[1], blocks, first):
        x = blocks.reshape(len(first), -1, first.shape[2])
        hidden = torch.baddbmm(biases[0][:, None], x, first.mT).relu()
        yield from torch.baddbmm(biases[1][:, None], hidden, second.mT).unbind(0)
        return
    fused = not needs_gradient(blocks, first, second, *biases)
    for block, weight, bias, last, shift in zip(blocks, first, biases[0], second, biases[1], strict=True):
        x = block.reshape(-1, weight.shape[1])
        hidden = onednn_linear(x, weight, bias, "relu") if fused else linear(x, weight, bias).relu()
        yield linear(hidden, last, shift)


def _is_large(products: int, x: Tensor, weight: Tensor) -> bool:
    return products >= _LARGE and plain_float32(x, weight) and has_onednn_linear()


def _one_by_one(matrix: Tensor, x: Tensor, plus: Tensor | None) -> Tensor:
    if len(x) == 1 and plus is None:
        return onednn_linear(matrix, x[0].t(), None)[None]
    found = x.new_empty(len(x), len(matrix), x.shape[2])
    for index, item in enumerate(x):
        product = onednn_linear(matrix, item.t(), None)
        if plus is None:
            found[index] = product
        else:
            torch.add(product, plus[index], out=found[index])
    return found


class _LeftProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, x: Tensor, plus: Tensor | None) -> Tensor:
        ctx.save_for_backward(matrix)
        return _one_by_one(matrix, x, plus)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        (matrix,) = ctx.saved_tensors
        by_x = left_product(matrix.t(), grad) if ctx.needs_input_grad[1] else None
        return None, by_x, grad if ctx.needs_input_grad[2] else None
