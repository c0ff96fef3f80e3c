"""From the maps of ``[yolo]`` layers to boxes (YOLOv3, 2018, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def located(
    maps: Tensor, sizes: Tensor, scale: float, size: tuple[int, int], as_darknet: bool = False
) -> tuple[Tensor, Tensor]:
    """Return a layer's numbers (B, A, h, w, 5 + K) and its boxes (B, A, h, w, 4), cxcywh in pixels.

    Args:
        maps: (B, A * (5 + K), h, w).
        sizes: (A, 2) width and height of the anchors in pixels.
        scale: ``scale_x_y``.
        size: (height, width) of the network's input.
        as_darknet: the gradient is that of boxes as shares of the image, whose centres are the numbers themselves.
    """
    rows, columns = maps.shape[-2:]
    parts = maps.unflatten(1, (len(sizes), -1)).permute(0, 1, 3, 4, 2)
    across = torch.arange(columns, device=maps.device, dtype=maps.dtype)
    down = torch.arange(rows, device=maps.device, dtype=maps.dtype)
    corner = torch.stack([across.expand(rows, -1), down[:, None].expand(-1, columns)], -1)
    cell = uploaded((size[1] / columns, size[0] / rows), maps)
    centre = (parts[..., :2].sigmoid() * scale - (scale - 1) / 2 + corner) * cell
    factor = parts[..., 2:4].exp()
    extent = factor * sizes[:, None, None]
    if as_darknet:
        whole = uploaded((size[1], size[0]), maps)
        centre = centre.detach() + (parts[..., :2] - parts[..., :2].detach()) * whole
        extent = extent.detach() + (factor - factor.detach()) * whole
    return parts, torch.cat((centre, extent), dim=-1)


def uploaded(values: Sequence[float] | Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """Return numbers of the host as a tensor of the type and on the device of ``like``, without waiting for it."""
    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=True)
