"""COCO's evaluation of boxes and masks: its twelve numbers and the average precision of each class.

Lin et al., "Microsoft COCO: Common Objects in Context" (ECCV 2014), as pycocotools defines it, and equal to it, in
arrays instead of dicts. Of all pairs of a detection and an object of one image and class only those that overlap by the
lowest threshold can match. Detections of one place in their images' order are matched at once, for all thresholds and
ranges of area.

Letters in shapes: K classes, D detections, T objects, P pairs, A ranges of area, C thresholds x ranges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

FlatArray = npt.NDArray[Any]

_PRECISIONS = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
_RECALLS = ("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large")
_SUMMARY = (*_PRECISIONS, *_RECALLS)

# In float64, as in pycocotools: float32 would change the result by 0.001.
_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALL_STEPS = np.linspace(0.0, 1.0, 101)
_AREAS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]], dtype=np.float64)
_MOST = (1, 10, 100)
_PAIRS = 1 << 20
"""Pairs whose overlap is computed at once."""


@dataclass(frozen=True)
class EvaluatedObjects:
    """Objects or detections, in any order.

    Attributes:
        image: (n,) int64, the place of the image among those evaluated.
        labels: (n,) int64 in 0..K-1.
        area: (n,) float64, square pixels.
        iscrowd: (n,) bool, of objects.
        scores: (n,) floats, of detections.
    """

    image: FlatArray
    labels: FlatArray
    area: FlatArray
    iscrowd: FlatArray
    scores: FlatArray

    def take(self, rows: FlatArray) -> EvaluatedObjects:
        """Return some of them."""
        return EvaluatedObjects(*(column[rows] for column in vars(self).values()))


Overlaps = Callable[[FlatArray, FlatArray, FlatArray, FlatArray], FlatArray]
"""A function from the rows (D,) of detections and (T,) of objects of some groups (an image and class each), one group
after the other, and their numbers in each group, to the IoU (P,) of all pairs of each group: detection by detection."""


def evaluate_coco(
    class_names: Sequence[str], num_images: int, truth: EvaluatedObjects, found: EvaluatedObjects, overlaps: Overlaps
) -> dict[str, float]:
    """Return COCO's twelve numbers and ``map_per_class/<name>``; NaN where the truth does not define one.

    Args:
        class_names: the K names, in label order; N/A has no number.
        num_images: the number of images, also those without annotations.
        truth: the objects.
        found: the detections.
        overlaps: computes the IoU of pairs; for a crowd the share of the detection that lies on it.
    """
    names = {label: f"map_per_class/{name}" for label, name in enumerate(class_names) if name != "N/A"}
    if not num_images:
        return dict.fromkeys((*_SUMMARY, *names.values()), math.nan)
    num_classes = len(class_names)
    true_rows, true_groups = _ordered(truth, num_classes)
    rows, groups = _ordered(found, num_classes, found.scores)
    places = np.arange(len(groups)) - np.searchsorted(groups, groups)
    kept = places < _MOST[-1]
    rows, groups, places = rows[kept], groups[kept], places[kept]
    pairs = _overlapping(rows, groups, true_rows, true_groups, overlaps)
    truth, found = truth.take(true_rows), found.take(rows)
    hits, ignored = _matched(truth, found, *pairs, places)
    precision, recall = _accumulated(num_classes, truth, found, hits, ignored, places)
    result = _summary(precision, recall)
    for label, name in names.items():
        result[name] = _mean(precision[0, :, :, label])
    return result


def box_overlaps(found: FlatArray, true: FlatArray, iscrowd: FlatArray) -> Overlaps:
    """Return the function that computes the IoU of boxes.

    Args:
        found: (D, 4) float32 boxes xyxy of the detections.
        true: (T, 4) float32 of the objects.
        iscrowd: (T,) bool.
    """
    # As in pycocotools: sides first, and from them corners.
    sides = [(boxes[:, :2].astype(np.float64), _sides(boxes)) for boxes in (found, true)]

    def overlaps(rows: FlatArray, true_rows: FlatArray, counts: FlatArray, true_counts: FlatArray) -> FlatArray:
        one, other = _pairs_of(counts, true_counts)
        one, other = rows[one], true_rows[other]
        (corner, side), (true_corner, true_side) = (
            (start[chosen], size[chosen]) for (start, size), chosen in zip(sides, (one, other), strict=True)
        )
        shared = np.minimum(corner + side, true_corner + true_side) - np.maximum(corner, true_corner)
        inside = np.where((shared > 0).all(1), shared[:, 0] * shared[:, 1], 0.0)
        area = side[:, 0] * side[:, 1]
        union = np.where(iscrowd[other], area, area + true_side[:, 0] * true_side[:, 1] - inside)
        return np.divide(inside, union, out=np.zeros_like(inside), where=inside > 0)

    return overlaps


def box_areas(boxes: FlatArray) -> FlatArray:
    """Return the areas (n,) float64 of boxes (n, 4) xyxy."""
    sides = _sides(boxes)
    return np.asarray(sides[:, 0] * sides[:, 1])


def count_measured(values: Mapping[str, float]) -> int:
    """Return the number of classes in COCO's means: those whose own precision is defined."""
    return sum(not math.isnan(value) for name, value in values.items() if name.startswith("map_per_class/"))


