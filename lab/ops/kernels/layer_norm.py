"""Layer norm in Triton, with an addition before it: forward and backward, each one pass over memory.

Ba, Kiros and Hinton, "Layer Normalization", 2016, equations 3 and 4; Chan, Golub and LeVeque, "Updating formulae and a
pairwise algorithm for computing sample variances", 1979, for the statistics; the fused addition is FasterTransformer's
(``addBiasResidualLayerNorm``). M rows of N values.

A program holds some rows in registers, so that mean and variance take two passes over them and no second read. The
first value of a row is subtracted before they are summed, which keeps rows far from zero exact. Rows of more than
``WIDEST`` values are read in blocks, whose statistics are merged. Statistics are float32, whatever the inputs are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

WIDEST = 8192
"""The most values of a row that a program holds in registers."""
PROGRAMS = 4
"""Programs of the backward pass for each multiprocessor; each adds up the gradients of weights over its rows."""


@triton.jit
def _added(x, residual, shift, places, cols, mask, HAS_RESIDUAL: tl.constexpr, HAS_SHIFT: tl.constexpr):
    """Return the sum of what is normalised, float32."""
    value = tl.load(x + places, mask=mask, other=0.0).to(tl.float32)
    if HAS_SHIFT:
        value += tl.load(shift + cols, mask=mask, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        value += tl.load(residual + places, mask=mask, other=0.0).to(tl.float32)
    return value


@triton.jit
def _scaled(normal, weight, bias, cols, mask, HAS_WEIGHT: tl.constexpr, HAS_BIAS: tl.constexpr):
    if HAS_WEIGHT:
        normal = normal * tl.load(weight + cols, mask=mask, other=0.0).to(tl.float32)
    if HAS_BIAS:
        normal = normal + tl.load(bias + cols, mask=mask, other=0.0).to(tl.float32)
    return normal


@triton.jit
def forward_kernel(
    x, residual, shift, weight, bias, total, out, means, scales, num_rows, eps,
    N: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr, HAS_SHIFT: tl.constexpr, HAS_WEIGHT: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Normalise ROWS rows; store the sum in ``total`` if something is added, mean and 1 / deviation of each row."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    inside = rows < num_rows
    cols = tl.arange(0, BLOCK)[None, :]
    added: tl.constexpr = HAS_RESIDUAL or HAS_SHIFT
    first = _added(x, residual, shift, rows * N, cols * 0, inside, HAS_RESIDUAL, HAS_SHIFT)
    first = tl.sum(tl.where(cols == 0, first, 0.0), 1)[:, None]
    if N <= BLOCK:
        mask = inside & (cols < N)
        value = _added(x, residual, shift, rows * N + cols, cols, mask, HAS_RESIDUAL, HAS_SHIFT)
        if added:
            rounded = value.to(total.dtype.element_ty)
            tl.store(total + rows * N + cols, rounded, mask=mask)
            value = rounded.to(tl.float32)
        value = tl.where(mask, value - first, 0.0)
        mean = tl.sum(value, 1)[:, None] / N
        value = tl.where(mask, value - mean, 0.0)
        scale = 1.0 / tl.sqrt_rn(tl.sum(value * value, 1)[:, None] / N + eps)
        normal = _scaled(value * scale, weight, bias, cols, mask, HAS_WEIGHT, HAS_BIAS)
        tl.store(out + rows * N + cols, normal.to(out.dtype.element_ty), mask=mask)
    else:
        mean = tl.zeros([ROWS, 1], tl.float32)
        squares = tl.zeros([ROWS, 1], tl.float32)
        for start in range(0, N, BLOCK):
            mask = inside & (start + cols < N)
            places = rows * N + start + cols
            value = _added(x, residual, shift, places, start + cols, mask, HAS_RESIDUAL, HAS_SHIFT)
            if added:
                rounded = value.to(total.dtype.element_ty)
                tl.store(total + places, rounded, mask=mask)
                value = rounded.to(tl.float32)
            value = tl.where(mask, value - first, 0.0)
            count = tl.sum(tl.where(start + cols < N, 1.0, 0.0), 1)[:, None]
            part = tl.sum(value, 1)[:, None] / count
            value = tl.where(mask, value - part, 0.0)
            apart = part - mean
            mean += apart * (count / (start + count))
            squares += tl.sum(value * value, 1)[:, None] + apart * apart * (start * count / (start + count))
        scale = 1.0 / tl.sqrt_rn(squares / N + eps)
        tl.debug_barrier()  # what was stored is read again, in part by other threads
        for start in range(0, N, BLOCK):
            mask = inside & (start + cols < N)
            places = rows * N + start + cols
            value = tl.load((total if added else x) + places, mask=mask, other=0.0).to(tl.float32)
            normal = _scaled(
                (value - first - mean) * scale, weight, bias, start + cols, mask, HAS_WEIGHT, HAS_BIAS
            )  # fmt: skip
            tl.store(out + places, normal.to(out.dtype.element_ty), mask=mask)
    tl.store(means + rows, first + mean, mask=inside)
    tl.store(scales + rows, scale, mask=inside)


@triton.jit
def _accumulate(target, value, mask):
    tl.store(target, tl.load(target, mask=mask, other=0.0) + tl.sum(value, 0)[None, :], mask=mask)


@triton.jit
def backward_kernel(
    total, grad, grad_total, weight, means, scales, grad_x, grad_weight, grad_bias, grad_shift, num_rows,
    N: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
    HAS_WEIGHT: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_SHIFT: tl.constexpr, HAS_GRAD_TOTAL: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of some rows, and this program's part (row of ``grad_weight``, ...) of those of weights."""
    program = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)[None, :]
    if N <= BLOCK:
        wide = cols < N
        of_weight = tl.zeros([ROWS, BLOCK], tl.float32)
        of_bias = tl.zeros([ROWS, BLOCK], tl.float32)
        of_shift = tl.zeros([ROWS, BLOCK], tl.float32)
        for block in range(program, tl.cdiv(num_rows, ROWS), tl.num_programs(0)):
            rows = block * ROWS + tl.arange(0, ROWS)[:, None].to(tl.int64)
            mask = (rows < num_rows) & wide
            scale = tl.load(scales + rows, mask=rows < num_rows, other=0.0)
            value = tl.load(total + rows * N + cols, mask=mask, other=0.0).to(tl.float32)
            normal = tl.where(mask, (value - tl.load(means + rows, mask=rows < num_rows, other=0.0)) * scale, 0.0)
            given = tl.load(grad + rows * N + cols, mask=mask, other=0.0).to(tl.float32)
            of_weight += given * normal
            of_bias += given
            scaled = _scaled(given, weight, weight, cols, mask, HAS_WEIGHT, False)
            along = tl.sum(scaled * normal, 1)[:, None] / N
            found = (scaled - normal * along - tl.sum(scaled, 1)[:, None] / N) * scale
            if HAS_GRAD_TOTAL:
                found += tl.load(grad_total + rows * N + cols, mask=mask, other=0.0).to(tl.float32)
            of_shift += tl.where(mask, found, 0.0)
            tl.store(grad_x + rows * N + cols, found.to(grad_x.dtype.element_ty), mask=mask)
        places = program * N + cols
        if HAS_WEIGHT:
            tl.store(grad_weight + places, tl.sum(of_weight, 0)[None, :], mask=wide)
        if HAS_BIAS:
            tl.store(grad_bias + places, tl.sum(of_bias, 0)[None, :], mask=wide)
        if HAS_SHIFT:
            tl.store(grad_shift + places, tl.sum(of_shift, 0)[None, :], mask=wide)
    else:
        for row in range(program, num_rows, tl.num_programs(0)):
            begin = (tl.zeros([1, 1], tl.int64) + row) * N
            mean, scale = tl.load(means + row), tl.load(scales + row)
            along = tl.zeros([1, 1], tl.float32)
            level = tl.zeros([1, 1], tl.float32)
            for start in range(0, N, BLOCK):
                mask = start + cols < N
                value = tl.load(total + begin + start + cols, mask=mask, other=0.0).to(tl.float32)
                normal = tl.where(mask, (value - mean) * scale, 0.0)
                given = tl.load(grad + begin + start + cols, mask=mask, other=0.0).to(tl.float32)
                if HAS_WEIGHT:
                    _accumulate(grad_weight + program * N + start + cols, given * normal, mask)
                if HAS_BIAS:
                    _accumulate(grad_bias + program * N + start + cols, given, mask)
                scaled = _scaled(given, weight, weight, start + cols, mask, HAS_WEIGHT, False)
                along += tl.sum(scaled * normal, 1)[:, None] / N
                level += tl.sum(scaled, 1)[:, None] / N
            for start in range(0, N, BLOCK):
                mask = start + cols < N
                value = tl.load(total + begin + start + cols, mask=mask, other=0.0).to(tl.float32)
                normal = (value - mean) * scale
                given = tl.load(grad + begin + start + cols, mask=mask, other=0.0).to(tl.float32)
                scaled = _scaled(given, weight, weight, start + cols, mask, HAS_WEIGHT, False)
                found = (scaled - normal * along - level) * scale
                if HAS_GRAD_TOTAL:
                    found += tl.load(grad_total + begin + start + cols, mask=mask, other=0.0).to(tl.float32)
                if HAS_SHIFT:
                    _accumulate(grad_shift + program * N + start + cols, tl.where(mask, found, 0.0), mask)
                tl.store(grad_x + begin + start + cols, found.to(grad_x.dtype.element_ty), mask=mask)


