"""COCO's evaluation of boxes and masks: its twelve numbers and the average precision of each class."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_log = logging.getLogger(__name__)


_PRECISIONS = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")


_RECALLS = ("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large")


_SUMMARY = (*_PRECISIONS, *_RECALLS)


def evaluate_coco(
    class_names: Sequence[str],
    images: list[dict[str, Any]],
    truth: list[dict[str, Any]],
    found: list[dict[str, Any]],
    kind: str,
) -> dict[str, float]:
    """Return COCO's twelve numbers and ``map_per_class/<name>``.

    Args:
        class_names: the K names, in label order; class label + 1 is the category.
        images: all images, also those without annotations: ``id`` and, for masks, ``height`` and ``width``.
        truth: annotations in COCO's format.
        found: detections in the same format, with scores.
        kind: ``bbox`` or ``segm``.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    classes = [{"id": label + 1, "name": name} for label, name in enumerate(class_names)]
    names = {label: f"map_per_class/{name}" for label, name in enumerate(class_names) if name != "N/A"}
    if not images:
        return dict.fromkeys((*_SUMMARY, *names.values()), math.nan)
    sides = [COCO({"images": images, "categories": classes, "annotations": side}) for side in (truth, found)]
    evaluation = COCOeval_faster(*sides, iouType=kind, print_function=_log.debug)
    # In float64, as in pycocotools: float32 would change the result by 0.001.
    evaluation.params.iouThrs = np.linspace(0.5, 0.95, 10)
    evaluation.params.recThrs = np.linspace(0.0, 1.0, 101)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    # COCO's -1 means that a value is not defined.
    numbers = zip(_SUMMARY, evaluation.stats[:12], strict=True)
    result = {name: float(value) if value > -1 else math.nan for name, value in numbers}
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, classes; all areas, 100 found
    for label, name in names.items():
        defined = precision[:, :, label][precision[:, :, label] > -1]
        result[name] = float(defined.mean()) if defined.size else math.nan
    return result


def count_measured(values: Mapping[str, float]) -> int:
    """Return the number of classes in COCO's means: those whose own precision is defined."""
    return sum(not math.isnan(value) for name, value in values.items() if name.startswith("map_per_class/"))
