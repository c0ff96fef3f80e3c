"""The average precision that the authors of YOLO-Fastest V2 publish; it is not COCO's.

It follows their evaluation as the reference notes describe it: at most 300 candidates an image with a score of 0.01 or
more; IoU with sides one pixel longer; a candidate is right if the box that it overlaps most, of any class, has an IoU
of 0.5 or more and was not taken by a better candidate, and if its class occurs somewhere in the image; AP is the whole
area below the precision envelope; the mean is over classes with an object. Crowds are left out of the truth, since the
label files that they read have none.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

MIN_SCORE, MAX_FOUND, MIN_IOU, MORE = 0.01, 300, 0.5, 1.0
NAME = "yolo_fastest_ap50"
"""The name of the metric, in the tables after the split."""
DESCRIPTION = (
    f"{NAME} is not COCO's: the evaluation of YOLO-Fastest's authors, IoU with sides one pixel longer, the best match "
    "of any class, all-point AP at 0.5"
)
MatchColumns = dict[str, np.ndarray[Any, Any]]


def yolo_fastest_ap(found: MatchColumns, true: MatchColumns) -> dict[str, float]:
    """Return ``yolo_fastest_ap50``; NaN without an object.

    Args:
        found: (N,) ``image``, ``boxes`` (N, 4), ``scores`` and ``labels`` of the candidates of all images.
        true: (T,) ``image``, ``boxes`` (T, 4), ``labels`` and ``iscrowd`` of the objects, sorted by image.
    """
    true = _chosen(true, np.flatnonzero(true["iscrowd"] == 0))
    found = _best(found)
    values = average_precisions(found["scores"], _hits(found, true), found["labels"], true["labels"])
    return {NAME: float(np.mean(values)) if values else math.nan}


def average_precisions(
    scores: np.ndarray[Any, Any], hits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]
) -> list[float]:
    """Return the area below the precision envelope of each class that has an object, in label order.

    Args:
        scores: (N,) of the candidates.
        hits: (N,) bool, whether each is right.
        labels: (N,) their classes.
        truth: (T,) the classes of the objects.
    """
    order = np.argsort(-scores, kind="stable")
    hits, labels = hits[order], labels[order]
    values = []
    for label in np.unique(truth):
        right = np.cumsum(hits[labels == label])
        recall = np.concatenate([[0.0], right / (truth == label).sum(), [1.0]])
        precision = np.concatenate([[0.0], right / np.arange(1, len(right) + 1), [0.0]])
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        values.append(float(((recall[1:] - recall[:-1]) * envelope[1:]).sum()))
    return values


def _best(found: MatchColumns) -> MatchColumns:
    """Return the candidates that count, by image and then by falling score."""
    found = _chosen(found, np.flatnonzero(found["scores"] >= MIN_SCORE))
    found = _chosen(found, np.lexsort((-found["scores"], found["image"])))
    image = found["image"]
    rank = np.arange(len(image)) - np.searchsorted(image, image)
    return _chosen(found, np.flatnonzero(rank < MAX_FOUND))


def _hits(found: MatchColumns, true: MatchColumns) -> np.ndarray[Any, Any]:
    """Return (N,) bool: whether each candidate, sorted by image and falling score, is right."""
    hits = np.zeros(len(found["image"]), dtype=bool)
    for image in np.intersect1d(true["image"], found["image"]):
        candidates, objects = _of_image(found, image), _of_image(true, image)
        overlap = pixel_iou(found["boxes"][candidates], true["boxes"][objects])
        nearest = overlap.argmax(axis=1)
        fits = overlap.max(axis=1) >= MIN_IOU
        fits &= np.isin(found["labels"][candidates], true["labels"][objects])
        able = np.flatnonzero(fits)
        _, first = np.unique(nearest[able], return_index=True)  # the best candidate takes the object
        hits[candidates[able[first]]] = True
    return hits


def _of_image(columns: MatchColumns, image: int) -> np.ndarray[Any, Any]:
    """Return the rows of an image; rows are sorted by image."""
    return np.arange(*np.searchsorted(columns["image"], [image, image + 1]))


def pixel_iou(boxes_a: np.ndarray[Any, Any], boxes_b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the IoU (N, M) of xyxy boxes (N, 4) and (M, 4) whose corners are pixels, both included."""
    a, b = boxes_a.astype(np.float64)[:, None], boxes_b.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + MORE
    shared = sides.clip(min=0).prod(axis=-1)
    area_a, area_b = (np.prod(box[..., 2:] - box[..., :2] + MORE, axis=-1) for box in (a, b))
    return shared / (area_a + area_b - shared + 1e-16)


def _chosen(columns: MatchColumns, rows: np.ndarray[Any, Any]) -> MatchColumns:
    return {name: column[rows] for name, column in columns.items()}
