"""DetectionMAP against pycocotools: its own published numbers, generated boxes, and one against two ranks."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.errors import DataError
from lab.loggers.undefined import with_nulls
from lab.structures import DetectionPredictions, DetectionTruth
from lab.tasks.detection.metrics import DetectionMAP
from tests.distributed import run_distributed

NAMES = ("circle", "box", "star", "nothing")
STATS = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
STATS += ("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large")


def scene(index: int, queries: int = 30) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return (truth, predictions) of one generated image; scores come in steps of 0.1, so many are equal."""
    rng = np.random.RandomState(1000 + index)
    count = index % 5  # some images hold nothing
    corner, size = rng.uniform(0, 200, (count, 2)), rng.choice([9.0, 40.0, 150.0], (count, 2))
    boxes = np.concatenate([corner, corner + size * rng.uniform(0.7, 1.3, (count, 2))], axis=1).astype(np.float32)
    labels = rng.randint(0, 3, count)
    sides = boxes[:, 2:] - boxes[:, :2]
    truth = {"boxes": boxes, "labels": labels, "iscrowd": rng.uniform(size=count) < 0.2, "area": sides.prod(1) * 0.8}
    chosen = rng.randint(0, max(count, 1), queries)
    far = np.concatenate([rng.uniform(0, 150, (queries, 2)), rng.uniform(160, 300, (queries, 2))], axis=1)
    near = boxes[chosen] + rng.normal(0, 3, (queries, 4)) if count else far
    hit = rng.uniform(size=(queries, 1)) < 0.6
    guess = np.where(rng.uniform(size=queries) < 0.8, labels[chosen], 1) if count else rng.randint(0, 3, queries)
    scores = (rng.randint(0, 11, queries) / 10).astype(np.float32)
    found = {"boxes": np.where(hit, near, far).astype(np.float32), "scores": scores, "labels": guess}
    return truth, found


def batch(indices: list[int], valid: list[bool] | None = None, queries: int = 30) -> tuple[Any, ...]:
    """Return the arguments of ``update`` for these images."""
    scenes = [scene(index, queries) for index in indices]

    def packed(side: int, name: str, stacked: bool) -> torch.Tensor:
        values = [torch.from_numpy(np.asarray(pair[side][name])) for pair in scenes]
        return torch.stack(values) if stacked else torch.cat(values)

    truth = DetectionTruth(
        boxes=packed(0, "boxes", False),
        labels=packed(0, "labels", False),
        iscrowd=packed(0, "iscrowd", False),
        area=packed(0, "area", False),
        counts=tuple(len(pair[0]["labels"]) for pair in scenes),
    )
    predictions = DetectionPredictions(packed(1, "boxes", True), packed(1, "scores", True), packed(1, "labels", True))
    return predictions, truth, torch.tensor(indices), torch.tensor(valid if valid else [True] * len(indices))


