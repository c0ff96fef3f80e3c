"""A 2D convolution whose output and gradients are each computed in the way that is the fastest on this machine.

PyTorch's one operator takes one layout and one algorithm for all three. Which loses depends on the processor: oneDNN's
weight gradient of a strided 3x3 takes four times its share on channels-last maps; without AVX-512 that of every 3x3
does; with one thread a 1x1 goes to MKL, which is slow on AMD. ``lab.ops.choice`` measures.

Legend: B images, C channels in, O channels out, kH x kW the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from lab.compat.torch import convolution_gradients, has_onednn_linear, onednn_linear
from lab.ops import winograd
from lab.ops.choice import SAMPLE, Timings, choices, size_class
from lab.ops.cpu import needs_gradient, plain_float32

MIN_PRODUCTS = 1 << 24
"""Multiplications below which PyTorch's own operator is called: a choice would cost more than it saves."""


class Geometry(NamedTuple):
    """Of a convolution with one group.

    Attributes:
        stride: down and to the right.
        padding: zeros above and below, left and right.
        dilation: steps between a kernel's weights.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


SAME = Geometry(padding=(1, 1))
"""Of a 3x3 that keeps the resolution."""


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Convolve, by the fastest of the ways that this machine has.

    Args:
        x: (B, C, H, W).
        weight: (O, C, kH, kW).
        bias: (O,).
        geometry: stride, padding, dilation.

    Returns:
        (B, O, H', W'), equal to ``F.conv2d`` up to rounding.
    """
    if not takes(x, weight, geometry):
        return F.conv2d(x, weight, bias, *geometry)
    if needs_gradient(x, weight, bias):
        out: Tensor = _Convolution.apply(x, weight, bias, geometry)
        return out
    return _output(x, weight, bias, geometry)


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve a map (B, C, H, W) with a 3x3 (O, C, 3, 3) that keeps its resolution: ``F.conv2d`` with padding 1."""
    return conv2d(x, weight, bias, SAME)


def takes(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether there is a choice: float32 on a CPU, run eagerly, one group, and much to compute."""
    return (
        plain_float32(x, weight)
        and x.ndim == 4
        and x.shape[1] == weight.shape[1]
        and _products(x, weight, geometry) >= MIN_PRODUCTS
    )


def _products(x: Tensor, weight: Tensor, geometry: Geometry) -> int:
    return x.shape[0] * x.shape[2] * x.shape[3] // (geometry.stride[0] * geometry.stride[1]) * weight.numel()


def output_way(x: Tensor, weight: Tensor, geometry: Geometry) -> str:
    """Return the fastest way to the output alone: ``torch``, ``winograd`` or, for a 1x1, ``onednn`` or ``mkl``."""
    return _fastest("output", OUTPUT_WAYS, x, weight, None, geometry) if takes(x, weight, geometry) else "torch"


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        out = _output(x, weight, bias, geometry)
        # Not a view, which autograd would forbid to change in place, as an activation does.
        return out.new_empty(0).set_(out.untyped_storage(), out.storage_offset(), out.shape, out.stride())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        geometry: Geometry = ctx.geometry
        by_x = by_weight = by_bias = None
        if ctx.needs_input_grad[2]:
            by_bias = grad.sum((0, 2, 3))
        if torch.is_grad_enabled():  # for second derivatives PyTorch's own operators, which support them
            by_x = conv2d_input(x.shape, weight, grad, *geometry)
            by_weight = conv2d_weight(x, weight.shape, grad, *geometry)
            return by_x, by_weight, by_bias, None
        grad = grad.contiguous(memory_format=_layout(x))
        if ctx.needs_input_grad[0]:
            by_x = _by_input(x, weight, grad, geometry)
        if ctx.needs_input_grad[1]:
            by_weight = _by_weight(x, weight, grad, geometry)
        return by_x, by_weight, by_bias, None