def tiling(width: int) -> dict[str, Any]:
    """Return how rows of ``width`` values are cut: the kernels' BLOCK and ROWS, and the number of warps."""
    block = min(triton.next_power_of_2(width), WIDEST)
    rows = max(1, 256 // block)
    return {"BLOCK": block, "ROWS": rows, "num_warps": min(max(rows * block // 256, 1), 16)}


def normalize(
    x: Tensor,
    inputs: Sequence[Tensor | None],
    eps: float,
    total: Tensor,
    out: Tensor,
    means: Tensor,
    scales: Tensor,
) -> None:
    """Launch the forward kernel.

    Args:
        x: (M, N), contiguous, as all of these.
        inputs: residual (M, N), shift, weight and bias, (N,) each; None where there is none.
        eps: added to the variance.
        total: (M, N), gets x + shift + residual; anything if these are None.
        out: (M, N), gets the result.
        means: (M,) float32, gets the means.
        scales: (M,) float32, gets 1 / sqrt(variance + eps).
    """
    num_rows, width = x.shape
    tiles = tiling(width)
    has = dict(
        zip(("HAS_RESIDUAL", "HAS_SHIFT", "HAS_WEIGHT", "HAS_BIAS"), (part is not None for part in inputs), strict=True)
    )
    forward_kernel[(triton.cdiv(num_rows, tiles["ROWS"]),)](
        x, *_given(inputs, x), total, out, means, scales, num_rows, eps, N=width, **has, **tiles
    )


def differentiate(
    total: Tensor,
    grad: Tensor,
    grad_total: Tensor | None,
    weight: Tensor | None,
    means: Tensor,
    scales: Tensor,
    grad_x: Tensor,
    parts: Sequence[Tensor | None],
) -> None:
    """Launch the backward kernel.

    Args:
        total: (M, N), what was normalised; contiguous, as all of these.
        grad: (M, N), of the result.
        grad_total: (M, N), of ``total``; None: 0.
        weight: (N,) or None.
        means: (M,) float32.
        scales: (M,) float32.
        grad_x: (M, N), gets the gradient of ``total``.
        parts: of the gradients of weight, bias and shift: (P, N) float32 zeros, which P programs fill, a row each; None
            where there is none.
    """
    num_rows, width = total.shape
    tiles = tiling(width)
    has = dict(zip(("HAS_WEIGHT", "HAS_BIAS", "HAS_SHIFT"), (part is not None for part in parts), strict=True))
    programs = next((len(part) for part in parts if part is not None), triton.cdiv(num_rows, tiles["ROWS"]))
    above, scale = _given((grad_total, weight), total)
    backward_kernel[(programs,)](
        total, grad, above, scale, means, scales, grad_x, *_given(parts, total), num_rows,
        N=width, HAS_GRAD_TOTAL=grad_total is not None, **has, **tiles,
    )  # fmt: skip


def _given(parts: Sequence[Tensor | None], other: Tensor) -> list[Tensor]:
    """Return tensors, with any other one where there is none: a kernel does not read it then."""
    return [other if part is None else part for part in parts]