def pycocotools_numbers(indices: list[int], queries: int = 30) -> dict[str, float]:
    """Return the same numbers as DetectionMAP's, from pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def annotation(image: int, side: dict[str, np.ndarray], row: int) -> dict[str, Any]:
        x1, y1, x2, y2 = side["boxes"][row].astype(np.float64).tolist()
        box = {"image_id": image, "category_id": int(side["labels"][row]), "bbox": [x1, y1, x2 - x1, y2 - y1]}
        if "scores" in side:
            return {**box, "score": float(side["scores"][row])}
        return {**box, "area": float(side["area"][row]), "iscrowd": int(side["iscrowd"][row])}

    scenes = {index: scene(index, queries) for index in indices}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": index} for index in indices],
            "categories": [{"id": label} for label in range(len(NAMES))],
            "annotations": [
                annotation(index, pair[0], row)
                for index, pair in scenes.items()
                for row in range(len(pair[0]["boxes"]))
            ],
        }
        for number, entry in enumerate(truth.dataset["annotations"]):
            entry["id"] = number + 1
        truth.createIndex()
        found = truth.loadRes(
            [annotation(index, pair[1], row) for index, pair in scenes.items() for row in range(queries)]
        )
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    result = dict(zip(STATS, evaluation.stats.tolist(), strict=True))
    for label, name in enumerate(NAMES):
        precision = evaluation.eval["precision"][:, :, label, 0, -1]
        result[f"map_per_class/{name}"] = float(precision[precision > -1].mean()) if (precision > -1).any() else -1.0
    return {name: math.nan if value == -1 else value for name, value in result.items()}


def computed(*batches: tuple[Any, ...], also: str | None = None) -> dict[str, float]:
    metric = DetectionMAP(NAMES, also)
    for arguments in batches:
        metric.update(*arguments)
    return metric.compute()


@pytest.mark.parametrize("queries", [30, 130])
def test_generated_boxes_equal_pycocotools(queries: int) -> None:
    indices = list(range(40))
    result = computed(*(batch(indices[start : start + 7], queries=queries) for start in range(0, 40, 7)))
    expected = pycocotools_numbers(indices, queries)
    assert 0.05 < expected["map"] < 0.95
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name  # worst measured: 8.4e-17
    assert math.isnan(result["map_per_class/nothing"])


def test_many_boxes_of_one_class_equal_faster_coco_eval_to_the_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that overlap each other, crowds among them, several detections of each, equal scores; more than 100."""
    from faster_coco_eval import COCO, COCOeval_faster

    monkeypatch.setattr("lab.metrics.coco._PAIRS", 5000)  # in several parts
    rng = np.random.RandomState(3)
    metric, sides = DetectionMAP(NAMES[:2]), ([], [])
    for image in range(12):
        corner, size = (
            rng.uniform(0, 60, (20, 2)),
            rng.choice([20.0, 60.0, 150.0], (20, 1)) + rng.uniform(0, 9, (20, 2)),
        )
        boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
        labels, crowd = rng.randint(0, 2, 20), rng.uniform(size=20) < 0.15
        chosen = rng.randint(0, 20, 260)
        found = (boxes[chosen] + rng.normal(0, 4, (260, 4))).astype(np.float32)
        scores, area = (rng.randint(0, 40, 260) / 40).astype(np.float32), (size.prod(1) * 0.8).astype(np.float32)
        columns = (found, scores, labels[chosen]), (boxes, labels, crowd, area)
        predicted, true = ([torch.from_numpy(column) for column in side] for side in columns)
        predictions = DetectionPredictions(*(column[None] for column in predicted))
        truth = DetectionTruth(*true, counts=(20,))
        metric.update(predictions, truth, torch.tensor([image]), torch.tensor([True]))
        for side, corners, kinds in ((0, boxes, labels), (1, found, labels[chosen])):
            wide = corners.astype(np.float64)
            wide[:, 2:] -= wide[:, :2]
            for row, box in enumerate(wide.tolist()):
                more = {"score": float(scores[row])} if side else {"iscrowd": int(crowd[row])}
                entry = {"id": len(sides[side]) + 1, "image_id": image, "category_id": int(kinds[row]), "bbox": box}
                size_of = box[2] * box[3] if side else float(area[row])
                sides[side].append({**entry, **more, "area": size_of})
    shared = {"images": [{"id": image} for image in range(12)], "categories": [{"id": 0}, {"id": 1}]}
    peer = COCOeval_faster(*(COCO({**shared, "annotations": side}) for side in sides), iouType="bbox")
    peer.params.iouThrs, peer.params.recThrs = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)
    peer.evaluate()
    peer.accumulate()
    peer.summarize()
    values = metric.compute()
    assert 0.1 < values["map"] < 0.9
    assert values["map_small"] == values["map_small"]
    assert [values[name] for name in STATS] == [float(value) for value in peer.stats[:12]]
    precision = peer.eval["precision"][:, :, :, 0, -1]
    assert [values[f"map_per_class/{name}"] for name in NAMES[:2]] == [precision[:, :, k].mean() for k in (0, 1)]


def test_classes_measured_are_those_with_an_object() -> None:
    metric = DetectionMAP(NAMES)
    metric.update(*batch(list(range(20))))
    values = metric.compute()
    assert metric.classes_measured == len(NAMES) - 1  # "nothing" has none
    assert values["map"] == pytest.approx(
        sum(value for name, value in values.items() if name.startswith("map_per_class/") and value >= 0)
        / metric.classes_measured
    )


def test_thresholds_in_float32_would_be_seen() -> None:
    # One class, one image: IoU is 0.55 in float64 and above 0.55 as float32 rounds it up.
    assert float(np.float32(0.55)) > 0.55
    truth = DetectionTruth(
        torch.tensor([[0.0, 0.0, 100.0, 100.0]]), torch.tensor([0]), torch.tensor([False]), torch.tensor([1e4]), (1,)
    )
    found = DetectionPredictions(torch.tensor([[[0.0, 0.0, 100.0, 55.0]]]), torch.ones(1, 1), torch.zeros(1, 1).long())
    metric = DetectionMAP(["one"])
    metric.update(found, truth, torch.tensor([3]), torch.tensor([True]))
    assert metric.compute()["map"] == pytest.approx(0.2)  # 0.50 and 0.55 of ten thresholds; 0.1 without the latter


