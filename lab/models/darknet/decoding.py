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
    down = torch.arange(rows, device=maps.device, dtype=maps.dtype)[:, None]
    raw = parts[..., :2]
    places = raw.sigmoid() * scale - (scale - 1) / 2
    x = (places[..., 0] + across) * (size[1] / columns)
    y = (places[..., 1] + down) * (size[0] / rows)
    factor = parts[..., 2:4].exp()
    boxes = torch.cat((torch.stack((x, y), dim=-1), factor * sizes[:, None, None]), dim=-1)
    if as_darknet:
        whole = uploaded((size[1], size[0]) * 2, maps)
        passed = torch.cat((raw, factor), dim=-1)
        boxes = boxes.detach() + (passed - passed.detach()) * whole
    return parts, boxes


def uploaded(values: Sequence[float] | Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """Return numbers of the host as a tensor of the type and on the device of ``like``, without waiting for it."""
    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=True)
