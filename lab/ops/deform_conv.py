"""Modulated deformable convolution in plain torch: Zhu et al., "Deformable ConvNets v2", CVPR 2019, section 3.1.

A pixel of the output sees, for each tap of the kernel, the map at a place of its own (bilinear, zero outside), times a
factor of its own. Offsets and masks are laid out as torchvision's and mmcv's operators take them.

The columns of the product are gathered by ``embedding_bag``: a place of one tap is the sum of four rows of the map,
channels last, with the bilinear weights times the mask. On a CPU that takes less than torchvision's operator, which
computes value by value (``scripts/benchmark.py --rows deform_conv-forward deform_conv-train``).

Legend: B images, C and O channels in and out, H x W pixels in, h x w pixels out, K taps of the kernel, G groups of
channels that the product has, D groups of channels with offsets of their own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.errors import ConfigError

Sizes2d = tuple[int, int]


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    stride: Sizes2d = (1, 1),
    padding: Sizes2d = (0, 0),
    dilation: Sizes2d = (1, 1),
) -> Tensor:
    """Convolve where the offsets point to; on a GPU by torchvision's kernel. Below float32 it computes in float32.

    Args:
        x: (B, C, H, W).
        offset: (B, 2 D K, h, w) pixels: for each group and tap down, then right.
        weight: (O, C / G, kernel height, kernel width).
        mask: (B, D K, h, w) factors, or None for 1 (version 1 of the operator).
        bias: (O,).
        stride: down and right, of the regular places.
        padding: of the regular places.
        dilation: of the regular places.

    Returns:
        (B, O, h, w); on a CPU channels last in memory.

    Raises:
        ConfigError: the shapes do not fit together.
    """
    _check(x, offset, weight, mask, (stride, padding, dilation))
    # Half of a pixel is much of an offset's eight bits, and torchvision's kernel has no bfloat16.
    dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    compute = by_torchvision if x.is_cuda else gathered_deform_conv2d
    mask, bias = (value if value is None else value.to(dtype) for value in (mask, bias))
    given = (x.to(dtype), offset.to(dtype), weight.to(dtype))
    return compute(*given, mask, bias, stride, padding, dilation).to(x.dtype)


def by_torchvision(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    stride: Sizes2d,
    padding: Sizes2d,
    dilation: Sizes2d,
) -> Tensor:
    """Compute ``deform_conv2d`` by torchvision's operator."""
    from torchvision.ops import deform_conv2d as operator

    found: Tensor = operator(x, offset, weight, bias, stride, padding, dilation, mask)
    return found


