"""COCO's mean average precision, exact on any number of ranks.

Lin et al., "Microsoft COCO: Common Objects in Context" (ECCV 2014), as the evaluation code of pycocotools defines it;
computed by ``lab.metrics.coco``. torchmetrics' MeanAveragePrecision is not used: its default thresholds are float32
(0.55 becomes 0.55000001), which changes the result by 0.001 on real data; its states are lists of one tensor per image,
gathered one by one and in the order of ranks, so ties are broken differently on two ranks than on one; and a rank
without a sample gathers a tensor of another dtype than the others. pycocotools and faster-coco-eval need a dict for
each box: most of their memory and half of their time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.metrics.coco import EvaluatedObjects, box_areas, box_overlaps, count_measured, evaluate_coco
from lab.metrics.gathered import RowsMetric, kept_rows, packed_rows
from lab.structures import DetectionPredictions, DetectionTruth
from lab.tasks.detection.yolo_fastest_map import yolo_fastest_ap

_STATES: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
    "image_ids": ((0,), torch.int64),
    "valid": ((0,), torch.bool),
    "found_counts": ((0,), torch.int64),
    "found_boxes": ((0, 4), torch.float32),
    "found_scores": ((0,), torch.float32),
    "found_labels": ((0,), torch.int64),
    "true_counts": ((0,), torch.int64),
    "true_boxes": ((0, 4), torch.float32),
    "true_labels": ((0,), torch.int64),
    "true_iscrowd": ((0,), torch.bool),
    "true_area": ((0,), torch.float32),
}


class DetectionMAP(RowsMetric):
    """Average precision and recall over IoU thresholds 0.50:0.05:0.95, for boxes.

    A value is NaN if the truth does not define it (no object of that size or class; -1 in pycocotools).

    Args:
        class_names: the K names, in label order.
        also: ``"yolo_fastest"`` computes the metric of ``lab.tasks.detection.yolo_fastest_map`` too.

    Attributes:
        classes_measured: after ``compute``, the number of classes in the means: those with an object.
        image_ids: like all states a flat list of tensors, one entry per batch; they stay on the device until
            ``compute``, so that ``update`` never waits for it.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    states = _STATES

    image_ids: list[Tensor]
    valid: list[Tensor]

    def __init__(self, class_names: Sequence[str], also: str | None = None) -> None:
        """Register the states."""
        super().__init__()
        self.class_names = tuple(class_names)
        self.also = also
        self.classes_measured = 0

    def update(
        self, predictions: DetectionPredictions, truth: DetectionTruth, image_ids: Tensor, valid: Tensor
    ) -> None:
        """Add a batch.

        Args:
            predictions: (B, Q) candidates in pixels of the original images.
            truth: the annotations as stored, crowds included, of the same B images.
            image_ids: (B,) int64, one id for one image of the dataset.
            valid: (B,) bool; rows that are False only pad the batch and are left out.
        """
        batch, queries = predictions.scores.shape
        device = predictions.scores.device
        found = predictions
        values = {
            "image_ids": image_ids,
            "valid": valid,
            "found_counts": torch.full((batch,), queries, dtype=torch.int64),
            "found_boxes": found.boxes.flatten(0, 1),
            "found_scores": found.scores.flatten(),
            "found_labels": found.labels.flatten(),
            "true_counts": torch.tensor(truth.counts, dtype=torch.int64),
            "true_boxes": truth.boxes,
            "true_labels": truth.labels,
            "true_iscrowd": truth.iscrowd,
            "true_area": truth.area,
        }
        self.keep(values, device)

    def compute(self) -> dict[str, float]:
        """Return ``map``, ``map_50``, ``map_75``, ``map_small|medium|large``, ``mar_...`` and ``map_per_class/<name>``.

        With ``also`` there is ``yolo_fastest_ap50`` too. A value that the truth does not define is NaN; labels named
        N/A (gaps in COCO's ids) have no value.

        Raises:
            DataError: if two valid rows have the same image id.
        """
        arrays = self.gathered()
        image_ids, order = kept_rows(arrays["image_ids"], arrays["valid"])
        found = _rows(arrays, "found", ("boxes", "scores", "labels"), order)
        true = _rows(arrays, "true", ("boxes", "labels", "iscrowd", "area"), order)
        other = yolo_fastest_ap(found, true) if self.also == "yolo_fastest" else {}
        sides = (
            EvaluatedObjects(
                true["image"],
                true["labels"],
                true["area"].astype(np.float64),
                true["iscrowd"],
                np.zeros(len(true["labels"])),
            ),
            EvaluatedObjects(
                found["image"],
                found["labels"],
                box_areas(found["boxes"]),
                np.zeros(len(found["labels"]), dtype=bool),
                found["scores"],
            ),
        )
        overlaps = box_overlaps(found["boxes"], true["boxes"], true["iscrowd"])
        result = evaluate_coco(self.class_names, len(image_ids), *sides, overlaps)
        self.classes_measured = count_measured(result)
        return result | other


def _rows(
    arrays: dict[str, np.ndarray[Any, Any]], side: str, columns: Sequence[str], order: np.ndarray[Any, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the packed columns of truth or prediction in the given order of images, and the image of each row."""
    image, rows = packed_rows(arrays[f"{side}_counts"], order)
    return {"image": image, **{column: arrays[f"{side}_{column}"][rows] for column in columns}}
