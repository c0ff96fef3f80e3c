"""Mean IoU, pixel accuracy and panoptic quality, exact on any number of ranks: all states are sums of counts.

Images differ in size, so predictions are lists, and the truth's pixels are packed one image after the other.
torchmetrics' classes are not used: they take maps of one size, loop over classes (panoptic quality) or keep float32
counts, and do not support crowds. The tests compare these metrics with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from lab.structures import SegmentationTruth, Segments


class SemanticMetrics(Metric):
    """Counts of true and predicted classes, and the metrics computed from them.

    ``miou`` is the mean over the classes that occur in the truth or the prediction (Everingham et al., 2010, as in
    mmsegmentation and torchmetrics), ``mean_accuracy`` over those in the truth, ``pixel_accuracy`` over all pixels that
    have a class. A value that is not defined is NaN.

    Args:
        class_names: the K names, in label order.

    Attributes:
        classes_measured: after ``compute``, the number of classes in ``miou``.
        counted: after ``compute``, the pixels (K, K) int64 of all ranks, true classes in rows.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    confusion: Tensor

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        size, self.classes_measured = len(self.class_names), 0
        self.counted: Tensor | None = None
        self.add_state("confusion", torch.zeros(size, size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Sequence[Tensor], truth: SegmentationTruth, valid: Tensor) -> None:
        """Add a batch.

        Args:
            predicted: B maps (h, w) of classes 0..K-1, in the stored sizes.
            truth: the truth of the same images.
            valid: (B,) bool, False for images that only pad the batch.
        """
        for row, counts in enumerate(valid.tolist()):
            if counts:
                self._add(predicted[row], truth.rows(slice(row, row + 1)))

    def _add(self, found: Tensor, truth: SegmentationTruth) -> None:
        # Pixels of a segment are of one class: it is enough to look up the classes of segments.
        shared = shared_pixels(truth.pixels, len(truth.labels), found.flatten(), len(self.class_names))[1:]
        self.confusion.index_add_(0, truth.labels, shared * ~truth.iscrowd[:, None])

    def compute(self) -> dict[str, float]:
        """Return ``miou``, ``mean_accuracy`` and ``pixel_accuracy``."""
        iou, accuracy = self.of_classes()
        self.counted = self.confusion.cpu()
        self.classes_measured = int((~iou.isnan()).sum())
        total = int(self.confusion.sum())
        return {
            "miou": _mean(iou),
            "mean_accuracy": _mean(accuracy),
            "pixel_accuracy": float(self.confusion.diag().sum()) / total if total else math.nan,
        }

    def of_classes(self) -> tuple[Tensor, Tensor]:
        """Return IoU and accuracy (K,) float64 of each class, NaN where not defined."""
        hits, true, found = (item.double() for item in (self.confusion.diag(), *map(self.confusion.sum, (1, 0))))
        return hits / (true + found - hits), hits / true


class PanopticQuality(Metric):
    """PQ, SQ and RQ (Kirillov et al., "Panoptic Segmentation", CVPR 2019, section 4.1), computed as in panopticapi.

    A predicted and a true segment of the same class match if their IoU is above one half; pixels without a true segment
    do not count in the union. An unmatched prediction is not an error if more than half of it lies on such pixels and
    on the crowd of its class (the last crowd, if an image has several). Means are over the classes with a match or an
    error. A value that is not defined is NaN.

    Args:
        class_names: the K names, in label order.
        thing_labels: the classes that are things.

    Attributes:
        classes_measured: after ``compute``, the number of classes in ``pq``.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    iou_sum: Tensor
    matched: Tensor
    wrong: Tensor
    missed: Tensor

    def __init__(self, class_names: Sequence[str], thing_labels: Sequence[int]) -> None:
        super().__init__()
        self.class_names, self.thing_labels = tuple(class_names), frozenset(thing_labels)
        size, self.classes_measured = len(self.class_names), 0
        self.add_state("iou_sum", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("matched", "wrong", "missed"):
            self.add_state(name, torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Sequence[Segments], truth: SegmentationTruth, valid: Tensor) -> None:
        """Add a batch.

        Args:
            predicted: the segments of B images, in the stored sizes.
            truth: the truth of the same images.
            valid: (B,) bool, False for images that only pad the batch.
        """
        for row, counts in enumerate(valid.tolist()):
            if counts:
                self._add(predicted[row], truth.rows(slice(row, row + 1)))

    def _add(self, found: Segments, truth: SegmentationTruth) -> None:
        num_true, num_found, size = len(truth.labels), len(found.labels), len(self.class_names)
        # Number 0 is "no segment", in truth and prediction.
        numbers = found.segments.flatten() + 1
        shared = shared_pixels(truth.pixels, num_true, numbers, num_found + 1).double()
        area, found_area = shared[1:].sum(1), shared.sum(0)[1:]
        overlap, in_void = shared[1:, 1:], shared[0, 1:]
        union = area[:, None] + found_area - overlap - in_void
        same = truth.labels[:, None] == found.labels
        hit = same & ~truth.iscrowd[:, None] & (overlap > 0.5 * union)
        iou = torch.where(hit, overlap / union, 0.0).sum(1)
        is_matched, is_used = hit.any(1), hit.any(0)
        self.iou_sum.index_add_(0, truth.labels, iou)
        self.matched += torch.bincount(truth.labels[is_matched], minlength=size)
        self.missed += torch.bincount(truth.labels[~is_matched & ~truth.iscrowd & (area > 0)], minlength=size)
        crowd = same & truth.iscrowd[:, None]
        last = crowd & (crowd.long().sum(0) == crowd.long().cumsum(0))
        in_crowd = (overlap * last).sum(0)
        excused = in_void + in_crowd > 0.5 * found_area
        self.wrong += torch.bincount(found.labels[~is_used & ~excused & (found_area > 0)], minlength=size)

    def compute(self) -> dict[str, float]:
        """Return ``pq``, ``sq``, ``rq`` and the ``pq`` of things and of stuff."""
        quality, sharpness, recognition = self.of_classes()
        self.classes_measured = int((~quality.isnan()).sum())
        thing = torch.tensor([label in self.thing_labels for label in range(len(self.class_names))])
        thing = thing.to(quality.device)
        return {
            "pq": _mean(quality),
            "sq": _mean(sharpness),
            "rq": _mean(recognition),
            "pq_things": _mean(quality[thing]),
            "pq_stuff": _mean(quality[~thing]),
        }

    def of_classes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return PQ, SQ and RQ (K,) float64 of each class, NaN for classes that never occur."""
        matched = self.matched.double()
        weight = matched + 0.5 * self.wrong + 0.5 * self.missed
        quality, recognition = self.iou_sum / weight, matched / weight
        sharpness = torch.where(matched > 0, self.iou_sum / matched, 0.0)
        return quality, torch.where(weight > 0, sharpness, torch.nan), recognition


def shared_pixels(segments: Tensor, num_segments: int, found: Tensor, num_found: int) -> Tensor:
    """Return the number of pixels of each pair of a true segment and what was found there.

    Args:
        segments: (P,) int16 the segment of each pixel, 0..n-1, or ``NO_SEGMENT``.
        num_segments: n.
        found: (P,) integers 0..m-1.
        num_found: m; (n + 1) * m is below 2**31.

    Returns:
        (n + 1, m) int64; the first row is of pixels without a segment.
    """
    # In int32 this takes half as long as in int64.
    pairs = torch.add(found.int(), segments.int(), alpha=num_found).add_(num_found)
    return torch.bincount(pairs, minlength=(num_segments + 1) * num_found).view(num_segments + 1, num_found)


def _mean(values: Tensor) -> float:
    defined = values[~values.isnan()]
    return float(defined.mean()) if len(defined) else math.nan