def gathered_deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    stride: Sizes2d,
    padding: Sizes2d,
    dilation: Sizes2d,
) -> Tensor:
    """Compute ``deform_conv2d`` of arguments of one dtype that fit together, on any device."""
    batch, channels, height, width = x.shape
    taps = weight.shape[2] * weight.shape[3]
    groups, deform_groups = channels // weight.shape[1], offset.shape[1] // (2 * taps)
    rows, factors = _corners(offset, mask, (height, width), weight.shape[2:], (stride, padding, dilation))
    pixels = x.permute(0, 2, 3, 1).reshape(-1, channels // deform_groups)
    columns = F.embedding_bag(rows.flatten(0, -2), pixels, per_sample_weights=factors.flatten(0, -2), mode="sum")
    if groups == 1:
        columns = columns.view(-1, taps, channels)
        if len(columns) < len(weight):  # the smaller of both is brought into the other's order
            out = columns.transpose(1, 2).flatten(1) @ weight.flatten(1).t()
        else:
            out = columns.flatten(1) @ weight.flatten(2).transpose(1, 2).flatten(1).t()
    else:
        per_group = columns.view(-1, taps, groups, weight.shape[1])
        kernels = weight.flatten(2).unflatten(0, (groups, -1))
        out = torch.einsum("nkgc,gock->ngo", per_group, kernels).flatten(1)
    out = out if bias is None else out + bias
    return out.view(batch, *offset.shape[2:], -1).permute(0, 3, 1, 2)


def _corners(
    offset: Tensor, mask: Tensor | None, size: Sizes2d, kernel: torch.Size, geometry: tuple[Sizes2d, Sizes2d, Sizes2d]
) -> tuple[Tensor, Tensor]:
    """Return which rows of the map each place is a sum of, and with which factors: both (B, h, w, K, D, 4).

    A corner outside of the map is the row of the nearest pixel with the factor 0.
    """
    batch, _, out_height, out_width = offset.shape
    taps = kernel.numel()
    moved = offset.view(batch, -1, taps, 2, out_height, out_width).permute(3, 0, 4, 5, 2, 1)  # (2, B, h, w, K, D)
    lows, highs, parts = [], [], []
    for axis in range(2):
        place = moved[axis] + _regular(axis, (out_height, out_width), kernel, geometry).to(moved)
        place = place.clamp(-2, size[axis] + 1)  # from -1 and from the size on, every corner lies outside
        floor = place.detach().floor()
        part = place - floor
        low = floor.long()
        inside = [(low >= 0) & (low < size[axis]), (low >= -1) & (low < size[axis] - 1)]
        parts.append(((1 - part) * inside[0], part * inside[1]))
        lows.append(low.clamp(0, size[axis] - 1))
        highs.append((low + 1).clamp(0, size[axis] - 1))
    modulation = 1 if mask is None else mask.view(batch, -1, taps, out_height, out_width).permute(0, 3, 4, 2, 1)
    top, bottom = parts[0][0] * modulation, parts[0][1] * modulation
    factors = [top * parts[1][0], top * parts[1][1], bottom * parts[1][0], bottom * parts[1][1]]
    deform_groups = moved.shape[-1]
    images = torch.arange(batch, device=offset.device).view(-1, 1, 1, 1, 1) * (size[0] * size[1])
    group = torch.arange(deform_groups, device=offset.device)
    upper, lower = images + lows[0] * size[1], images + highs[0] * size[1]
    corners = [upper + lows[1], upper + highs[1], lower + lows[1], lower + highs[1]]
    return torch.stack([corner * deform_groups + group for corner in corners], -1), torch.stack(factors, -1)


def _regular(axis: int, out_size: Sizes2d, kernel: torch.Size, geometry: tuple[Sizes2d, Sizes2d, Sizes2d]) -> Tensor:
    """Return the places of an ordinary convolution along one axis, (h, 1, K, 1) or (1, w, K, 1)."""
    stride, padding, dilation = (pair[axis] for pair in geometry)
    first = torch.arange(out_size[axis]) * stride - padding
    tap = torch.arange(kernel[axis]) * dilation
    tap = tap.repeat_interleave(kernel[1]) if axis == 0 else tap.repeat(kernel[0])
    return (first[:, None] + tap).view(*((-1, 1) if axis == 0 else (1, -1)), len(tap), 1)


def _check(
    x: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, geometry: tuple[Sizes2d, Sizes2d, Sizes2d]
) -> None:
    """Refuse shapes that do not fit together."""
    taps, channels = weight.shape[2] * weight.shape[3], x.shape[1]
    if x.ndim != 4 or channels % weight.shape[1] or len(weight) % (channels // weight.shape[1]):
        raise ConfigError(f"deform_conv2d: a weight {tuple(weight.shape)} does not fit to a map {tuple(x.shape)}")
    deform_groups, rest = divmod(offset.shape[1], 2 * taps)
    if rest or not deform_groups or channels % deform_groups:
        raise ConfigError(
            f"deform_conv2d: {offset.shape[1]} channels of offsets: should be 2 x {taps} taps x a divisor of the "
            f"{channels} channels"
        )
    size = [
        (x.shape[2 + axis] + 2 * padding[axis] - dilation[axis] * (weight.shape[2 + axis] - 1) - 1) // stride[axis] + 1
        for axis, (stride, padding, dilation) in enumerate([geometry, geometry])
    ]
    expected = {"offset": (offset, 2 * deform_groups * taps), "mask": (mask, deform_groups * taps)}
    for name, (given, width) in expected.items():
        wanted = (len(x), width, *size)
        if given is not None and tuple(given.shape) != wanted:
            raise ConfigError(f"deform_conv2d: {name} of shape {tuple(given.shape)}: should be {wanted}")