def _sides(boxes: FlatArray) -> FlatArray:
    return np.asarray(boxes[:, 2:].astype(np.float64) - boxes[:, :2])


def _ordered(side: EvaluatedObjects, num_classes: int, scores: FlatArray | None = None) -> tuple[FlatArray, FlatArray]:
    """Return rows in order of their group (image and class), in it the highest score first, and the groups."""
    groups = side.image.astype(np.int64) * num_classes + side.labels
    rows = np.argsort(groups, kind="stable") if scores is None else np.lexsort((-scores, groups))
    return rows, groups[rows]


def _pairs_of(counts: FlatArray, true_counts: FlatArray) -> tuple[FlatArray, FlatArray]:
    """Return the places (P,) of detection and object of all pairs of each group, detection by detection."""
    each = np.repeat(true_counts, counts)  # pairs of each detection
    one = np.repeat(np.arange(len(each)), each)
    first = np.repeat(np.cumsum(true_counts) - true_counts, counts)
    return one, np.arange(len(one)) - np.repeat(np.cumsum(each) - each - first, each)


def _overlapping(
    rows: FlatArray, groups: FlatArray, true_rows: FlatArray, true_groups: FlatArray, overlaps: Overlaps
) -> tuple[FlatArray, FlatArray, FlatArray]:
    """Return the pairs that overlap by the lowest threshold: places of detection and object in order, and IoU."""
    both = np.intersect1d(groups, true_groups)
    starts, true_starts = np.searchsorted(groups, both), np.searchsorted(true_groups, both)
    counts = np.searchsorted(groups, both, side="right") - starts
    true_counts = np.searchsorted(true_groups, both, side="right") - true_starts
    part = np.cumsum(counts * true_counts) // _PAIRS
    edges = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(both)] if len(both) else []
    ones, others, ious = [rows[:0]], [rows[:0]], [np.zeros(0)]
    for first, last in pairwise(edges):
        one = _ranges(starts[first:last], counts[first:last])
        other = _ranges(true_starts[first:last], true_counts[first:last])
        iou = overlaps(rows[one], true_rows[other], counts[first:last], true_counts[first:last])
        near = np.flatnonzero(iou >= _THRESHOLDS[0])
        left, right = _pairs_of(counts[first:last], true_counts[first:last])
        ones.append(one[left[near]])
        others.append(other[right[near]])
        ious.append(iou[near])
    return np.concatenate(ones), np.concatenate(others), np.concatenate(ious)


def _ranges(starts: FlatArray, counts: FlatArray) -> FlatArray:
    return np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)


def _outside(areas: FlatArray) -> FlatArray:
    """Return whether areas (n,) are outside of each range, (n, A)."""
    return np.asarray((areas[:, None] < _AREAS[:, 0]) | (areas[:, None] > _AREAS[:, 1]))


