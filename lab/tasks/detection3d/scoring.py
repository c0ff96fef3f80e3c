"""nuScenes' detection metrics (Caesar et al., "nuScenes", CVPR 2020, section 4.1), as its devkit computes them.

- Average precision of a class at a distance of centres in the plane (0.5, 1, 2, 4 m): the area under the curve of
  precision over recall, both above 10 %, as a share of the largest possible area.
- Errors of what is matched at 2 m: distance of centres, 1 - IoU of aligned boxes, difference of yaw, of velocity, share
  of wrong attributes; each is the mean over recalls above 10 % of the mean of all matches up to that recall.
- NDS: (5 mAP + the sum over the five errors of 1 - min(1, error)) / 10.

A class without truth, or without a match, has an AP of 0 and errors of 1 in all means, as in the devkit. Cones have no
orientation, cones and barriers neither velocity nor attribute; barriers look alike from both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.structures.detection3d import NO_ATTRIBUTE, RACK
from lab.tasks.detection3d.matching import by_score, match, same_group
from lab.tasks.detection3d.poses import GlobalBoxes, IntArray, RealArray

DISTANCES = (0.5, 1.0, 2.0, 4.0)
"""Metres between centres, for average precision."""
OF_ERRORS = 2.0
"""The distance at which what is matched is measured by the errors."""
ERRORS = ("ate", "ase", "aoe", "ave", "aae")
"""Of translation (m), scale (1 - IoU), orientation (radians), velocity (m/s) and attribute (share of wrong ones)."""
FIGURES = (
    "map",
    "nds",
    *(f"m{name}" for name in ERRORS),
    *(f"map_{round(10 * distance):02d}" for distance in DISTANCES),
)
"""The names of what ``NuScenesScore.figures`` returns."""
NOT_MEASURED = {"traffic_cone": ("aoe", "ave", "aae"), "barrier": ("ave", "aae")}
RANGES = {
    "car": 50.0,
    "truck": 50.0,
    "bus": 50.0,
    "trailer": 50.0,
    "construction_vehicle": 50.0,
    "pedestrian": 40.0,
    "motorcycle": 40.0,
    "bicycle": 40.0,
    "traffic_cone": 30.0,
    "barrier": 30.0,
}
"""Metres from the ego vehicle up to which boxes count."""
OTHER_RANGE = 50.0
MOST_BOXES = 500
"""Of a frame; nuScenes refuses more."""
_IN_RACKS = ("bicycle", "motorcycle")
_LEAST = 0.1  # recall, and precision
_POINTS = np.linspace(0, 1, 101)  # of recall
_FIRST = round(100 * _LEAST) + 1


@dataclass(frozen=True)
class PlacedBoxes:
    """Detections or annotations of several frames.

    Attributes:
        frames: (n,) the frame of each; detections are in the order of frames.
        labels: (n,) 0..K-1, in a truth ``RACK`` too.
        attributes: (n,) index or ``NO_ATTRIBUTE``.
        boxes: (n) in the global frame.
        scores: (n,) of detections; empty for the truth.
        points: (n,) of the truth, 0: the box does not count; empty for detections.
    """

    frames: IntArray
    labels: IntArray
    attributes: IntArray
    boxes: GlobalBoxes
    scores: RealArray
    points: IntArray

    def take(self, rows: NDArray[Any]) -> PlacedBoxes:
        """Return some of the boxes."""
        chosen = {name: getattr(self, name)[rows] for name in ("frames", "labels", "attributes")}
        more = {name: column[rows] for name in ("scores", "points") if len(column := getattr(self, name))}
        return replace(self, boxes=self.boxes.take(rows), **chosen, **more)


@dataclass(frozen=True)
class NuScenesScore:
    """What nuScenes' devkit reports.

    Attributes:
        precisions: (K, 4) average precision at each of ``DISTANCES``.
        errors: (K, 5) ``ERRORS``; NaN where a class is not measured by one.
        counts: (K,) boxes of the truth that count.
    """

    precisions: RealArray
    errors: RealArray
    counts: IntArray

    def figures(self) -> dict[str, float]:
        """Return ``map``, ``nds``, the mean errors and the precision at each distance; NaN where there is no truth."""
        if not self.counts.sum():
            return dict.fromkeys(FIGURES, math.nan)
        precision = float(np.mean(self.precisions.mean(1)))
        errors = [_mean_defined(column) for column in self.errors.T]
        scores = [0.0 if math.isnan(error) else max(0.0, 1 - error) for error in errors]
        score = (5 * precision + float(np.sum(scores))) / 10
        return dict(zip(FIGURES, (precision, score, *errors, *self.precisions.mean(0).tolist()), strict=True))


def score(
    found: PlacedBoxes, true: PlacedBoxes, class_names: Sequence[str], ranges: Sequence[float], nearest: float = 0
) -> NuScenesScore:
    """Return nuScenes' metrics.

    Args:
        found: detections, at most ``MOST_BOXES`` of a frame.
        true: annotations.
        class_names: the K names.
        ranges: (K,) metres: boxes of a class count that are nearer.
        nearest: metres: boxes count that are not nearer.
    """
    racks = true.take(true.labels == RACK)
    limits = np.asarray(ranges, dtype=np.float64)
    true = true.take((true.labels != RACK) & (true.points != 0))
    true, found = (_in_range(side, limits, nearest) for side in (true, found))
    true, found = (_outside_racks(side, racks, class_names) for side in (true, found))
    order = by_score(found.scores)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    mine, theirs = (side.frames * len(class_names) + side.labels for side in (found, true))
    chosen = match(found.boxes.centers[:, :2], true.boxes.centers[:, :2], (mine, theirs), place, DISTANCES)
    counts = np.bincount(true.labels, minlength=len(class_names))
    errors = match_errors(found, true, chosen[DISTANCES.index(OF_ERRORS)], class_names)
    precisions, means = np.zeros((len(class_names), len(DISTANCES))), np.ones((len(class_names), len(ERRORS)))
    for label, name in enumerate(class_names):
        rows = order[found.labels[order] == label]
        for column, boxes in enumerate(chosen):
            precisions[label, column] = _average_precision(boxes[rows] >= 0, int(counts[label]))
        hit = chosen[DISTANCES.index(OF_ERRORS)][rows] >= 0
        means[label] = _mean_errors(hit, found.scores[rows], errors[rows[hit]], int(counts[label]))
        means[label, [ERRORS.index(error) for error in NOT_MEASURED.get(name, ())]] = np.nan
    return NuScenesScore(precisions, means, counts)


def match_errors(found: PlacedBoxes, true: PlacedBoxes, chosen: IntArray, class_names: Sequence[str]) -> RealArray:
    """Return the errors (n, 5) of detections with a box, NaN for others and where the truth does not say.

    Args:
        found: n detections.
        true: annotations.
        chosen: (n,) the annotation of each detection, or -1.
        class_names: the K names.
    """
    errors = np.full((len(chosen), len(ERRORS)), np.nan)
    hit = np.flatnonzero(chosen >= 0)
    box = chosen[hit]
    mine, theirs = found.boxes.take(hit), true.boxes.take(box)
    errors[hit, 0] = np.sqrt(((mine.centers[:, :2] - theirs.centers[:, :2]) ** 2).sum(1))
    both = np.minimum(mine.sizes, theirs.sizes).prod(1)
    errors[hit, 1] = 1 - both / (mine.sizes.prod(1) + theirs.sizes.prod(1) - both)
    half = np.array([name == "barrier" for name in class_names])[found.labels[hit]]
    period = np.where(half, np.pi, 2 * np.pi)
    turn = (theirs.yaws - mine.yaws + period / 2) % period - period / 2
    errors[hit, 2] = np.abs(np.where(turn > np.pi, turn - 2 * np.pi, turn))
    errors[hit, 3] = np.sqrt(((mine.velocities - theirs.velocities) ** 2).sum(1))
    attributes = true.attributes[box]
    wrong = (attributes != found.attributes[hit]).astype(np.float64)
    errors[hit, 4] = np.where(attributes == NO_ATTRIBUTE, np.nan, wrong)
    return errors


def _in_range(side: PlacedBoxes, limits: RealArray, nearest: float) -> PlacedBoxes:
    distances = side.boxes.distances
    return side.take((distances < limits[side.labels]) & (distances >= nearest))


def _outside_racks(side: PlacedBoxes, racks: PlacedBoxes, class_names: Sequence[str]) -> PlacedBoxes:
    """Return the boxes without the cycles whose centre is inside of a rack."""
    cycles = np.flatnonzero(np.isin(side.labels, [i for i, name in enumerate(class_names) if name in _IN_RACKS]))
    who, rack = same_group(side.frames[cycles], racks.frames)
    away = side.boxes.centers[cycles[who]] - racks.boxes.centers[rack]
    local = (away[:, None] @ racks.boxes.rotations[rack])[:, 0]
    inside = (np.abs(local) <= racks.boxes.sizes[rack] / 2).all(1)
    return side.take(np.isin(np.arange(len(side.labels)), cycles[who[inside]], invert=True))


def _average_precision(hit: NDArray[np.bool_], count: int) -> float:
    """Return the average precision of detections (n,), best first, where ``count`` are to be found."""
    if not count or not hit.any():
        return 0.0
    hits = np.cumsum(hit)
    precision = np.interp(_POINTS, hits / count, hits / np.arange(1, len(hit) + 1), right=0)
    return float(np.clip(precision[_FIRST:] - _LEAST, 0, None).mean()) / (1 - _LEAST)


def _mean_errors(hit: NDArray[np.bool_], scores: RealArray, errors: RealArray, count: int) -> RealArray:
    """Return the mean (5,) of each error over recalls; 1 where the recall is too low.

    Args:
        hit: (n,) which detections are matched, best first.
        scores: (n,) of them.
        errors: (number of matches, 5).
        count: boxes to be found.
    """
    means = np.ones(errors.shape[1])
    if not count or not hit.any():
        return means
    at_recall = np.interp(_POINTS, np.cumsum(hit) / count, scores, right=0)
    last = int(np.flatnonzero(at_recall)[-1]) if at_recall.any() else 0
    if last < _FIRST:
        return means
    for column, values in enumerate(errors.T):
        along = np.interp(at_recall[::-1], scores[hit][::-1], _running_mean(values)[::-1])[::-1]
        means[column] = along[_FIRST : last + 1].mean()
    return means


def _running_mean(values: RealArray) -> RealArray:
    """Return the mean of all values up to each place, without NaN; ones if all are NaN, 0 before the first other."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    found: RealArray = np.nancumsum(values) / np.maximum(np.cumsum(known), 1)
    return found


def _mean_defined(values: RealArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
