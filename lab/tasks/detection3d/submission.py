"""Detections as nuScenes' detection task takes them: a json file of boxes in the global frame."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from lab.structures.detection3d import NO_ATTRIBUTE, Detection3dPredictions, MultiviewBatch
from lab.tasks.detection3d.metrics import Names, placed
from lab.tasks.detection3d.scoring import PlacedBoxes

META = {"use_camera": True, "use_lidar": False, "use_radar": False, "use_map": False, "use_external": False}


def placed_batch(predictions: Detection3dPredictions, batch: MultiviewBatch, names: Names) -> tuple[PlacedBoxes, int]:
    """Return the detections of a batch in the global frame, and how many are left out (``that_count``).

    Args:
        predictions: (B, Q) on the host.
        batch: the B frames.
        names: of the classes and of the attributes.
    """
    count = predictions.scores.shape[1]
    return placed(
        batch.frame_ids.new_tensor(range(len(batch.images))).repeat_interleave(count).numpy(),
        predictions.boxes.flatten(0, 1).numpy(),
        predictions.scores.flatten().numpy(),
        predictions.labels.flatten().numpy(),
        (batch.rig_to_ego.numpy(), batch.ego_to_global.numpy()),
        names,
    )


def submitted(found: PlacedBoxes, token: str, names: Names) -> list[dict[str, Any]]:
    """Return the detections of one frame as nuScenes takes them.

    Args:
        found: those of the frame, highest score first.
        token: nuScenes' name of the frame.
        names: of the classes and of the attributes.
    """
    boxes, (classes, attributes) = found.boxes, names
    columns = (
        boxes.centers.tolist(),
        boxes.sizes[:, [1, 0, 2]].tolist(),
        boxes.quaternions().tolist() if len(boxes.centers) else [],
        boxes.velocities.tolist(),
        found.labels.tolist(),
        found.scores.tolist(),
        found.attributes.tolist(),
    )
    return [
        {
            "sample_token": token,
            "translation": center,
            "size": size,
            "rotation": rotation,
            "velocity": velocity,
            "detection_name": classes[label],
            "detection_score": score,
            "attribute_name": "" if attribute == NO_ATTRIBUTE else attributes[attribute],
        }
        for center, size, rotation, velocity, label, score, attribute in zip(*columns, strict=True)
    ]


def submission_pieces(frames: Iterable[tuple[str, list[dict[str, Any]]]]) -> Iterator[str]:
    """Yield the text of a submission, frame by frame.

    Args:
        frames: the token of each and its detections.
    """
    yield f'{{"meta": {json.dumps(META)}, "results": {{'
    for number, (token, boxes) in enumerate(frames):
        yield f"{',' if number else ''}\n{json.dumps(token)}: {json.dumps(boxes)}"
    yield "}}\n"
