"""Fits anchors to the boxes of a dataset: k-means with the distance 1 - IoU of boxes that share their centre.

Redmon and Farhadi, "YOLO9000: Better, Faster, Stronger" (CVPR 2017), section 2. The mean of a cluster does not always
raise the mean IoU, so the best anchors seen are returned.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lab.errors import ConfigError

MAX_ROUNDS = 300
MIN_IOU = 0.5
RATIOS = (2.0, 4.0)
"""The largest ratio of sides at which a box matches an anchor: YOLO-Fastest's and YOLOv5's."""
BoxSizes = npt.NDArray[np.float64]


class AnchorFit(NamedTuple):
    """Anchors, and how well they fit the boxes they were made from.

    Attributes:
        anchors: (K, 2) width and height, the smallest area first.
        mean_iou: mean over the boxes of the IoU with the best anchor.
        recall: share of the boxes with an anchor of an IoU of ``MIN_IOU`` or more.
        matched: share of the boxes with an anchor within each of ``RATIOS``.
    """

    anchors: BoxSizes
    mean_iou: float
    recall: float
    matched: tuple[float, ...]


def sizes_of(dataset: Any, size: tuple[int, int], letterbox: bool = False) -> BoxSizes:
    """Return (N, 2), width and height of all boxes in pixels of a network's input.

    Args:
        dataset: of a detection DataModule; one without ``box_sizes`` is read sample by sample.
        size: (height, width) of the input.
        letterbox: images keep their aspect ratio; otherwise they are stretched to ``size``.
    """
    if hasattr(dataset, "box_sizes"):
        boxes, images = dataset.box_sizes()
    else:
        samples = [dataset[0, index] for index in range(len(dataset))]
        shapes = [(sample.image.shape[-1], sample.image.shape[-2]) for sample in samples]
        boxes = np.concatenate([(sample.boxes[:, 2:] - sample.boxes[:, :2]).double().numpy() for sample in samples])
        images = np.repeat(np.array(shapes, dtype=np.float64), [len(sample.boxes) for sample in samples], axis=0)
    scale = np.array([size[1], size[0]], dtype=np.float64) / images
    return boxes * (scale.min(axis=1, keepdims=True) if letterbox else scale)


def fit_anchors(sizes: BoxSizes, count: int, seed: int = 0) -> AnchorFit:
    """Return the anchors of boxes; the same for the same boxes, count and seed.

    Args:
        sizes: (N, 2) width and height of the boxes.
        count: number of anchors.
        seed: decides the first anchors, which are boxes far from each other (k-means++).

    Raises:
        ConfigError: there are fewer different boxes than anchors.
    """
    different = len(np.unique(sizes, axis=0))
    if not 1 <= count <= different:
        raise ConfigError(f"{count} anchors cannot be fitted to {different} different sizes of boxes")
    anchors = _first(sizes, count, np.random.default_rng(seed))
    best, best_iou, before = anchors, -1.0, np.full(len(sizes), -1)
    for _ in range(MAX_ROUNDS):
        overlap = iou_of_sizes(sizes, anchors)
        if overlap.max(axis=1).mean() > best_iou:
            best, best_iou = anchors, float(overlap.max(axis=1).mean())
        nearest = overlap.argmax(axis=1)
        if (nearest == before).all():
            break
        before, counts = nearest, np.bincount(nearest, minlength=count)
        sums = np.stack([np.bincount(nearest, sizes[:, side], count) for side in (0, 1)], axis=1)
        anchors = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], anchors)
    return measure_anchors(sizes, best[np.argsort(best.prod(axis=1), kind="stable")])


def measure_anchors(sizes: BoxSizes, anchors: BoxSizes) -> AnchorFit:
    """Return how well anchors (K, 2) fit boxes (N, 2)."""
    overlap = iou_of_sizes(sizes, anchors).max(axis=1)
    ratio = sizes[:, None] / anchors[None]
    worst = np.maximum(ratio, 1 / ratio).max(axis=2).min(axis=1)
    matched = tuple(float((worst < limit).mean()) for limit in RATIOS)
    return AnchorFit(anchors, float(overlap.mean()), float((overlap >= MIN_IOU).mean()), matched)


def iou_of_sizes(sizes: BoxSizes, anchors: BoxSizes) -> BoxSizes:
    """Return the IoU (N, K) of boxes (N, 2) and anchors (K, 2) with one centre."""
    shared = np.minimum(sizes[:, None], anchors[None]).prod(axis=2)
    return shared / (sizes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - shared)


def _first(sizes: BoxSizes, count: int, draw: np.random.Generator) -> BoxSizes:
    """Return boxes to begin with: each further one is drawn with a chance of its squared distance to those before."""
    chosen = [int(draw.integers(len(sizes)))]
    nearest = 1 - iou_of_sizes(sizes, sizes[chosen])[:, 0]
    while len(chosen) < count:
        chance = np.where(nearest > 1e-12, nearest, 0) ** 2
        if not chance.any():
            raise ConfigError(f"{count} anchors cannot be fitted to {len(chosen)} sizes of boxes that differ")
        chosen.append(int(draw.choice(len(sizes), p=chance / chance.sum())))
        nearest = np.minimum(nearest, 1 - iou_of_sizes(sizes, sizes[chosen[-1:]])[:, 0])
    return sizes[chosen]
