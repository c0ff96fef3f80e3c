"""The product of pixels or other rows with a matrix, its activation included, in inference on a CPU."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.compat.torch import addmm_relu, has_onednn_linear, onednn_linear
from lab.layers.activation import SLOPE, Activation, activate
from lab.ops.choice import PYTORCH, SAMPLE, Timings, choices, size_class

SMALL = 1 << 22
"""Multiplications below which PyTorch's own product is called without a choice: what calls cost decides there."""
Gelu = Literal["gelu", "gelu_tanh"]
"""The exact one, and its approximation."""
_APPROXIMATE = {"gelu": "none", "gelu_tanh": "tanh"}


def product(
    rows: Tensor,
    matrix: Tensor,
    bias: Tensor | None,
    activation: Activation | Gelu = "none",
    packed: Tensor | None = None,
) -> Tensor:
    """Return (..., O), the activated product of (..., C) and a matrix, by MKL or by oneDNN, whichever is faster here.

    Args:
        rows: (..., C) on a CPU; no gradient passes. There is a choice in float32.
        matrix: (O, C), or (O, C, 1, 1) of a 1x1 convolution.
        bias: (O,).
        activation: done within the product, or in place behind it.
        packed: the matrix in oneDNN's layout, if it is held so.
    """
    matrix = matrix.flatten(1)
    if packed is None and (rows.numel() * len(matrix) <= SMALL or not has_onednn_linear()):
        return _by_mkl(rows, matrix, bias, activation)
    held = matrix if packed is None else packed

    def ways() -> Timings:
        part = rows.reshape(-1, rows.shape[-1])[: max(1, SAMPLE // matrix.numel())]
        return {
            PYTORCH: lambda: _by_mkl(part, matrix, bias, activation),
            "onednn": lambda: _by_onednn(part, held, bias, activation),
        }

    inputs = matrix.shape[1]
    # Blocks that grow have a width for each layer: classes of them suffice.
    shape = (len(matrix), size_class(inputs), size_class(rows.numel() // inputs))
    name = f"product {activation}" if packed is None else f"packed product {activation}"
    if rows.dtype is torch.float32 and choices().fastest(name, shape, ways) == PYTORCH:
        return _by_mkl(rows, matrix, bias, activation)
    return _by_onednn(rows, held, bias, activation)


def _by_onednn(rows: Tensor, matrix: Tensor, bias: Tensor | None, activation: Activation | Gelu) -> Tensor:
    if activation in _APPROXIMATE:
        return onednn_linear(rows, matrix, bias, "gelu", _APPROXIMATE[activation])
    return onednn_linear(rows, matrix, bias, activation, slope=SLOPE)


def _by_mkl(rows: Tensor, matrix: Tensor, bias: Tensor | None, activation: Activation | Gelu) -> Tensor:
    flat = rows.reshape(-1, rows.shape[-1])
    if bias is not None and activation == "relu":
        out = addmm_relu(bias, flat, matrix.t())
    else:
        out = flat @ matrix.t() if bias is None else torch.addmm(bias, flat, matrix.t())
    if activation in _APPROXIMATE:
        out = F.gelu(out, approximate=_APPROXIMATE[activation])
    elif bias is None or activation != "relu":
        out = activate(out, activation)  # type: ignore[arg-type]
    return out.view(*rows.shape[:-1], len(matrix))
