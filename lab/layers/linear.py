"""Linear maps that are faster on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.compat.torch import has_forward_hooks, has_forward_pre_hooks, has_onednn_linear, onednn_linear
from lab.ops.cpu import plain_float32

_MIN_PRODUCTS = 1 << 22  # about 0.1 ms: below, calling it costs what it saves


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``F.linear(x, weight, bias)``, on a CPU in float32 by oneDNN's product where PyTorch would take MKL's.

    On AMD's CPUs MKL keeps from the widest instructions; oneDNN is faster there (lab/models/maskformer/README.md), in
    the output and in the gradient of the input. The operator is the one that PyTorch's compiler takes.

    Args:
        x: (..., C).
        weight: (O, C).
        bias: (O,).
    """
    if not _takes(x, weight):
        return F.linear(x, weight, bias)
    if not torch.is_grad_enabled():
        return onednn_linear(x, weight, bias)
    out: Tensor = _Linear.apply(x, weight, bias)
    return out


class Linear(nn.Linear):
    """``nn.Linear`` by ``linear``; in inference a GELU can be applied while values are in registers."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., O)."""
        return linear(x, self.weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        """Return the exact GELU of what ``forward`` returns."""
        watched = has_forward_hooks(self) or has_forward_pre_hooks(self)
        if _takes(x, self.weight) and not torch.is_grad_enabled() and not watched:
            return onednn_linear(x, self.weight, self.bias, "gelu", "none")
        return F.gelu(self(x))


def _takes(x: Tensor, weight: Tensor) -> bool:
    large = x.numel() * weight.shape[0] >= _MIN_PRODUCTS
    return large and plain_float32(x, weight) and has_onednn_linear()


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn_linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        by_x = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:  # in a gradient of a gradient PyTorch's own, which has one
            by_x = grad @ weight if torch.is_grad_enabled() else onednn_linear(grad, weight.t(), None)
        rows = grad.flatten(0, -2) if grad.ndim > 1 else grad[None]
        if ctx.needs_input_grad[1]:
            by_weight = rows.t() @ x.reshape(len(rows), -1)
        if ctx.needs_input_grad[2]:
            by_bias = rows.sum(0)
        return by_x, by_weight, by_bias
