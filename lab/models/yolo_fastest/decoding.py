"""From YOLO-FastestV2's maps to boxes, for a whole batch at once, and class-wise suppression.

Most cells of most images hold nothing: ``likely_boxes`` looks at the objectness first, and computes classes and boxes
of the few anchors that are left.

Names: B images, K classes, A anchors of a cell, h and w cells of a map, N all boxes of an image, n candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.ops.boxes import box_cxcywh_to_xyxy, reach_into
from lab.ops.images import own_cells
from lab.ops.precision import full_precision
from lab.structures import DetectionPredictions


def anchors_of(anchors: Sequence[float], scale: int, num_scales: int, device: torch.device) -> Tensor:
    """Return (A, 2) width and height in pixels of the anchors of one map; nothing waits for the device."""
    sizes = torch.tensor(anchors, dtype=torch.float32).view(num_scales, -1, 2)[scale]
    return sizes.to(device, non_blocking=True)


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
        raw = reg.permute(0, 2, 3, 1).reshape(batch, height, width, num_anchors, 4)
        rows, columns = (torch.arange(number, device=reg.device) for number in (height, width))
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)[:, :, None]
        boxes.append(_placed(raw, grid, sizes, stride).flatten(1, 3))
        best, label = _best(cls, classification)
        scores.append((obj.sigmoid() * best[:, None]).permute(0, 2, 3, 1).flatten(1))
        labels.append(label[..., None].expand(-1, -1, -1, num_anchors).flatten(1))
    return torch.cat(boxes, dim=1), torch.cat(scores, dim=1), torch.cat(labels, dim=1)


def _placed(raw: Tensor, cells: Tensor, sizes: Tensor, stride: int) -> Tensor:
    """Return boxes (..., 4) xyxy in pixels of the logits (..., 4), in cells (..., 2), of anchors (..., 2)."""
    raw = raw.sigmoid() * 2
    centers = (raw[..., :2] - 0.5 + cells) * stride
    return box_cxcywh_to_xyxy(torch.cat((centers, raw[..., 2:] ** 2 * sizes), dim=-1))


def _best(logits: Tensor, classification: str) -> tuple[Tensor, Tensor]:
    """Return the probability of the best class of (., K, ...) and its number."""
    best, label = (logits.softmax(1) if classification == "softmax" else logits.sigmoid()).max(dim=1)
    return best, label


@dataclass
class LikelyBoxes:
    """Boxes that may be shown, one image after the other, each image's by map, row, column and anchor.

    Attributes:
        image: (n,) int64.
        boxes: (n, 4) xyxy.
        scores: (n,) in 0..1.
        labels: (n,) int64.
    """

    image: Tensor
    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def take(self, chosen: Tensor) -> LikelyBoxes:
        """Return some of them, by a mask or by their numbers."""
        return LikelyBoxes(self.image[chosen], self.boxes[chosen], self.scores[chosen], self.labels[chosen])


def likely_boxes(
    maps: Sequence[Tensor],
    image_sizes: Tensor,
    strides: Sequence[int],
    anchors: Sequence[float],
    classification: str,
    min_score: float,
) -> LikelyBoxes:
    """Return the boxes of finite numbers whose score is above ``min_score``, computed for these alone.

    Cells that begin in an image's padding and boxes outside of the image are left out. The number of the others depends
    on the data, so the host waits for the device.

    Args:
        maps: as for ``decode``.
        image_sizes: (B, 2) (height, width) of each image without its padding.
        strides: as for ``decode``.
        anchors: as for ``decode``.
        classification: as for ``decode``.
        min_score: of objectness times the probability of the best class; no score is above the objectness.
    """
    found = []
    for scale, stride in enumerate(strides):
        reg, obj, cls = maps[3 * scale : 3 * scale + 3]
        sizes = anchors_of(anchors, scale, len(strides), reg.device)
        objects = full_precision(obj).sigmoid().permute(0, 2, 3, 1)
        own, _ = own_cells(image_sizes, (stride, stride), objects.shape[1:3])
        likely = (objects > min_score) & own[..., None]
        cells = likely.any(dim=-1)  # whose anchors share their classes
        best, label = _best(full_precision(cls.permute(0, 2, 3, 1)[cells]), classification)
        cell = (cells.flatten().cumsum(0) - 1).view(cells.shape)
        image, row, column, anchor = place = likely.nonzero(as_tuple=True)
        cell = cell[image, row, column]
        raw = full_precision(reg.unflatten(1, (len(sizes), 4)).permute(0, 3, 4, 1, 2)[place])
        boxes = _placed(raw, torch.stack((column, row), dim=-1), sizes[anchor], stride)
        found.append((image, boxes, objects[place] * best[cell], label[cell]))
    joined = LikelyBoxes(*(torch.cat(parts) for parts in zip(*found, strict=True)))
    reaching = reach_into(joined.boxes, image_sizes[joined.image])
    joined = joined.take((joined.scores > min_score) & joined.boxes.isfinite().all(dim=-1) & reaching)
    return joined.take(joined.image.argsort(stable=True))


def suppress(found: LikelyBoxes, batch: int, iou: float, most: int) -> DetectionPredictions:
    """Keep the boxes that no better one of the same image and class overlaps, best first.

    Boxes of other classes are moved apart, in float64, so that the distance costs no precision; on a GPU those of other
    images too, for one call. On a CPU, where a call costs little, it is one for each image: a call compares all pairs.

    Args:
        found: the boxes.
        batch: B.
        iou: boxes that overlap more are suppressed.
        most: the most boxes that are kept for an image.

    Returns:
        (B, Q) predictions; Q is the largest number that an image keeps, and rows that an image lacks have score 0.
    """
    from torchvision.ops import nms

    apart, scores = _apart(found), found.scores.double()
    if apart.is_cpu:
        sizes = torch.bincount(found.image, minlength=batch).tolist()
        starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
        parts = zip(starts, apart.split(sizes), scores.split(sizes), strict=False)
        kept = torch.cat([nms(boxes, values, iou)[:most] + start for start, boxes, values in parts] or [found.image])
    else:
        kept = nms(apart, scores, iou)
        kept = kept[found.image[kept].argsort(stable=True)]  # by image, best first
    shown = found.take(kept)
    counts = torch.bincount(shown.image, minlength=batch)
    rank = torch.arange(len(kept), device=counts.device) - (counts.cumsum(0) - counts)[shown.image]
    width = min(most, int(counts.max())) if batch else 0
    first = rank < width
    shown, rank = shown.take(first), rank[first]
    result = DetectionPredictions(
        shown.boxes.new_zeros(batch, width, 4),
        shown.scores.new_zeros(batch, width),
        shown.labels.new_zeros(batch, width),
    )
    result.boxes[shown.image, rank] = shown.boxes
    result.scores[shown.image, rank] = shown.scores
    result.labels[shown.image, rank] = shown.labels
    return result


def _apart(found: LikelyBoxes) -> Tensor:
    """Return the boxes (n, 4) in float64, moved so far that only those of one group can overlap."""
    boxes = found.boxes.double()
    if not len(boxes):
        return boxes
    low, high = boxes.min(), boxes.max()
    group = found.labels if boxes.is_cpu else found.image * (found.labels.max() + 1) + found.labels
    return boxes - low + (group * (high - low + 1))[:, None]