def test_oracle_coco_fake100() -> None:
    folder = Path(os.environ.get("LAB_DATA_DIR", "data")) / "oracles" / "coco_fake100"
    if not folder.is_dir():
        pytest.skip(f"no oracle in {folder}: set LAB_DATA_DIR")
    expected = json.loads((folder / "expected_pycocotools.json").read_text())["results"]["bbox"]
    annotations = json.loads((folder / "instances_train2017_128.json").read_text())
    results = json.loads((folder / "bbox_results_43imgs.json").read_text())
    category_ids = sorted(category["id"] for category in annotations["categories"])
    metric = DetectionMAP([str(category) for category in category_ids])
    for image_id in reversed(expected["image_ids"]):  # the order must not matter
        true = [entry for entry in annotations["annotations"] if entry["image_id"] == image_id]
        found = [entry for entry in results if entry["image_id"] == image_id]

        def boxes(side: list[dict[str, Any]]) -> torch.Tensor:
            corners = [(x, y, x + w, y + h) for x, y, w, h in (entry["bbox"] for entry in side)]
            return torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)

        def labels(side: list[dict[str, Any]]) -> torch.Tensor:
            return torch.tensor([category_ids.index(entry["category_id"]) for entry in side], dtype=torch.int64)

        truth = DetectionTruth(
            boxes(true),
            labels(true),
            torch.tensor([bool(entry["iscrowd"]) for entry in true], dtype=torch.bool),
            torch.tensor([entry["area"] for entry in true], dtype=torch.float32),
            (len(true),),
        )
        scores = torch.tensor([entry["score"] for entry in found], dtype=torch.float32)
        predictions = DetectionPredictions(boxes(found)[None], scores[None], labels(found)[None])
        metric.update(predictions, truth, torch.tensor([image_id]), torch.tensor([True]))
    result = metric.compute()
    for name, value in zip(STATS, expected["stats"].values(), strict=True):
        assert result[name] == pytest.approx(value, abs=1e-6), name  # worst measured: 5.0e-7, the file's rounding
    for category, value in expected["per_category_AP"].items():
        assert result[f"map_per_class/{category}"] == pytest.approx(value, abs=1e-6), category


def on_rank(rank: int, world_size: int, sizes: tuple[int, ...]) -> list[dict[str, float]]:
    """Evaluate every second image on this rank, filling up with invalid rows so that all run the same batches.

    The last result is of five images that rank 0 sees alone.
    """
    results = []
    for num_samples in sizes:
        metric = DetectionMAP(NAMES, "yolo_fastest")
        for number in range(-(-num_samples // world_size)):
            index = rank + number * world_size
            metric.update(*batch([index % num_samples], [index < num_samples]))
        results.append(metric.compute())
    metric = DetectionMAP(NAMES, "yolo_fastest")
    if rank == 0:
        metric.update(*batch([0, 1, 2, 3, 4]))
    return [*results, metric.compute()]


def test_two_ranks_equal_one() -> None:
    sizes = (1, 5, 9)  # one sample: rank 1 holds only a filler
    expected = [computed(batch(list(range(size))), also="yolo_fastest") for size in (*sizes, 5)]
    assert expected[-1]["yolo_fastest_ap50"] > 0
    for found in run_distributed(on_rank, world_size=2, args=(2, sizes)):
        assert list(map(with_nulls, found)) == list(map(with_nulls, expected))  # NaN equals nothing


def test_order_and_batches_do_not_matter_and_fillers_are_left_out() -> None:
    expected = computed(batch(list(range(9))))
    assert 0 < expected["map"] < 1
    filled = computed(batch([8, 3, 5, 8], [True, True, True, False]), batch([7, 0, 1]), batch([2, 6, 4]))
    assert with_nulls(filled) == with_nulls(expected)
    assert computed(batch([8, 3, 5]), batch([7, 0, 1], queries=12), batch([2, 6, 4])) != expected


def test_rows_of_score_0_that_fill_up_a_batch_change_no_metric() -> None:
    """A detector that finds a number of its own in each image fills up the others' rows."""
    found, truth, ids, valid = batch(list(range(1, 9)))
    found.scores += 0.05  # its own are above 0
    empty = [torch.zeros(len(ids), 20, *part.shape[2:], dtype=part.dtype) for part in vars(found).values()]
    filled = DetectionPredictions(*(torch.cat(parts, dim=1) for parts in zip(vars(found).values(), empty, strict=True)))
    results = [computed((one, truth, ids, valid), also="yolo_fastest") for one in (found, filled)]
    assert with_nulls(results[0]) == with_nulls(results[1])
    assert results[0]["yolo_fastest_ap50"] > 0
    none = DetectionPredictions(*(part[:, :0] for part in vars(found).values()))
    nothing = computed((none, truth, ids, valid), also="yolo_fastest")
    assert nothing["map"] == nothing["yolo_fastest_ap50"] == 0


def test_an_image_counted_twice_is_an_error() -> None:
    with pytest.raises(DataError, match="image id 3 was evaluated twice"):
        computed(batch([3, 4]), batch([3]))


def test_reset_forgets_and_nothing_gives_minus_one() -> None:
    metric = DetectionMAP(NAMES)
    metric.update(*batch([1, 2]))
    metric.reset()
    metric.update(*batch([1], [False]))
    assert all(map(math.isnan, metric.compute().values()))
    metric.reset()
    metric.update(*batch([3]))
    assert metric.compute() == computed(batch([3]))
