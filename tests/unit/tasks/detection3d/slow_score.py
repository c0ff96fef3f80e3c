"""nuScenes' metrics as a slow form, box by box, from their definition (Caesar et al. 2020, section 4.1 and appendix).

Nothing of lab is used but the types of a batch and of predictions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.structures.detection3d import Detection3dPredictions, MultiviewBatch

FAR = {"pedestrian": 40, "motorcycle": 40, "bicycle": 40, "traffic_cone": 30, "barrier": 30}
UNMEASURED = {"traffic_cone": {2, 3, 4}, "barrier": {3, 4}}
MOVING = {"pedestrian": "pedestrian.moving", "motorcycle": "cycle.with_rider", "bicycle": "cycle.with_rider"}
MOVING |= dict.fromkeys(("car", "truck", "bus", "trailer", "construction_vehicle"), "vehicle.moving")
STANDING = {"pedestrian": "pedestrian.standing", "bus": "vehicle.stopped"}
STANDING |= dict.fromkeys(("motorcycle", "bicycle"), "cycle.without_rider")
STANDING |= dict.fromkeys(("car", "truck", "trailer", "construction_vehicle"), "vehicle.parked")


@dataclass
class Thing:
    """One box in the global frame."""

    frame: int
    name: str
    center: Any
    size: Any
    yaw: float
    velocity: Any
    attribute: str
    distance: float
    score: float = 0.0


def slow_score(
    found: Detection3dPredictions, batch: MultiviewBatch, names: tuple[tuple[str, ...], tuple[str, ...]]
) -> dict[str, Any]:
    """Return ``map``, ``nds``, ``precisions`` (K, 4), ``errors`` (K, 5), and how many boxes of the truth count."""
    truths, racks = _truths(batch, names)
    detections = _detections(found, batch, names, racks)
    precisions = [[_precision(name, truths, detections, limit) for limit in (0.5, 1.0, 2.0, 4.0)] for name in names[0]]
    errors = [_errors(name, truths, detections) for name in names[0]]
    means = [float(np.nanmean([row[column] for row in errors])) for column in range(5)]
    mean = float(np.mean([np.mean(row) for row in precisions]))
    nds = (5 * mean + sum(max(0.0, 1 - value) for value in means)) / 10
    return {"map": mean, "nds": nds, "precisions": precisions, "errors": errors, "count": len(truths)}


def _placed(box: Any, rig_to_ego: Any, ego_to_global: Any) -> dict[str, Any]:
    pose = ego_to_global @ rig_to_ego
    center = (pose @ [*box[:3], 1.0])[:3]
    ahead = pose[:3, :3] @ [math.cos(box[6]), math.sin(box[6]), 0.0]
    velocity = (pose[:3, :3] @ [box[7], box[8], 0.0])[:2]
    away = math.hypot(*(center - ego_to_global[:3, 3])[:2])
    yaw = math.atan2(ahead[1], ahead[0])
    return {"center": center, "size": box[3:6], "yaw": yaw, "velocity": velocity, "distance": away}


def _inside(center: Any, racks: list[tuple[Any, Any]], pose: Any) -> bool:
    """Whether a point of the global frame is in one of the racks (a box of the rig and the frame's pose)."""
    x, y, z = (np.linalg.inv(pose) @ [*center, 1.0])[:3]
    for rack in racks:
        dx, dy = x - rack[0], y - rack[1]
        along, across = (
            dx * math.cos(rack[6]) + dy * math.sin(rack[6]),
            dy * math.cos(rack[6]) - dx * math.sin(rack[6]),
        )
        if abs(along) <= rack[3] / 2 and abs(across) <= rack[4] / 2 and abs(z - rack[2]) <= rack[5] / 2:
            return True
    return False


def _counts(thing: Thing, racks: list[Any], pose: Any) -> bool:
    if thing.distance >= FAR.get(thing.name, 50):
        return False
    return thing.name not in ("bicycle", "motorcycle") or not _inside(thing.center, racks, pose)


def _truths(batch: MultiviewBatch, names: Any) -> tuple[list[Thing], list[list[Any]]]:
    things, racks = [], []
    assert batch.truth is not None
    for frame in range(len(batch.tokens)):
        truth = batch.truth.rows(slice(frame, frame + 1))
        poses = batch.rig_to_ego[frame].numpy(), batch.ego_to_global[frame].numpy()
        boxes, labels = truth.boxes.numpy(), truth.labels.tolist()
        racks.append([box for box, label in zip(boxes, labels, strict=True) if label == -1])
        for row, (box, label) in enumerate(zip(boxes, labels, strict=True)):
            if label == -1 or truth.points[row] == 0:
                continue
            attribute = int(truth.attributes[row])
            thing = Thing(
                frame, names[0][label], attribute="" if attribute < 0 else names[1][attribute], **_placed(box, *poses)
            )
            if _counts(thing, racks[-1], poses[1] @ poses[0]):
                things.append(thing)
    return things, racks


def _detections(found: Detection3dPredictions, batch: MultiviewBatch, names: Any, racks: list[Any]) -> list[Thing]:
    things = []
    for frame in range(len(batch.tokens)):
        poses = batch.rig_to_ego[frame].numpy(), batch.ego_to_global[frame].numpy()
        rows = sorted(range(found.scores.shape[1]), key=lambda row: -float(found.scores[frame, row]))[:500]
        for row in rows:
            box, label = found.boxes[frame, row].double().numpy(), int(found.labels[frame, row])
            placed, name, score = _placed(box, *poses), names[0][label], float(found.scores[frame, row])
            rule = MOVING if math.hypot(*placed["velocity"]) > 0.2 else STANDING
            thing = Thing(frame, name, attribute=rule.get(name, ""), score=score, **placed)
            if score > 0 and _counts(thing, racks[frame], poses[1] @ poses[0]):
                things.append(thing)
    return things


def _matched(name: str, truths: list[Thing], detections: list[Thing], limit: float) -> Any:
    """Return the detections of a class, best first, each with the truth that it has found or None; and their number."""
    mine = [thing for thing in truths if thing.name == name]
    numbered = list(enumerate(thing for thing in detections if thing.name == name))
    order = [thing for _, thing in sorted(numbered, key=lambda pair: (-pair[1].score, -pair[0]))]
    free, pairs = list(mine), []
    for detection in order:
        near = [
            (math.hypot(*(other.center - detection.center)[:2]), place)
            for place, other in enumerate(free)
            if other.frame == detection.frame
        ]
        best = min(near, default=(math.inf, -1))
        pairs.append((detection, free.pop(best[1]) if best[0] < limit else None))
    return pairs, len(mine)


def _precision(name: str, truths: list[Thing], detections: list[Thing], limit: float) -> float:
    pairs, count = _matched(name, truths, detections, limit)
    hits, curve = 0, []
    for number, (_, truth) in enumerate(pairs, start=1):
        hits += truth is not None
        curve.append((hits / max(count, 1), hits / number))
    if not hits:
        return 0.0
    at = np.interp(np.linspace(0, 1, 101), *zip(*curve, strict=True), right=0)
    return float(np.mean([max(0.0, value - 0.1) for value in at[11:]])) / 0.9


def _errors(name: str, truths: list[Thing], detections: list[Thing]) -> list[float]:
    pairs, count = _matched(name, truths, detections, 2.0)
    hits = np.cumsum([truth is not None for _, truth in pairs])
    found = [1.0] * 5
    if count and len(hits) and hits[-1]:
        scores = np.interp(np.linspace(0, 1, 101), hits / count, [thing.score for thing, _ in pairs], right=0)
        kept = [(thing, truth) for thing, truth in pairs if truth is not None]
        last = max((place for place in range(101) if scores[place] > 0), default=0)
        for column in range(5):
            means = _means([_error(column, *pair) for pair in kept])
            along = np.interp(scores[::-1], [thing.score for thing, _ in kept][::-1], means[::-1])[::-1]
            found[column] = 1.0 if last < 11 else float(np.mean(along[11 : last + 1]))
    return [math.nan if column in UNMEASURED.get(name, ()) else value for column, value in enumerate(found)]


def _error(column: int, thing: Thing, truth: Thing) -> float:
    if column == 0:
        return math.hypot(*(thing.center - truth.center)[:2])
    if column == 1:
        both = math.prod(min(pair) for pair in zip(thing.size, truth.size, strict=True))
        return 1 - both / (math.prod(thing.size) + math.prod(truth.size) - both)
    if column == 2:
        period = math.pi if truth.name == "barrier" else 2 * math.pi
        apart = abs(thing.yaw - truth.yaw) % period
        return min(apart, period - apart)
    if column == 3:
        return math.hypot(*(thing.velocity - truth.velocity))
    return math.nan if not truth.attribute else float(thing.attribute != truth.attribute)


def _means(values: list[float]) -> list[float]:
    """Return the mean of all values up to each place; values that are not known are left out."""
    if all(map(math.isnan, values)):
        return [1.0] * len(values)
    means = []
    for end in range(1, len(values) + 1):
        known = [value for value in values[:end] if not math.isnan(value)]
        means.append(sum(known) / len(known) if known else 0.0)
    return means
