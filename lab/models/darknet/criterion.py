"""The loss of darknet's ``[yolo]`` layers: YOLOv3 (Redmon and Farhadi, 2018, section 2), with CIoU and further anchors.

An object is learned in the cell of its centre, by the anchor of all layers whose shape overlaps its own most, and by
each further anchor whose shape overlaps it by more than ``iou_thresh``. Everything else is background, but for boxes
that overlap an object by more than ``ignore_thresh`` and are sure of some class. Several objects in one place: its
classes are all of theirs, and box terms are divided by the number of these classes.

darknet's numbers are sums over an image and means over the images of a step, so all three terms here have the number of
images as normaliser, and nothing departs in that. Nothing waits for the device: all candidates are computed, and those
that do not match weigh 0.

Names: B images, T boxes of all images, M most boxes of an image, A anchors of a layer, N = A * h * w of its places,
P candidates (an object and an anchor), K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.errors import ConfigError
from lab.models.darknet.decoding import located, uploaded
from lab.models.darknet.learning import YoloLearning
from lab.ops.boxes import (
    box_cxcywh_to_xyxy,
    box_iou,
    box_xyxy_to_cxcywh,
    complete_iou,
    image_index,
    paired_generalized_iou,
)
from lab.ops.images import own_cells
from lab.ops.precision import full_precision
from lab.structures import DetectionTargets, Term

NUM_IMAGES = "num_images"


@dataclass
class Candidates:
    """Pairs of a place and an object; those that do not match point to a place after the last.

    Attributes:
        place: (P,) int64 in 0..B * N; B * N where it does not match.
        box: (P,) int64, the object.
        matched: (P,) bool.
    """

    place: Tensor
    box: Tensor
    matched: Tensor


class DarknetTargeting:
    """Matching and loss.

    Args:
        heads: of each ``[yolo]`` layer.
        scales: its ``scale_x_y``.
        name: of the network, for messages.
    """

    def __init__(self, heads: Sequence[YoloLearning], scales: Sequence[float], name: str) -> None:
        self.heads, self.scales, self.name = tuple(heads), tuple(scales), name

    def totals(self, targets: DetectionTargets) -> dict[str, float]:
        """Return this batch's number of images."""
        self._check()
        return {NUM_IMAGES: float(len(targets.counts))}

    def __call__(self, maps: Sequence[Tensor], size: tuple[int, int], targets: DetectionTargets) -> dict[str, Term]:
        """Return ``loss_box``, ``loss_objectness`` and ``loss_class``, summed over the maps.

        Args:
            maps: (B, A * (5 + K), h, w), what each ``[yolo]`` layer reads.
            size: (height, width) of the network's input in pixels.
            targets: boxes in pixels of that input.

        Raises:
            ConfigError: a layer's loss is not there.
        """
        self._check()
        image = image_index(targets.counts, maps[0].device)
        sums = []
        for head, scale, each in zip(self.heads, self.scales, maps, strict=True):
            sums.append(torch.stack(_terms(head, scale, full_precision(each), size, targets, image)))
        box, objectness, classes = torch.stack(sums).sum(dim=0).unbind()
        return {
            "loss_box": Term(box, NUM_IMAGES),
            "loss_objectness": Term(objectness, NUM_IMAGES),
            "loss_class": Term(classes, NUM_IMAGES),
        }

    def _check(self) -> None:
        for head in self.heads:
            if head.untrained:
                raise ConfigError(f"{self.name}: {head.untrained} of [yolo] is not there to train with; take it out")


