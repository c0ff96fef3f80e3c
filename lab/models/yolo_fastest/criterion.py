"""YOLO-FastestV2's loss: a box is learned by the anchors of about its size, in its cell and the nearest two others.

As published, but for the normalisers, which a contract of the house fixes. The published loss divides the terms of
boxes and classes by the number of matches of the micro-batch at each stride. Here each box's matches at a stride are
averaged first, and that is divided by the number of boxes of the whole step, so that the loss does not depend on how
the step was split. Objectness is a mean over the cells of an image and then over images, which is the published one
for images of one size. Nothing waits for the device: all candidates are computed, and those that do not match weigh 0.

Names: B images, T boxes of all images, A anchors, M = 5 cells (a box's own, left, above, right, below), K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.models.yolo_fastest.decoding import anchors_of
from lab.ops.boxes import (
    box_cxcywh_to_xyxy,
    box_xyxy_to_cxcywh,
    complete_iou,
    image_index,
    paired_generalized_iou,
)
from lab.ops.images import own_cells
from lab.ops.precision import full_precision
from lab.ranges import Flat, Ge, Len, OneOf, Weight
from lab.structures import DetectionTargets, Term

CLASSIFICATIONS = ("softmax", "sigmoid")
NUM_BOXES, NUM_IMAGES = "num_boxes", "num_images"
NEAR = 0.5
"""Of a cell: a centre nearer to a border is learned by the cell behind it too."""
OFFSETS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
"""What is subtracted from a centre, in cells."""


@dataclass(frozen=True)
class YoloLossOptions(Flat):
    """The numbers of matching and loss; the defaults are the published ones.

    Attributes:
        match_ratio: an anchor learns a box whose width and height are less than this many times larger or smaller.
        neighbour_cells: whether the two nearest cells learn a box too.
        box_loss: ``ciou``, or ``giou``.
        box_loss_weight: weight of the box term.
        objectness_weight: weight of the objectness term.
        objectness_balance: further weights of objectness at stride 16 and 32.
        class_loss_weight: weight of the class term.
    """

    match_ratio: Annotated[float, Ge(1)] = 2.0
    neighbour_cells: bool = True
    box_loss: Annotated[str, OneOf("ciou", "giou")] = "ciou"
    box_loss_weight: Weight = 3.2
    objectness_weight: Weight = 64.0
    objectness_balance: Annotated[Sequence[Weight], Len(2, 2)] = (1.0, 0.4)
    class_loss_weight: Weight = 32.0


LOSS_OPTIONS = YoloLossOptions()


@dataclass
class Matches:
    """What each of the (T, A, M) candidates of a map would learn.

    Attributes:
        matched: (T, A, M) bool.
        image, row, column: (T, A, M) int64, the cell, within the map.
        boxes: (T, A, M, 4) cxcywh in cells, the centre relative to the cell; ones where nothing matches, so that no
            gradient there is NaN.
    """

    matched: Tensor
    image: Tensor
    row: Tensor
    column: Tensor
    boxes: Tensor


class YoloTargeting:
    """Matching and loss.

    Args:
        strides: pixels of a cell of each map.
        anchors: width and height in pixels, A for each map.
        classification: ``softmax`` or ``sigmoid``.
        options: numbers and switches.
    """

    def __init__(
        self, strides: Sequence[int], anchors: Sequence[float], classification: str, options: YoloLossOptions
    ) -> None:
        self.strides = tuple(strides)
        self.anchors = tuple(anchors)
        self.classification = classification
        self.options = options

    def totals(self, targets: DetectionTargets) -> dict[str, float]:
        """Return this batch's number of boxes and of images."""
        return {NUM_BOXES: float(sum(targets.counts)), NUM_IMAGES: float(len(targets.counts))}

    def __call__(self, maps: Sequence[Tensor], targets: DetectionTargets) -> dict[str, Term]:
        """Return ``loss_box``, ``loss_objectness`` and ``loss_class``, summed over the maps.

        Args:
            maps: boxes (B, A * 4, h, w), objectness (B, A, h, w) and classes (B, K, h, w) of each stride.
            targets: boxes in pixels of the batch's images.
        """
        image = image_index(targets.counts, maps[0].device)
        sums = []
        for scale, stride in enumerate(self.strides):
            reg, obj, cls = (full_precision(part) for part in maps[3 * scale : 3 * scale + 3])
            anchors = anchors_of(self.anchors, scale, len(self.strides), reg.device) / stride
            cells, counts = own_cells(targets.sizes, (stride, stride), obj.shape[-2:])
            found = match(targets.boxes, image, stride, anchors, counts[image], self.options)
            weights = found.matched / found.matched.sum(dim=(1, 2), keepdim=True).clamp(min=1)
            balance = self.options.objectness_balance[scale]
            sums.append(
                torch.stack(
                    (
                        (self._box_losses(reg, anchors, found) * weights).sum(),
                        objectness_losses(obj, cells, found).sum() * balance,
                        (self._class_losses(cls, targets.labels, found) * weights).sum(),
                    )
                )
            )
        box, objectness, classes = torch.stack(sums).sum(dim=0).unbind()
        return {
            "loss_box": Term(box * self.options.box_loss_weight, NUM_BOXES),
            "loss_objectness": Term(objectness * self.options.objectness_weight, NUM_IMAGES),
            "loss_class": Term(classes * self.options.class_loss_weight, NUM_BOXES),
        }

    def _box_losses(self, reg: Tensor, anchors: Tensor, found: Matches) -> Tensor:
        """Return (T, A, M), 1 minus the overlap."""
        raw = reg.unflatten(1, (len(anchors), 4))
        anchor = torch.arange(len(anchors), device=reg.device)[:, None]
        raw = raw[found.image, anchor, :, found.row, found.column].sigmoid() * 2
        boxes = torch.cat((raw[..., :2] - 0.5, raw[..., 2:] ** 2 * anchors[:, None]), dim=-1)
        if self.options.box_loss == "giou":
            return 1 - paired_generalized_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(found.boxes))
        return 1 - complete_iou(boxes, found.boxes)

    def _class_losses(self, cls: Tensor, labels: Tensor, found: Matches) -> Tensor:
        """Return (T, A, M), the cross-entropy divided by K."""
        logits = cls[found.image, :, found.row, found.column]
        labels = labels[:, None, None].expand(found.matched.shape)
        if self.classification == "softmax":
            return (
                F.cross_entropy(logits.flatten(0, 2), labels.flatten(), reduction="none").view_as(labels)
                / (logits.shape[-1])
            )
        wanted = torch.zeros_like(logits).scatter_(-1, labels[..., None], 1.0)
        return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(dim=-1)