def _matched(
    truth: EvaluatedObjects,
    found: EvaluatedObjects,
    one: FlatArray,
    other: FlatArray,
    iou: FlatArray,
    places: FlatArray,
) -> tuple[FlatArray, FlatArray]:
    """Match each image's detections, best first, each with the object that it overlaps most and that is still free.

    An object that counts goes before one that is ignored, the last before others of equal overlap.

    Args:
        truth: objects in order.
        found: detections in order.
        one: (P,) the detection of each pair, ascending.
        other: (P,) the object.
        iou: (P,) their overlap.
        places: (D,) how many detections of its image and class are before each.

    Returns:
        Whether a detection is matched, and whether it is ignored, (A, thresholds, D) bool each.
    """
    shape = (len(_AREAS), len(_THRESHOLDS))
    outside = truth.iscrowd[:, None] | _outside(truth.area)
    hits = np.zeros((len(found.labels), *shape), dtype=bool)
    ignored = np.repeat(_outside(found.area)[:, :, None], shape[1], axis=2)
    rank = np.empty(len(iou), dtype=np.int64)
    by_rank = np.lexsort((other, iou))
    rank[by_rank] = np.arange(len(iou))
    taken = np.zeros((len(truth.labels), *shape), dtype=bool)
    order = np.argsort(places[one], kind="stable")
    limits = np.minimum(_THRESHOLDS, 1 - 1e-10)
    for pairs in np.split(order, np.flatnonzero(np.diff(places[one][order])) + 1) if len(order) else ():
        objects = other[pairs]
        free = ~taken[objects] | truth.iscrowd[objects][:, None, None]
        free &= (iou[pairs][:, None] >= limits)[:, None]
        key = rank[pairs][:, None] + len(iou) * ~outside[objects]
        starts = np.flatnonzero(np.diff(one[pairs], prepend=-1))
        best = np.maximum.reduceat(np.where(free, key[:, :, None], -1), starts) if len(pairs) else np.zeros((0, *shape))
        row, area, step = np.nonzero(best >= 0)
        chosen, taker = other[by_rank[best[row, area, step] % len(iou)]], one[pairs[starts]][row]
        taken[chosen, area, step] = hits[taker, area, step] = True
        ignored[taker, area, step] = outside[chosen, area]
    return hits.transpose(1, 2, 0), ignored.transpose(1, 2, 0)


def _accumulated(
    num_classes: int,
    truth: EvaluatedObjects,
    found: EvaluatedObjects,
    hits: FlatArray,
    ignored: FlatArray,
    places: FlatArray,
) -> tuple[FlatArray, FlatArray]:
    """Return precision (A, thresholds, recalls, K) of 100 detections, and recall (A + 2, thresholds, K); -1: undefined.

    The last two of recall are of one and ten detections of an image, of any area.
    """
    precision = np.full((len(_AREAS), len(_THRESHOLDS), len(_RECALL_STEPS), num_classes), -1.0)
    recall = np.full((len(_AREAS) + 2, len(_THRESHOLDS), num_classes), -1.0)
    counting = ~(truth.iscrowd[:, None] | _outside(truth.area))
    # Stable, so that of equal scores the first image's comes first.
    rows = np.lexsort((-found.scores, found.labels))
    edges = np.searchsorted(found.labels[rows], np.arange(num_classes + 1))
    for label in range(num_classes):
        chosen = rows[edges[label] : edges[label + 1]]
        for area, total in enumerate(counting[truth.labels == label].sum(0).tolist()):
            if not total:
                continue
            right = hits[area][:, chosen] & ~ignored[area][:, chosen]
            precision[area, :, :, label] = _curve(right, ~hits[area][:, chosen] & ~ignored[area][:, chosen], total)
            recall[area, :, label] = right.sum(1) / total
            if area == 0:
                for index, most in enumerate(_MOST[:2]):
                    recall[len(_AREAS) + index, :, label] = right[:, places[chosen] < most].sum(1) / total
    return precision, recall


def _curve(right: FlatArray, wrong: FlatArray, total: int) -> FlatArray:
    """Return the precision (thresholds, recalls) at which each recall is reached, 0 if it is not."""
    result = np.zeros((len(right), len(_RECALL_STEPS)))
    true, false = np.cumsum(right, axis=1, dtype=np.float64), np.cumsum(wrong, axis=1, dtype=np.float64)
    precision = np.divide(true, true + false, out=np.zeros_like(true), where=true > 0)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    for row, reached in enumerate(true / total):
        place = np.searchsorted(reached, _RECALL_STEPS)
        inside = place < len(reached)
        result[row, inside] = precision[row, place[inside]]
    return result


def _summary(precision: FlatArray, recall: FlatArray) -> dict[str, float]:
    halves = [int(np.argmin(np.abs(_THRESHOLDS - threshold))) for threshold in (0.5, 0.75)]
    precisions = [precision[0], precision[0][halves[0]], precision[0][halves[1]], *precision[1:]]
    recalls = [*recall[len(_AREAS) :], *recall[: len(_AREAS)]]
    return dict(zip(_SUMMARY, map(_mean, (*precisions, *recalls)), strict=True))


def _mean(values: FlatArray) -> float:
    defined = values[values > -1]
    return float(np.mean(defined)) if defined.size else math.nan