def _terms(
    head: YoloLearning, scale: float, maps: Tensor, size: tuple[int, int], targets: DetectionTargets, image: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return box, objectness and class terms of one layer."""
    sizes = uploaded([head.sizes[index] for index in head.mask], maps)
    parts, boxes = located(maps, sizes, scale, size, head.box_gradient == "darknet")
    truths = targets.boxes.to(maps.dtype)
    chances = parts[..., 5:].detach().flatten(0, 3)
    with torch.no_grad():
        best, which = overlaps(box_cxcywh_to_xyxy(boxes.detach()).flatten(1, 3), truths, targets.counts)
        sure = chances.sigmoid().amax(dim=-1) > head.ignore_class_score
        ignored = (best > head.ignore_thresh).flatten() & sure
        found = match(head, truths, image, maps, parts.shape[2:4], size)
        if head.truth_thresh < 1:
            found = _joined(found, _overlapping(best, which, targets.counts, head.truth_thresh))
        labels = targets.labels[found.box] if len(truths) else found.box
        wanted = torch.zeros(len(ignored) + 1, parts.shape[-1] - 5, dtype=torch.bool, device=maps.device)
        wanted[found.place, labels] = True
        kinds = wanted.sum(dim=-1)
        shared = torch.zeros_like(kinds).index_add_(0, found.place, torch.ones_like(found.place))
        here = torch.zeros_like(ignored, dtype=maps.dtype)
        here = torch.cat((here, here.new_zeros(1))).index_fill_(0, found.place, 1.0)[:-1]
        rows, columns = parts.shape[2:4]
        own, _ = own_cells(targets.sizes, (size[0] / rows, size[1] / columns), (rows, columns))
        # Padding learns nothing: otherwise an image's loss would depend on the others of its batch.
        ignored |= ~own[:, None].expand(parts.shape[:4]).flatten()
    weight = found.matched.to(maps.dtype)
    place = found.place.clamp(max=len(ignored) - 1)
    box = _box_losses(head, parts, boxes, truths, found.box, place, sizes, size) * weight
    box = box / (kinds[found.place].clamp(min=1) if head.iou_thresh < 1 else 1)
    sharp = wanted[found.place].to(maps.dtype) * (1 - head.label_smooth_eps) + head.label_smooth_eps / 2
    classes = F.binary_cross_entropy_with_logits(parts[..., 5:].flatten(0, 3)[place], sharp, reduction="none").sum(-1)
    objectness = F.binary_cross_entropy_with_logits(parts[..., 4].flatten(), here, reduction="none")
    return (
        box.sum() * head.iou_normalizer,
        (objectness * torch.where(ignored, here, 1.0)).sum() * head.obj_normalizer,
        (classes * weight / shared[found.place].clamp(min=1)).sum() * head.cls_normalizer,
    )


def overlaps(boxes: Tensor, truths: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the IoU (B, N) of each box with the object of its image that it overlaps most, and which one that is.

    Args:
        boxes: (B, N, 4) xyxy.
        truths: (T, 4) xyxy, packed.
        counts: the number of objects of each image.
    """
    most = max(counts, default=0)
    if not most:
        return boxes.new_zeros(boxes.shape[:2]), torch.zeros(boxes.shape[:2], dtype=torch.int64, device=boxes.device)
    rank = torch.cat([torch.arange(count) for count in counts]).to(boxes.device, non_blocking=True)
    padded = boxes.new_zeros(len(boxes), most, 4)
    padded[image_index(counts, boxes.device), rank] = truths
    iou = box_iou(boxes, padded).nan_to_num(0.0)  # the rows that only pad have no area and overlap nothing
    best, which = iou.max(dim=-1)
    return best, which


def match(
    head: YoloLearning, truths: Tensor, image: Tensor, maps: Tensor, shape: Sequence[int], size: tuple[int, int]
) -> Candidates:
    """Return each object with each anchor of a layer, T * A candidates.

    Args:
        head: the layer.
        truths: (T, 4) xyxy pixels.
        image: (T,) the image of each.
        maps: gives the device and the number of images.
        shape: (h, w) of the map.
        size: (height, width) of the network's input.
    """
    rows, columns = shape
    boxes = box_xyxy_to_cxcywh(truths)
    shapes = uploaded(head.sizes, maps)
    both = torch.minimum(boxes[:, None, 2:], shapes).prod(dim=-1)
    iou = (both / (boxes[:, None, 2:].prod(dim=-1) + shapes.prod(dim=-1) - both)).nan_to_num(0.0)
    chosen = iou > head.iou_thresh
    if len(truths):
        chosen = chosen.scatter(1, iou.argmax(dim=1, keepdim=True), True)
    chosen = torch.stack([chosen[:, index] for index in head.mask], dim=1)
    column = (boxes[:, 0] / size[1] * columns).long().clamp(0, columns - 1)
    row = (boxes[:, 1] / size[0] * rows).long().clamp(0, rows - 1)
    anchor = torch.arange(len(head.mask), device=maps.device)
    place = ((image[:, None] * len(anchor) + anchor) * rows + row[:, None]) * columns + column[:, None]
    box = torch.arange(len(truths), device=maps.device)[:, None].expand_as(place)
    total = len(maps) * len(anchor) * rows * columns
    return Candidates(torch.where(chosen, place, total).flatten(), box.flatten(), chosen.flatten())


def _overlapping(best: Tensor, which: Tensor, counts: Sequence[int], limit: float) -> Candidates:
    """Return each place with the object that its box overlaps most."""
    first = torch.tensor([sum(counts[:index]) for index in range(len(counts))]).to(best.device, non_blocking=True)
    box = (first[:, None] + which).flatten().clamp(max=max(0, sum(counts) - 1))
    matched = (best > limit).flatten()
    place = torch.arange(best.numel(), device=best.device)
    return Candidates(torch.where(matched, place, best.numel()), box, matched)


def _joined(one: Candidates, other: Candidates) -> Candidates:
    if not len(one.box):  # no objects at all: there is nothing that a place could learn
        return one
    parts = ((one.place, other.place), (one.box, other.box), (one.matched, other.matched))
    return Candidates(*(torch.cat(pair) for pair in parts))


def _box_losses(
    head: YoloLearning,
    parts: Tensor,
    boxes: Tensor,
    truths: Tensor,
    box: Tensor,
    place: Tensor,
    sizes: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """Return (P,): 1 minus the overlap, or the squares of YOLOv3."""
    found, wanted = boxes.flatten(0, 3)[place], truths[box]
    if head.iou_loss == "ciou":
        return 1 - complete_iou(found, box_xyxy_to_cxcywh(wanted))
    if head.iou_loss == "giou":
        return 1 - paired_generalized_iou(box_cxcywh_to_xyxy(found), wanted)
    return squares(parts, box_xyxy_to_cxcywh(wanted), place, sizes, size)


def squares(parts: Tensor, wanted: Tensor, place: Tensor, sizes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (P,), the terms of YOLOv3's first form: small boxes weigh up to twice as much as one of the whole image.

    Centres cost the cross-entropy of their sigmoids, whose derivative is the difference that darknet passes on; sizes
    half a square of logarithms.

    Args:
        parts: (B, A, h, w, 5 + K).
        wanted: (P, 4) cxcywh pixels.
        place: (P,).
        sizes: (A, 2) anchors in pixels.
        size: (height, width) of the network's input.
    """
    rows, columns = parts.shape[2:4]
    raw = parts[..., :4].flatten(0, 3)[place]
    anchor = place // (rows * columns) % len(sizes)
    whole = uploaded((size[1], size[0]), raw)
    cells = wanted[:, :2] / whole * uploaded((columns, rows), raw)
    corner = torch.stack((place % columns, place // columns % rows), dim=-1)
    centre = F.binary_cross_entropy_with_logits(raw[:, :2], (cells - corner).clamp(0, 1), reduction="none")
    extent = 0.5 * (raw[:, 2:] - (wanted[:, 2:] / sizes[anchor]).clamp(min=1e-9).log()) ** 2
    return (centre + extent).sum(dim=-1) * (2 - (wanted[:, 2:] / whole).prod(dim=-1))