def _output(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    way, _ = OUTPUT_WAYS[_fastest("output", OUTPUT_WAYS, x, weight, None, geometry)]
    return way(x, weight, bias, geometry)


def _by_input(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    way, _ = INPUT_WAYS[_fastest("input gradient", INPUT_WAYS, x, weight, grad, geometry)]
    return way(x, weight, grad, geometry)


def _by_weight(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    way, _ = WEIGHT_WAYS[_fastest("weight gradient", WEIGHT_WAYS, x, weight, grad, geometry)]
    return way(x, weight, grad, geometry)


ConvolutionWay = Callable[[Tensor, Tensor, Any, Geometry], Tensor]
ConvolutionWays = dict[str, tuple[ConvolutionWay, Callable[[Tensor, Geometry], bool]]]


def _fastest(
    product: str, ways: ConvolutionWays, x: Tensor, weight: Tensor, grad: Tensor | None, geometry: Geometry
) -> str:
    def timings(part: Tensor) -> Timings:
        given = None if grad is None else _sample_gradient(part, grad, weight, geometry)
        fitting = {name: way for name, (way, fits) in ways.items() if fits(weight, geometry)}
        return {name: partial(way, part, weight, given, geometry) for name, way in fitting.items()}

    return fastest(product, x, weight, geometry, timings)


def fastest(product: str, x: Tensor, weight: Tensor, geometry: Geometry, ways: Callable[[Tensor], Timings]) -> str:
    """Return the name of the fastest of some ways to compute something of a convolution.

    Args:
        product: what is computed.
        x: (B, C, H, W).
        weight: (O, C, kH, kW).
        geometry: of the convolution.
        ways: returns them for a map that is small enough to be timed.
    """
    shape = (*weight.shape, *geometry.stride, *geometry.padding, *geometry.dilation)
    shape = (*shape, size_class(x.shape[0] * x.shape[2] * x.shape[3]), _layout(x) is torch.channels_last)
    return choices().fastest(f"conv2d {product}", shape, lambda: ways(_sample(x, weight, geometry)))


def _sample(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Return as many images as a timing needs, or the upper part of one."""
    of_image = _products(x[:1], weight, geometry)
    images = max(1, SAMPLE // of_image)
    if of_image <= SAMPLE:
        return x[:images]
    least = (weight.shape[2] - 1) * geometry.dilation[0] + 1 + 2 * geometry.stride[0]
    rows = max(x.shape[2] * SAMPLE // of_image, least)
    return x[:1, :, :rows].contiguous(memory_format=_layout(x))


def _layout(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.stride(1) == 1 else torch.contiguous_format


def _sample_gradient(part: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    height = part.shape[2] + 2 * geometry.padding[0] - geometry.dilation[0] * (weight.shape[2] - 1) - 1
    rows = height // geometry.stride[0] + 1
    return grad[: len(part), :, :rows].contiguous(memory_format=_layout(grad))


# The ways. lab's own compute channels last; all return the layout that they get, or what follows, such as group norms,
# would pay for it.


def _torch_output(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    return F.conv2d(x, weight, bias, *geometry)


def _winograd_output(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    return _as_before(winograd.output(x, weight, bias), x)


def _onednn_output(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    return _as_before(_as_map(onednn_linear(_strided(x, geometry), weight.flatten(1), bias)), x)


def _mkl_output(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    return _as_before(_as_map(F.linear(_strided(x, geometry), weight.flatten(1), bias)), x)


def _torch_input(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    return convolution_gradients(grad, x, weight, geometry, (True, False))[0]


def _winograd_input(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    return _as_before(winograd.input_gradient(grad, weight), grad)


def _onednn_input(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    return _spread(onednn_linear(_pixels(grad), weight.flatten(1).t(), None), x, grad, geometry)


def _mkl_input(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    return _spread(_pixels(grad) @ weight.flatten(1), x, grad, geometry)


def _spread(found: Tensor, x: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradient of a 1x1's input from those of the pixels that it has taken."""
    if geometry.stride == (1, 1):
        return _as_before(_as_map(found), grad)
    whole = torch.zeros_like(x)
    whole[:, :, :: geometry.stride[0], :: geometry.stride[1]] = _as_map(found)
    return whole


def _as_before(out: Tensor, x: Tensor) -> Tensor:
    """Return a map, channels last, in the layout of another one."""
    return out if _layout(x) is torch.channels_last else out.contiguous()


def _torch_weight(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    return convolution_gradients(grad, x, weight, geometry, (False, True))[1]


def _copied_weight(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    """Copy both into channels-first maps, for which oneDNN has other kernels."""
    return convolution_gradients(grad.contiguous(), x.contiguous(), weight, geometry, (False, True))[1]


def _winograd_weight(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    return winograd.weight_gradient(x, grad)


def _taps_weight(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    """Multiply, for each place of the kernel, the pixels that it has met with the gradients of what came out."""
    (down, right), (above, left), (far_down, far_right) = geometry
    rows = _pixels(grad).flatten(0, 2).t()
    pixels = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, above, above))
    height, width = grad.shape[2:]
    met = grad.new_empty(len(x), height, width, x.shape[1])
    out = grad.new_empty(*weight.shape[2:], *weight.shape[:2])
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            top, start = i * far_down, j * far_right
            bottom, end = top + down * (height - 1) + 1, start + right * (width - 1) + 1
            met.copy_(pixels[:, top:bottom:down, start:end:right])
            torch.mm(rows, met.flatten(0, 2), out=out[i, j])
    return out.permute(2, 3, 0, 1).contiguous()


def _mkl_weight(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    found = _pixels(grad).flatten(0, 2).t() @ _strided(x, geometry).flatten(0, 2)
    return found.view_as(weight)


def _onednn_weight(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    rows, pixels = _pixels(grad).flatten(0, 2).t(), _strided(x, geometry).flatten(0, 2).t()
    return onednn_linear(rows, pixels, None).view_as(weight)


def _onednn_turned_weight(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    rows, pixels = _pixels(grad).flatten(0, 2).t(), _strided(x, geometry).flatten(0, 2).t()
    return onednn_linear(pixels, rows, None).t().reshape(weight.shape)


def _pixels(x: Tensor) -> Tensor:
    """Return a map (B, C, H, W) as (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def _strided(x: Tensor, geometry: Geometry) -> Tensor:
    """Return the pixels (B, H', W', C) that a 1x1 takes."""
    return _pixels(x)[:, :: geometry.stride[0], :: geometry.stride[1]].contiguous()


def _as_map(pixels: Tensor) -> Tensor:
    """Return (B, H, W, C) as a map (B, C, H, W), channels last in memory."""
    return pixels.permute(0, 3, 1, 2)


def _always(weight: Tensor, geometry: Geometry) -> bool:
    return True


def _is_pointwise(weight: Tensor, geometry: Geometry) -> bool:
    return weight.shape[2:] == (1, 1) and geometry.padding == (0, 0) and has_onednn_linear()


def _is_3x3(weight: Tensor, geometry: Geometry) -> bool:
    return weight.shape[2:] == (3, 3) and geometry == SAME and min(weight.shape[:2]) >= winograd.MIN_CHANNELS


def _is_spread(weight: Tensor, geometry: Geometry) -> bool:
    """Whether the kernel has several places, and a place of it enough channels for a product."""
    return 1 < weight.shape[2] * weight.shape[3] <= 9 and min(weight.shape[:2]) >= winograd.MIN_CHANNELS


OUTPUT_WAYS: ConvolutionWays = {
    "torch": (_torch_output, _always),
    "winograd": (_winograd_output, _is_3x3),
    "onednn": (_onednn_output, _is_pointwise),
    "mkl": (_mkl_output, _is_pointwise),
}
INPUT_WAYS: ConvolutionWays = {
    "torch": (_torch_input, _always),
    "winograd": (_winograd_input, _is_3x3),
    "onednn": (_onednn_input, _is_pointwise),
    "mkl": (_mkl_input, _is_pointwise),
}
WEIGHT_WAYS: ConvolutionWays = {
    "torch": (_torch_weight, _always),
    "copied": (_copied_weight, lambda weight, geometry: not _is_pointwise(weight, geometry)),
    "winograd": (_winograd_weight, _is_3x3),
    "taps": (_taps_weight, _is_spread),
    "mkl": (_mkl_weight, _is_pointwise),
    "onednn": (_onednn_weight, _is_pointwise),
    "turned": (_onednn_turned_weight, _is_pointwise),
}
