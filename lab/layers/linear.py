"""Linear maps that are faster on CPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.compat.torch import has_onednn_linear, is_watched, onednn_linear
from lab.layers.product import product
from lab.ops.choice import SAMPLE, choices, size_class
from lab.ops.cpu import needs_gradient, plain_float32

_MIN_PRODUCTS = 1 << 22  # about 0.1 ms: for smaller products the overhead exceeds the gain
_FEW = 8  # rows for which the time is that of reading the weights
_LARGE = 1 << 16  # elements of a weight that is worth a choice then


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``F.linear(x, weight, bias)``, on a CPU in float32 by the faster of PyTorch's MKL and oneDNN.

    On AMD CPUs MKL does not use the widest instructions; oneDNN is often faster there, for the output and for the
    gradients. PyTorch's compiler uses the same operator. ``lab.ops.choice`` measures which is faster here.

    Args:
        x: (..., C).
        weight: (O, C).
        bias: (O,).
    """
    count = few_rows(x, weight, bias)
    if count:
        return _few(count, x, weight, bias)
    if not _takes(x, weight):
        return F.linear(x, weight, bias)
    if not needs_gradient(x, weight, bias):
        return OUTPUT_WAYS[_fastest("output", OUTPUT_WAYS, x, weight)](x, weight, bias)
    out: Tensor = _Linear.apply(x, weight, bias)
    return out


class Linear(nn.Linear):
    """``nn.Linear`` computed by ``linear``; in inference with an optional fused GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., O)."""
        return linear(x, self.weight, self.bias)

    def gelu(self, x: Tensor, approximate: str = "none") -> Tensor:
        """Return the GELU of the result of ``forward``: ``none`` for the exact one, ``tanh`` for its approximation."""
        if self.fuses(x):
            return product(x, self.weight, self.bias, "gelu_tanh" if approximate == "tanh" else "gelu")
        return F.gelu(self(x), approximate=approximate)

    def relu(self, x: Tensor) -> Tensor:
        """Return the ReLU of the result of ``forward``."""
        if self.fuses(x):
            return product(x, self.weight, self.bias, "relu")
        return F.relu(self(x))

    def fuses(self, x: Tensor) -> bool:
        """Whether an activation can be done within the product: no gradient is needed, no hook waits."""
        return _takes(x, self.weight) and not is_watched(self) and not needs_gradient(x, self.weight, self.bias)


def _takes(x: Tensor, weight: Tensor) -> bool:
    # Sizes come last: those of a graph that is exported may be open, and a comparison would close them.
    return plain_float32(x, weight) and x.numel() * weight.shape[0] >= _MIN_PRODUCTS and has_onednn_linear()


def few_rows(x: Tensor, weight: Tensor, bias: Tensor | None) -> int:
    """Return the number of rows if they are 1 to 8, in inference on a CPU, and the weight is large; otherwise 0.

    Then reading the weight takes longer than computing, and MKL longer than that.
    """
    if weight.numel() < _LARGE or not plain_float32(x, weight):
        return 0
    if x.numel() > _FEW * weight.shape[1] or needs_gradient(x, weight, bias):
        return 0
    return x.numel() // weight.shape[1]


def exchanges(count: int, inputs: int) -> bool:
    """Whether ``exchanged`` is the fastest product for so few rows, weights in oneDNN's layout included."""
    return (0 < count <= 3 and inputs <= 512) or (2 <= count <= 3 and inputs <= 1024)


def exchanged(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``F.linear`` of 1 to 8 rows with the factors exchanged, a single row as one of two equal ones.

    MKL is up to three times as fast so if a row has no more than about 1,000 numbers (AMD EPYC, one thread).
    """
    rows = x.reshape(-1, weight.shape[1])
    count = len(rows)
    found = torch.mm(weight, (torch.cat((rows, rows)) if count == 1 else rows).t()).t()[:count].contiguous()
    return (found if bias is None else found.add_(bias)).view(*x.shape[:-1], weight.shape[0])


def _few(count: int, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    inputs = weight.shape[1]
    if exchanges(count, inputs) or inputs <= 512:
        return exchanged(x, weight, bias)
    return onednn_linear(x, weight, bias) if count > 1 and has_onednn_linear() else F.linear(x, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return OUTPUT_WAYS[_fastest("output", OUTPUT_WAYS, x, weight)](x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        by_x = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:  # for second derivatives PyTorch's own product, which supports them
            plain = torch.is_grad_enabled()
            by_x = grad @ weight if plain else _by_input(grad, weight)
        rows = grad.flatten(0, -2) if grad.ndim > 1 else grad[None]
        if ctx.needs_input_grad[1]:
            known = x.reshape(len(rows), -1)
            by_weight = rows.t() @ known if torch.is_grad_enabled() else _by_weight(rows, known)
        if ctx.needs_input_grad[2]:
            by_bias = rows.sum(0)
        return by_x, by_weight, by_bias


# The ways of each product, PyTorch's first.

LinearWay = Callable[[Tensor, Tensor, Tensor | None], Tensor]
OUTPUT_WAYS: dict[str, LinearWay] = {"torch": F.linear, "onednn": onednn_linear}
INPUT_WAYS: dict[str, LinearWay] = {
    "torch": lambda grad, weight, _: grad @ weight,
    "onednn": lambda grad, weight, _: onednn_linear(grad, weight.t(), None),
}
WEIGHT_WAYS: dict[str, LinearWay] = {
    "torch": lambda grad, x, _: grad.t() @ x,
    "onednn": lambda grad, x, _: onednn_linear(grad.t(), x.t(), None),
    "turned": lambda grad, x, _: onednn_linear(x.t(), grad.t(), None).t().contiguous(),
}


def _by_input(grad: Tensor, weight: Tensor) -> Tensor:
    return INPUT_WAYS[_fastest("input gradient", INPUT_WAYS, grad, weight, weight.shape[0])](grad, weight, None)


def _by_weight(rows: Tensor, x: Tensor) -> Tensor:
    def timings() -> dict[str, Callable[[], object]]:
        count = max(1, SAMPLE // (rows.shape[1] * x.shape[1]))
        return {name: partial(way, rows[:count], x[:count], None) for name, way in WEIGHT_WAYS.items()}

    shape = (rows.shape[1], x.shape[1], size_class(len(rows)))
    return WEIGHT_WAYS[choices().fastest("linear weight gradient", shape, timings)](rows, x, None)


def _fastest(product: str, ways: Mapping[str, LinearWay], x: Tensor, weight: Tensor, width: int = 0) -> str:
    """Return the fastest way to multiply (..., C) with a weight; ``width`` is C where it is not the weight's last."""
    width = width or weight.shape[1]
    rows = x.numel() // width

    def timings() -> dict[str, Callable[[], object]]:
        count = max(1, SAMPLE // weight.numel())
        return {name: partial(way, x.reshape(-1, width)[:count], weight, None) for name, way in ways.items()}

    return choices().fastest(f"linear {product}", (*weight.shape, size_class(rows)), timings)
