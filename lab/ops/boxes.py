"""Boxes: conversions and overlaps.

``xyxy`` is (left, top, right, bottom), ``cxcywh`` is (centre x, centre y, width, height). All functions take any number
of leading dimensions, keep gradients and never wait for a device. GIoU is that of Rezatofighi et al., "Generalized
Intersection over Union", CVPR 2019, section 3; CIoU that of Zheng et al., "Distance-IoU Loss", AAAI 2020, section 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_EPS = 1e-7


def box_cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from centre and size to corners."""
    center, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((center - 0.5 * size, center + 0.5 * size), dim=-1)


def box_xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from corners to centre and size."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def box_area(boxes: Tensor) -> Tensor:
    """Return the areas (...) of xyxy boxes (..., 4)."""
    size = boxes[..., 2:] - boxes[..., :2]
    return size[..., 0] * size[..., 1]


def paired_iou(boxes_a: Tensor, boxes_b: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and union (...) of xyxy boxes, elementwise; shapes (..., 4) broadcast."""
    low = torch.maximum(boxes_a[..., :2], boxes_b[..., :2])
    high = torch.minimum(boxes_a[..., 2:], boxes_b[..., 2:])
    size = (high - low).clamp(min=0)
    intersection = size[..., 0] * size[..., 1]
    union = box_area(boxes_a) + box_area(boxes_b) - intersection
    return intersection / union, union


def paired_generalized_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Return GIoU (...) in -1..1 of xyxy boxes, elementwise; shapes (..., 4) broadcast.

    Degenerate boxes give NaN or a value outside of the range instead of an error: a check would wait for the device.
    """
    iou, union = paired_iou(boxes_a, boxes_b)
    low = torch.minimum(boxes_a[..., :2], boxes_b[..., :2])
    high = torch.maximum(boxes_a[..., 2:], boxes_b[..., 2:])
    size = (high - low).clamp(min=0)
    hull = size[..., 0] * size[..., 1]
    return iou - (hull - union) / hull


def complete_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Return CIoU (...) of cxcywh boxes (..., 4), elementwise.

    Zheng et al., "Distance-IoU Loss", AAAI 2020, section 4.3: IoU minus the squared distance of the centres over that
    of the corners of the hull, minus a measure of unlike shapes, whose weight has no gradient.
    """
    corners_a, corners_b = box_cxcywh_to_xyxy(boxes_a), box_cxcywh_to_xyxy(boxes_b)
    iou, _ = paired_iou(corners_a, corners_b)
    low = torch.minimum(corners_a[..., :2], corners_b[..., :2])
    high = torch.maximum(corners_a[..., 2:], corners_b[..., 2:])
    diagonal = ((high - low) ** 2).sum(dim=-1) + _EPS
    distance = ((boxes_a[..., :2] - boxes_b[..., :2]) ** 2).sum(dim=-1)
    slants = [torch.atan(boxes[..., 2] / (boxes[..., 3] + _EPS)) for boxes in (boxes_a, boxes_b)]
    shape = 4 / math.pi**2 * (slants[1] - slants[0]) ** 2
    with torch.no_grad():
        weight = shape / (1 - iou + shape + _EPS)
    return iou - distance / diagonal - weight * shape


def box_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Return the IoU (..., N, M) of every pair of xyxy boxes (..., N, 4) and (..., M, 4)."""
    return paired_iou(boxes_a.unsqueeze(-2), boxes_b.unsqueeze(-3))[0]


def generalized_box_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Return the GIoU (..., N, M) of every pair of xyxy boxes (..., N, 4) and (..., M, 4)."""
    return paired_generalized_iou(boxes_a.unsqueeze(-2), boxes_b.unsqueeze(-3))


def image_index(counts: Sequence[int], device: torch.device | str) -> Tensor:
    """Return (T,) int64, the image that each packed box belongs to; one upload, from host integers."""
    index = torch.repeat_interleave(torch.tensor(counts, dtype=torch.int64))
    return index.to(device, non_blocking=True)


def normalize_boxes(boxes: Tensor, sizes: Tensor, image: Tensor) -> Tensor:
    """Turn packed xyxy pixel boxes into cxcywh in 0..1 of their own images.

    Args:
        boxes: (T, 4) xyxy pixels.
        sizes: (B, 2) (height, width) of each image without its padding.
        image: (T,) the image that each box belongs to.

    Returns:
        (T, 4) float32 cxcywh.
    """
    scale = sizes.float().flip(-1).repeat(1, 2)[image]
    return box_xyxy_to_cxcywh(boxes.float()) / scale


def in_originals(boxes: Tensor, sizes: Tensor, original_sizes: Tensor, clip: bool) -> Tensor:
    """Scale boxes to the images that came in.

    Args:
        boxes: (B, Q, 4) xyxy in pixels of the network's images.
        sizes: (B, 2) (height, width) of these without their padding.
        original_sizes: (B, 2) of the images that came in.
        clip: whether boxes end at the edges of these.
    """
    limits = original_sizes.to(boxes.dtype).flip(-1).repeat(1, 2)[:, None]
    scale = limits / sizes.to(boxes.dtype).flip(-1).repeat(1, 2)[:, None]
    scaled = boxes * scale
    return torch.minimum(scaled.clamp(min=0), limits) if clip else scaled


def reach_into(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Return (...) bool: whether boxes (..., 4) xyxy share something with images of (..., 2) height and width."""
    return ((boxes[..., 2:] > 0) & (boxes[..., :2] < sizes.flip(-1))).all(dim=-1)