def match(
    boxes: Tensor, image: Tensor, stride: int, anchors: Tensor, limits: Tensor, options: YoloLossOptions
) -> Matches:
    """Find the anchors and cells of one map that learn each box.

    Args:
        boxes: (T, 4) xyxy pixels.
        image: (T,) the image of each.
        stride: pixels of a cell.
        anchors: (A, 2) width and height in cells.
        limits: (T, 2) rows and columns of the map that each box's image has.
        options: of the matching.
    """
    cells = box_xyxy_to_cxcywh(full_precision(boxes)) / stride
    center, size = cells[:, None, :2], cells[:, 2:]
    limits = limits.flip(-1)[:, None].to(cells.dtype)
    ratio = size[:, None] / anchors
    fits = (torch.maximum(ratio, 1 / ratio).amax(dim=-1) < options.match_ratio) & (size > 0).all(dim=-1, keepdim=True)
    offsets = torch.tensor(OFFSETS if options.neighbour_cells else OFFSETS[:1]).to(boxes.device, non_blocking=True)
    # Left and above where the centre is near that border and a cell is there; right and below from the other end.
    near = (center % 1 < NEAR) & (center > 1)
    far = ((limits - center) % 1 < NEAR) & (limits - center > 1)
    chosen = torch.cat((torch.ones_like(near[..., :1]), near, far), dim=-1)[..., : len(offsets)]
    own = torch.minimum((center - offsets * NEAR).floor().clamp(min=0), limits - 1).nan_to_num(0.0)
    column, row = own.long().unbind(dim=-1)
    shifted = torch.cat((center - own, size[:, None].expand(-1, len(offsets), -1)), dim=-1)
    shared = (len(boxes), len(anchors), len(offsets))
    matched = fits[:, :, None] & chosen
    return Matches(
        matched=matched,
        image=image[:, None, None].expand(shared),
        row=row[:, None].expand(shared),
        column=column[:, None].expand(shared),
        boxes=torch.where(matched[..., None], shifted[:, None], 1.0),
    )


def objectness_losses(obj: Tensor, cells: Tensor, found: Matches) -> Tensor:
    """Return (B,), the binary cross-entropy of objectness: a mean over the anchors and an image's own cells of a map.

    Args:
        obj: (B, A, h, w) logits.
        cells: (B, h, w) bool, those of each image.
        found: an anchor of a cell should find an object if any box matches it.
    """
    _, anchors, height, width = obj.shape
    anchor = torch.arange(anchors, device=obj.device)[:, None]
    place = ((found.image * anchors + anchor) * height + found.row) * width + found.column
    place = torch.where(found.matched, place, obj.numel())  # one more entry takes what does not match
    wanted = obj.new_zeros(obj.numel() + 1).scatter_(0, place.flatten(), 1.0)[:-1]
    losses = F.binary_cross_entropy_with_logits(obj, wanted.view(obj.shape), reduction="none").mean(dim=1)
    return torch.where(cells, losses, 0.0).sum(dim=(1, 2)) / cells.sum(dim=(1, 2))
