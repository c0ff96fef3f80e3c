"""Compare nuScenes' metrics with those of nuscenes-devkit, number by number.

The truth is that of a file of MMDetection3D's infos, the detections are the truth with errors, some of it missing, some
made up. Ours come from the metric of the task, the devkit's from the submission that ``stage=predict`` writes.

The devkit demands numpy below 2, so it is no extra of lab: it is installed without its dependencies into a folder of
its own, where it works with the numpy of lab:

    python scripts/compare_nuscenes.py --install build/devkit
    python scripts/compare_nuscenes.py --devkit build/devkit --infos data/nuscenes/nuscenes_infos_val.pkl
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab.data.nuscenes_names import ATTRIBUTES, CAMERAS, CLASSES
from lab.structures.detection3d import (
    NO_ATTRIBUTE,
    RACK,
    Detection3dPredictions,
    Detection3dTargets,
    Detection3dTruth,
    MultiviewBatch,
)
from lab.tasks.detection3d.attributes import attributes_of
from lab.tasks.detection3d.data.nuscenes.frames import FrameSource, in_our_order
from lab.tasks.detection3d.data.nuscenes.infos import read_infos
from lab.tasks.detection3d.data.nuscenes.names import BICYCLE_RACK, DETECTION_NAMES
from lab.tasks.detection3d.metrics import NuScenesMetric, class_ranges
from lab.tasks.detection3d.scoring import DISTANCES, ERRORS, NuScenesScore, PlacedBoxes
from lab.tasks.detection3d.submission import placed_batch, submission_pieces, submitted

PACKAGES = (
    *("nuscenes-devkit==1.2.0", "pyquaternion==0.9.9", "cachetools", "fire", "termcolor", "opencv-python-headless"),
    *("matplotlib", "contourpy", "cycler", "kiwisolver", "fonttools", "pyparsing", "python-dateutil", "six"),
    *("scikit-learn", "threadpoolctl", "joblib", "cloudpickle", "narwhals"),
)
"""The devkit and what it imports beside what lab has."""
NAMES = (CLASSES, ATTRIBUTES)
TP_NAMES = dict(zip(ERRORS, ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err"), strict=True))


def truth_of(source: FrameSource, seed: int, racks: int = 20) -> MultiviewBatch:
    """Return the truth of the frames of a source as a batch without pictures.

    Infos of old say no attributes, so those are drawn; ``racks`` bicycle racks are put around bicycles.
    """
    random, labels = np.random.default_rng(seed), {name: number for number, name in enumerate(CLASSES)}
    truths = []
    for frame in source.frames:
        known = np.array([name in labels for name in frame.names], dtype=bool)
        boxes = frame.boxes[known]
        classes = np.array([labels[name] for name in frame.names if name in labels], dtype=np.int64)
        attributes = attributes_of(classes, boxes[:, 7:9], *NAMES)
        drawn = random.random(len(boxes))
        attributes = np.where(drawn < 0.1, NO_ATTRIBUTE, attributes)
        cycles = np.flatnonzero(np.isin(classes, [labels["bicycle"], labels["motorcycle"]]))
        chosen = cycles[: max(0, racks)][:1]
        racks -= len(chosen)
        rack = boxes[chosen] + random.normal(0, 0.2, (len(chosen), 9))
        rack[:, 3:6] = (6.0, 2.0, 2.0)
        columns = (
            np.concatenate([boxes, rack]),
            np.concatenate([classes, np.full(len(rack), RACK)]),
            np.concatenate([attributes, np.full(len(rack), NO_ATTRIBUTE)]),
            np.concatenate([frame.points[known], np.ones(len(rack), dtype=np.int64)]),
        )
        truths.append(columns)
    packed = [torch.from_numpy(np.concatenate(column)) for column in zip(*truths, strict=True)]
    counts = tuple(len(columns[1]) for columns in truths)
    size, poses = len(counts), [(frame.rig_to_ego, frame.ego_to_global) for frame in source.frames]
    return MultiviewBatch(
        images=torch.zeros(size, 6, 3, 1, 1, dtype=torch.uint8),
        projections=torch.zeros(size, 6, 4, 4),
        image_sizes=torch.ones(size, 2, dtype=torch.int64),
        targets=Detection3dTargets(torch.zeros(0, 9), torch.zeros(0, dtype=torch.int64), (0,) * size),
        frame_ids=torch.arange(size),
        tokens=tuple(frame.token for frame in source.frames),
        rig_to_ego=torch.from_numpy(np.stack([pose[0] for pose in poses])),
        ego_to_global=torch.from_numpy(np.stack([pose[1] for pose in poses])),
        valid=torch.ones(size, dtype=torch.bool),
        truth=Detection3dTruth(packed[0], packed[1], packed[2], packed[3], counts),
    )


def jittered(batch: MultiviewBatch, queries: int, seed: int) -> Detection3dPredictions:
    """Return detections (B, queries): the truth with errors, a fifth of it missing, the rest of the places made up.

    Scores have two digits, so that there are many equal ones.
    """
    assert batch.truth is not None
    random = np.random.default_rng(seed)
    size = len(batch.tokens)
    boxes, labels = np.zeros((size, queries, 9)), random.integers(0, len(CLASSES), (size, queries))
    boxes[..., :2] = random.uniform(-55, 55, (size, queries, 2))
    boxes[..., 3:6] = random.uniform(0.5, 5, (size, queries, 3))
    boxes[..., 6:] = random.normal(0, 1.5, (size, queries, 3))
    scores = random.uniform(0, 0.6, (size, queries))
    for row in range(size):
        truth = batch.truth.rows(slice(row, row + 1))
        kept = np.flatnonzero((random.random(truth.counts[0]) < 0.8) & (truth.labels.numpy() != RACK))[:queries]
        true = np.nan_to_num(truth.boxes.numpy()[kept])
        noise = random.normal(0, 1, true.shape) * np.array([0.8, 0.8, 0.3, 0, 0, 0, 0.4, 0.5, 0.5])
        true = true + noise
        true[:, 3:6] *= random.uniform(0.7, 1.4, (len(kept), 3))
        boxes[row, : len(kept)] = true
        known = truth.labels.numpy()[kept]
        labels[row, : len(kept)] = np.where(random.random(len(kept)) < 0.1, labels[row, : len(kept)], known)
        scores[row, : len(kept)] = random.beta(3, 2, len(kept))
    found = torch.from_numpy(boxes).float(), torch.from_numpy(scores.round(2)).float(), torch.from_numpy(labels)
    return Detection3dPredictions(*found)


def ours(
    found: Detection3dPredictions, batch: MultiviewBatch
) -> tuple[NuScenesScore, tuple[PlacedBoxes, PlacedBoxes], float]:
    """Return our score, the boxes that it compares, and the seconds it took."""
    assert batch.truth is not None
    metric = NuScenesMetric(*NAMES, class_ranges(CLASSES, None))
    metric.update(found, batch.truth, batch)
    start = time.perf_counter()
    sides = metric.sides(metric.compute())
    score = metric.score(sides)
    return score, sides, time.perf_counter() - start


class Tables:
    """The truth of a batch as the tables that the devkit reads: what of ``NuScenes`` its detection metrics call."""

    version = "v1.0-mini"

    def __init__(self, tokens: Sequence[str], true: PlacedBoxes, poses: Any) -> None:
        categories = {name: category for category, name in DETECTION_NAMES.items()}
        self.tables: dict[str, dict[str, dict[str, Any]]] = {
            "sample": {},
            "sample_data": {},
            "ego_pose": {},
            "sample_annotation": {},
            "scene": {"scene": {"name": "scene-0103"}},
        }
        self.attribute = [{"token": name, "name": name} for name in ATTRIBUTES]
        for number, token in enumerate(tokens):
            self.tables["ego_pose"][token] = {"translation": poses[number, :3, 3].tolist()}
            self.tables["sample_data"][token] = {"ego_pose_token": token}
            self.tables["sample"][token] = {"token": token, "scene_token": "scene", "data": {"LIDAR_TOP": token}}
            self.tables["sample"][token]["anns"] = []
        quaternions = true.boxes.quaternions().tolist()
        for row, frame in enumerate(true.frames.tolist()):
            label, attribute = int(true.labels[row]), int(true.attributes[row])
            self.tables["sample"][tokens[frame]]["anns"].append(str(row))
            self.tables["sample_annotation"][str(row)] = {
                "token": str(row),
                "category_name": BICYCLE_RACK if label == RACK else categories[CLASSES[label]],
                "attribute_tokens": [] if attribute == NO_ATTRIBUTE else [ATTRIBUTES[attribute]],
                "translation": true.boxes.centers[row].tolist(),
                "size": true.boxes.sizes[row, [1, 0, 2]].tolist(),
                "rotation": quaternions[row],
                "velocity": true.boxes.velocities[row],
                "num_lidar_pts": int(true.points[row]),
                "num_radar_pts": 0,
            }

    @property
    def sample(self) -> list[dict[str, Any]]:
        """All frames."""
        return list(self.tables["sample"].values())

    def get(self, table: str, token: str) -> dict[str, Any]:
        """Return a row."""
        return self.tables[table][token]

    def box_velocity(self, token: str) -> Any:
        """Return the velocity (3,) of an annotation."""
        return np.append(self.tables["sample_annotation"][token]["velocity"], 0.0)


def theirs(found: Detection3dPredictions, batch: MultiviewBatch, true: PlacedBoxes) -> tuple[Any, float]:
    """Return the devkit's ``DetectionMetrics`` of the submission, and the seconds its ``evaluate`` took."""
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    frames = []
    for row, token in enumerate(batch.tokens):
        one = slice(row, row + 1)
        frames.append((token, submitted(placed_batch(found.rows(one), batch.rows(one), NAMES)[0], token, NAMES)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "submission.json")
        path.write_text("".join(submission_pieces(frames)), encoding="utf-8")
        tables = Tables(batch.tokens, true, batch.ego_to_global.numpy())
        config = config_factory("detection_cvpr_2019")
        devkit = DetectionEval(tables, config, str(path), "mini_val", folder, verbose=False)
        start = time.perf_counter()
        return devkit.evaluate()[0], time.perf_counter() - start


def differences(score: NuScenesScore, metrics: Any) -> dict[str, float]:
    """Return the largest difference of each kind of number; 1 where only one of both is defined."""
    figures = score.figures()
    errors = {f"m{ours}": metrics.tp_errors[name] for ours, name in TP_NAMES.items()}
    pairs = {name: [(figures[name], value)] for name, value in errors.items()}
    pairs |= {"map": [(figures["map"], metrics.mean_ap)], "nds": [(figures["nds"], metrics.nd_score)]}
    pairs["ap of each class and distance"] = [
        (score.precisions[label, column], metrics.get_label_ap(name, distance))
        for label, name in enumerate(CLASSES)
        for column, distance in enumerate(DISTANCES)
    ]
    for column, (error, theirs) in enumerate(TP_NAMES.items()):
        pairs[f"{error} of each class"] = [
            (score.errors[label, column], metrics.get_label_tp(name, theirs)) for label, name in enumerate(CLASSES)
        ]
    return {name: max(_difference(*pair) for pair in values) for name, values in pairs.items()}


def _difference(mine: float, other: float) -> float:
    if np.isnan(mine) or np.isnan(other):
        return float(np.isnan(mine) != np.isnan(other))
    return abs(float(mine) - float(other))


def main() -> None:
    """Install the devkit, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", type=Path, help="install the devkit into this folder, and do nothing else")
    parser.add_argument("--devkit", type=Path, help="the folder that it was installed into")
    parser.add_argument("--infos", type=Path, help="a file of infos with boxes, .pkl or .json")
    parser.add_argument("--queries", type=int, default=300, help="detections of a frame")
    parser.add_argument("--seeds", type=int, default=3, help="how many sets of detections are compared")
    given = parser.parse_args()
    if given.install:
        words = (sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(given.install), *PACKAGES)
        raise SystemExit(subprocess.run(words, check=False).returncode)
    if not given.devkit or not given.infos:
        parser.error("--devkit and --infos are needed, or --install")
    if not (given.devkit / "nuscenes").is_dir():
        parser.error(
            f"no nuscenes-devkit in {given.devkit}; scripts/compare_nuscenes.py --install FOLDER puts it there"
        )
    sys.path.append(str(given.devkit))  # last, so that numpy stays ours
    source = read_infos(given.infos, CAMERAS)
    in_our_order(source, "auto")
    worst = 0.0
    for seed in range(given.seeds):
        batch = truth_of(source, seed)
        found = jittered(batch, given.queries, seed)
        score, sides, mine = ours(found, batch)
        metrics, other = theirs(found, batch, sides[1])
        apart = differences(score, metrics)
        worst = max(worst, *apart.values())
        shown = {name: round(value, 4) for name, value in score.figures().items()}
        print(f"seed {seed}: {len(batch.tokens)} frames, {json.dumps(shown)}")
        print("  largest differences", json.dumps({name: float(f"{value:.1e}") for name, value in apart.items()}))
        print(f"  ours {mine:.2f} s, nuscenes-devkit {other:.2f} s")
    print(f"largest difference of all: {worst:.1e}")
    raise SystemExit(worst > 1e-9)


if __name__ == "__main__":
    main()
