"""nuScenes' detection metrics over all frames of all ranks; ``scoring`` has what they are."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lab.errors import ConfigError
from lab.metrics.gathered import RowsMetric, kept_rows, packed_rows
from lab.structures import Table
from lab.structures.detection3d import Detection3dPredictions, Detection3dTruth, MultiviewBatch
from lab.tasks.detection3d.attributes import attributes_of
from lab.tasks.detection3d.poses import IntArray, RealArray, to_global
from lab.tasks.detection3d.scoring import (
    DISTANCES,
    ERRORS,
    MOST_BOXES,
    OTHER_RANGE,
    RANGES,
    NuScenesScore,
    PlacedBoxes,
    score,
)
from lab.training.classes import class_table

Names = tuple[Sequence[str], Sequence[str]]
log = logging.getLogger(__name__)
_STATES: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
    "frame_ids": ((0,), torch.int64),
    "valid": ((0,), torch.bool),
    "rig_to_ego": ((0, 4, 4), torch.float64),
    "ego_to_global": ((0, 4, 4), torch.float64),
    "found_counts": ((0,), torch.int64),
    "found_boxes": ((0, 9), torch.float32),
    "found_scores": ((0,), torch.float32),
    "found_labels": ((0,), torch.int64),
    "true_counts": ((0,), torch.int64),
    "true_boxes": ((0, 9), torch.float64),
    "true_labels": ((0,), torch.int64),
    "true_attributes": ((0,), torch.int64),
    "true_points": ((0,), torch.int64),
}


def class_ranges(class_names: Sequence[str], given: Mapping[str, float] | None) -> list[float]:
    """Return how far boxes of each class count, in metres.

    Args:
        class_names: the K names.
        given: ``eval.class_ranges``.

    Raises:
        ConfigError: a class of ``given`` is unknown.
    """
    for name in given or {}:
        if name not in class_names:
            raise ConfigError(f"eval.class_ranges.{name}: the data has no such class: {', '.join(class_names)}")
    known = RANGES | dict(given or {})
    return [known.get(name, OTHER_RANGE) for name in class_names]


def best_of(predictions: Detection3dPredictions) -> Detection3dPredictions:
    """Return the ``MOST_BOXES`` best candidates of each frame in float32, highest score first.

    They are what is measured and written.

    Args:
        predictions: (B, Q) candidates.
    """
    scores, order = predictions.scores.float().sort(dim=1, descending=True, stable=True)
    order = order[:, :MOST_BOXES]
    boxes = predictions.boxes.float().gather(1, order[..., None].expand(-1, -1, predictions.boxes.shape[-1]))
    return Detection3dPredictions(boxes, scores[:, :MOST_BOXES], predictions.labels.gather(1, order))


def that_count(boxes: Any, scores: Any) -> tuple[NDArray[np.bool_], int]:
    """Return which detections (n,) count, and how many of the others are no boxes.

    Those with a score of 0 do not count. A detection is no box if a number is not finite or a side not above 0.

    Args:
        boxes: (n, 9).
        scores: (n,).
    """
    whole = np.isfinite(boxes).all(1) & np.isfinite(scores) & (boxes[:, 3:6] > 0).all(1)
    return whole & (scores > 0), int((~whole & ~(scores == 0)).sum())


def placed(
    frames: IntArray, boxes: Any, scores: Any, labels: IntArray, poses: tuple[RealArray, RealArray], names: Names
) -> tuple[PlacedBoxes, int]:
    """Return the detections that count, in the global frame, and how many are no boxes (``that_count``).

    Args:
        frames: (n,) the frame of each.
        boxes: (n, 9) in the frame of the rig.
        scores: (n,); those of 0 do not count.
        labels: (n,) 0..K-1.
        poses: (F, 4, 4) rig to ego and ego to global, of each frame.
        names: of the classes and of the attributes.
    """
    used, bad = that_count(boxes, scores)
    frames, labels = frames[used], labels[used]
    found = to_global(boxes[used].astype(np.float64), *(pose[frames] for pose in poses))
    attributes = attributes_of(labels, found.velocities, *names)
    none = np.zeros(0, dtype=np.int64)
    return PlacedBoxes(frames, labels, attributes, found, scores[used].astype(np.float64), none), bad


class NuScenesMetric(RowsMetric):
    """nuScenes' metrics; see ``NuScenesScore``. The states stay on the device until ``compute``.

    Candidates with a score of 0 do not count, nor do those that are no boxes; these are counted in ``no_boxes`` after
    ``sides``, and said.

    Args:
        class_names: the K names.
        attribute_names: what objects do.
        ranges: (K,) metres up to which boxes count.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    states = _STATES

    def __init__(self, class_names: Sequence[str], attribute_names: Sequence[str], ranges: Sequence[float]) -> None:
        """Register the states."""
        super().__init__()
        self.class_names, self.attribute_names = tuple(class_names), tuple(attribute_names)
        self.ranges, self.no_boxes = list(ranges), 0

    def update(self, predictions: Detection3dPredictions, truth: Detection3dTruth, batch: MultiviewBatch) -> None:
        """Add a batch.

        Args:
            predictions: (B, Q) candidates in the frame of the rig.
            truth: the annotations of the same B frames.
            batch: their ids and poses, and which of them are valid.
        """
        found = best_of(predictions)
        count, device = found.scores.shape[1], found.scores.device
        values = {
            "frame_ids": batch.frame_ids,
            "valid": batch.valid,
            "rig_to_ego": batch.rig_to_ego,
            "ego_to_global": batch.ego_to_global,
            "found_counts": torch.full((len(found.scores),), count, dtype=torch.int64),
            "found_boxes": found.boxes.flatten(0, 1),
            "found_scores": found.scores.flatten(),
            "found_labels": found.labels.flatten(),
            "true_counts": torch.tensor(truth.counts, dtype=torch.int64),
            "true_boxes": truth.boxes,
            "true_labels": truth.labels,
            "true_attributes": truth.attributes,
            "true_points": truth.points,
        }
        self.keep(values, device)

    def compute(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the states of all ranks, for ``sides``; all ranks must call it."""
        return self.gathered()

    def sides(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> tuple[PlacedBoxes, PlacedBoxes]:
        """Return the detections and the annotations of all frames, in the order of their ids.

        Args:
            arrays: what ``compute`` returned.

        Raises:
            DataError: two valid frames have one id.
        """
        _, order = kept_rows(arrays["frame_ids"], arrays["valid"], "frame")
        poses = arrays["rig_to_ego"][order], arrays["ego_to_global"][order]
        frames, rows = packed_rows(arrays["found_counts"], order)
        boxes, scores, labels = (arrays[f"found_{name}"][rows] for name in ("boxes", "scores", "labels"))
        names = (self.class_names, self.attribute_names)
        found, self.no_boxes = placed(frames, boxes, scores, labels, poses, names)
        if self.no_boxes:
            log.warning("%d detections do not count: a number is not finite, or a side not above 0", self.no_boxes)
        frames, rows = packed_rows(arrays["true_counts"], order)
        true = to_global(arrays["true_boxes"][rows], *(pose[frames] for pose in poses))
        labels, attributes, points = (arrays[f"true_{name}"][rows] for name in ("labels", "attributes", "points"))
        return found, PlacedBoxes(frames, labels, attributes, true, np.zeros(0), points)

    def score(self, sides: tuple[PlacedBoxes, PlacedBoxes], band: tuple[float, float] | None = None) -> NuScenesScore:
        """Return the metrics of what ``sides`` returned, or of a band of distances in metres."""
        nearest, farthest = band or (0.0, np.inf)
        return score(*sides, self.class_names, [min(limit, farthest) for limit in self.ranges], nearest)


def class_rows(found: NuScenesScore, class_names: Sequence[str], ranges: Sequence[float]) -> Table:
    """Return a row for each class: its precision, its errors, its boxes and how far they count in metres."""
    columns = {"ap": found.precisions.mean(1), **dict(zip(ERRORS, found.errors.T, strict=True))}
    rows = _rows(columns, found, class_names)
    counts = zip(found.counts.tolist(), ranges, strict=True)
    return [{**row, "boxes": count, "range": far} for row, (count, far) in zip(rows, counts, strict=True)]


def distance_rows(found: NuScenesScore, class_names: Sequence[str]) -> Table:
    """Return a row for each class with its precision at each distance between centres."""
    columns = zip(DISTANCES, found.precisions.T, strict=True)
    return _rows({f"ap at {distance:g} m": values for distance, values in columns}, found, class_names)


def band_rows(found: Mapping[tuple[float, float], NuScenesScore], class_names: Sequence[str]) -> Table:
    """Return a row for each class with its precision in each band of distances from the ego vehicle.

    Args:
        found: the score of each band (nearest, farthest) in metres.
        class_names: the K names.
    """
    rows: Table = [{"class": name} for name in class_names]
    for (nearest, farthest), measured in found.items():
        name = f"{nearest:g} to {farthest:g} m"
        for row, more in zip(rows, _rows({name: measured.precisions.mean(1)}, measured, class_names), strict=True):
            row[name] = more[name]
    return rows


def _rows(columns: Mapping[str, RealArray], found: NuScenesScore, class_names: Sequence[str]) -> Table:
    """Return a row for each class; None where the truth has no box of it, or where it is not measured so."""
    known = found.counts > 0
    tensors = {name: torch.from_numpy(np.where(known, values, np.nan)) for name, values in columns.items()}
    return class_table(tensors, class_names)
