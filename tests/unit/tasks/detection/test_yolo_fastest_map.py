"""The authors' evaluation of YOLO-Fastest: by hand, against a slow form, and where it differs from COCO's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lab.tasks.detection.metrics import DetectionMAP
from tests.unit.tasks.detection.test_metrics import NAMES, batch, scene


def slow(indices: list[int], queries: int = 30) -> float:
    """Compute it image by image and candidate by candidate, as the notes on the published evaluation describe it."""
    found, truth = [], []
    for index in indices:
        true, guess = scene(index, queries)
        kept = np.flatnonzero(~true["iscrowd"])
        objects = [(true["boxes"][row], true["labels"][row]) for row in kept]
        truth += [label for _, label in objects]
        order = sorted(range(queries), key=lambda row: -guess["scores"][row])
        taken: set[int] = set()
        for row in [row for row in order if guess["scores"][row] >= 0.01][:300]:
            hit = False
            if guess["labels"][row] in [label for _, label in objects]:
                overlaps = [one_iou(guess["boxes"][row], box) for box, _ in objects]
                best = overlaps.index(max(overlaps))
                hit = overlaps[best] >= 0.5 and best not in taken
                taken |= {best} if hit else set()
            found.append((float(guess["scores"][row]), hit, guess["labels"][row]))
    found.sort(key=lambda item: -item[0])
    areas = []
    for label in sorted(set(truth)):
        hits = [hit for _, hit, other in found if other == label]
        points = [(sum(hits[: n + 1]) / truth.count(label), sum(hits[: n + 1]) / (n + 1)) for n in range(len(hits))]
        area = last = 0.0
        for place, (recall, _) in enumerate(points):
            area += (recall - last) * max(precision for _, precision in points[place:])
            last = recall
        areas.append(area)
    return sum(areas) / len(areas)


def one_iou(a: np.ndarray, b: np.ndarray) -> float:
    (ax, ay, aX, aY), (bx, by, bX, bY) = a.tolist(), b.tolist()
    shared = max(min(aX, bX) - max(ax, bx) + 1, 0) * max(min(aY, bY) - max(ay, by) + 1, 0)
    return shared / ((aX - ax + 1) * (aY - ay + 1) + (bX - bx + 1) * (bY - by + 1) - shared)


def computed(*parts: tuple) -> dict[str, float]:
    metric = DetectionMAP(NAMES, also="yolo_fastest")
    for part in parts:
        metric.update(*part)
    return metric.compute()


def test_equals_the_slow_form_in_any_order_of_images() -> None:
    indices = list(range(40))
    result = computed(*(batch(indices[start : start + 7]) for start in range(0, 40, 7)))
    assert 0.05 < result["yolo_fastest_ap50"] < 0.95
    assert result["yolo_fastest_ap50"] == pytest.approx(slow(indices), abs=1e-12)
    assert abs(result["yolo_fastest_ap50"] - result["map_50"]) > 0.01  # it is another metric
    other = computed(batch([*indices[::-2], 40, 41], [True] * 20 + [False] * 2), batch(indices[::2]))
    assert other["yolo_fastest_ap50"] == result["yolo_fastest_ap50"]  # as on two ranks, with rows that only fill up
    assert {**other, "yolo_fastest_ap50": 0} == pytest.approx({**result, "yolo_fastest_ap50": 0}, nan_ok=True)


def test_only_where_it_is_asked_for_and_nan_without_objects() -> None:
    metric = DetectionMAP(NAMES)
    metric.update(*batch([1]))
    assert "yolo_fastest_ap50" not in metric.compute()
    assert math.isnan(computed(batch([0]))["yolo_fastest_ap50"])


def test_a_pixel_more_and_any_class_by_hand() -> None:
    import torch

    from lab.structures import DetectionPredictions, DetectionTruth

    truth = DetectionTruth(
        torch.tensor([[0.0, 0.0, 9.0, 9.0], [50.0, 50.0, 60.0, 60.0]]),
        torch.tensor([0, 1]),
        torch.zeros(2, dtype=torch.bool),
        torch.tensor([81.0, 100.0]),
        (2,),
    )
    # 9 x 4 of 9 x 9 is IoU 0.44, with a pixel more 10 x 5 of 10 x 10: 0.5. The second has the other object's class.
    boxes = torch.tensor([[[0.0, 0.0, 9.0, 4.0], [50.0, 50.0, 60.0, 60.0]]])
    found = DetectionPredictions(boxes, torch.tensor([[0.9, 0.8]]), torch.tensor([[0, 0]]))
    result = computed((found, truth, torch.tensor([1]), torch.tensor([True])))
    # class 0: both candidates are right, one object: recall 1 at the first, then 2; class 1: nothing found.
    assert result["yolo_fastest_ap50"] == pytest.approx((1 + 1) / 2)
    assert result["map_50"] == 0
