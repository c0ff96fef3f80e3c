"""From YOLO-FastestV2's maps to boxes, for a whole batch at once, and class-wise suppression.

Names: B images, K classes, A anchors of a cell, h and w cells of a map, N all boxes of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lab.ops.boxes import box_cxcywh_to_xyxy
from lab.ops.precision import full_precision
from lab.structures import DetectionPredictions


def anchors_of(anchors: Sequence[float], scale: int, num_scales: int, device: torch.device) -> Tensor:
    """Return (A, 2) width and height in pixels of the anchors of one map; nothing waits for the device."""
    sizes = torch.tensor(anchors, dtype=torch.float32).view(num_scales, -1, 2)[scale]
    return sizes.to(device, non_blocking=True)


def own_cells(sizes: Tensor, stride: int, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return what is an image's own of a padded map: cells that do not begin beyond the image's edges.

    Args:
        sizes: (B, 2) (height, width) of each image without its padding.
        stride: pixels of a cell.
        shape: (h, w) of the map.

    Returns:
        (B, h, w) bool, and (B, 2) the number of rows and columns.
    """
    counts = (sizes / stride).ceil()
    rows, columns = (
        torch.arange(number, device=sizes.device) < counts[:, axis, None] for axis, number in enumerate(shape)
    )
    return rows[:, :, None] & columns[:, None], counts


def candidates(maps: Sequence[Tensor], sizes: Tensor, strides: Sequence[int], boxes: Tensor) -> Tensor:
    """Return (B, N) bool, the boxes of an image's own cells that reach into the image.

    Args:
        maps: see ``decode``.
        sizes: (B, 2) (height, width) of each image without its padding.
        strides: pixels of a cell, one for each three maps.
        boxes: (B, N, 4) xyxy in pixels of the network's input, as ``decode`` returns them.
    """
    own = []
    for scale, stride in enumerate(strides):
        _, num_anchors, *shape = maps[3 * scale + 1].shape
        cells, _ = own_cells(sizes, stride, shape)
        own.append(cells[..., None].expand(-1, -1, -1, num_anchors).flatten(1))
    reaching = (boxes[..., 2:] > 0).all(dim=-1) & (boxes[..., :2] < sizes.flip(1)[:, None]).all(dim=-1)
    return torch.cat(own, dim=1) & reaching


def decode(
    maps: Sequence[Tensor], strides: Sequence[int], anchors: Sequence[float], classification: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes (B, N, 4) xyxy in pixels, scores (B, N) and labels (B, N); by map, row, column, anchor.

    Args:
        maps: boxes (B, A * 4, h, w), objectness (B, A, h, w) and classes (B, K, h, w) of each stride.
        strides: pixels of a cell, one for each three maps.
        anchors: width and height in pixels, A for each stride.
        classification: ``softmax`` or ``sigmoid``.
    """
    boxes, scores, labels = [], [], []
    for scale, stride in enumerate(strides):
        reg, obj, cls = (full_precision(part) for part in maps[3 * scale : 3 * scale + 3])
        batch, num_anchors, height, width = obj.shape
        sizes = anchors_of(anchors, scale, len(strides), reg.device)
        raw = reg.permute(0, 2, 3, 1).reshape(batch, height, width, num_anchors, 4).sigmoid() * 2
        rows, columns = (torch.arange(number, device=reg.device) for number in (height, width))
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)[:, :, None]
        centers = (raw[..., :2] - 0.5 + grid) * stride
        boxes.append(box_cxcywh_to_xyxy(torch.cat((centers, raw[..., 2:] ** 2 * sizes), dim=-1)).flatten(1, 3))
        chances = cls.softmax(1) if classification == "softmax" else cls.sigmoid()
        best, label = chances.max(dim=1)
        scores.append((obj.sigmoid() * best[:, None]).permute(0, 2, 3, 1).flatten(1))
        labels.append(label[..., None].expand(-1, -1, -1, num_anchors).flatten(1))
    return torch.cat(boxes, dim=1), torch.cat(scores, dim=1), torch.cat(labels, dim=1)


def suppress(
    boxes: Tensor, scores: Tensor, labels: Tensor, min_score: float, iou: float, most: int
) -> DetectionPredictions:
    """Keep the boxes that no better one of the same image and class overlaps, best first: one call for the batch.

    Boxes of other images and classes are moved apart, in float64, so that the distance costs no precision. The number
    of candidates depends on the data, so the host waits for the device.

    Args:
        boxes: (B, N, 4) xyxy.
        scores: (B, N) in 0..1.
        labels: (B, N).
        min_score: scores that are not above it are left out.
        iou: boxes that overlap more are suppressed.
        most: the most boxes that are kept for an image.

    Returns:
        (B, Q) predictions; Q is the largest number that an image keeps, and rows that an image lacks have score 0.
    """
    from torchvision.ops import nms

    if boxes.is_meta:  # shapes only: none depends on values
        count = min(most, boxes.shape[1])
        return DetectionPredictions(boxes[:, :count], scores[:, :count], labels[:, :count])
    image, place = ((scores > min_score) & boxes.isfinite().all(dim=-1)).nonzero(as_tuple=True)
    found, values, kinds = boxes[image, place].double(), scores[image, place], labels[image, place]
    if len(found):
        low, high = found.min(), found.max()
        group = image * (kinds.max() + 1) + kinds
        kept = nms(found - low + (group * (high - low + 1))[:, None], values.double(), iou)
        kept = kept[image[kept].argsort(stable=True)]  # by image, best first
    else:
        kept = image
    image = image[kept]
    counts = torch.bincount(image, minlength=len(boxes))
    rank = torch.arange(len(kept), device=image.device) - (counts.cumsum(0) - counts)[image]
    width = min(most, int(counts.max())) if len(boxes) else 0
    kept, image, rank = (part[rank < width] for part in (kept, image, rank))
    result = DetectionPredictions(
        boxes.new_zeros(len(boxes), width, 4), scores.new_zeros(len(boxes), width), labels.new_zeros(len(boxes), width)
    )
    result.boxes[image, rank] = found[kept].to(boxes.dtype)
    result.scores[image, rank] = values[kept]
    result.labels[image, rank] = kinds[kept]
    return result
