"""mIoU, accuracy and panoptic quality against torchmetrics, panopticapi's definition and real files.

Two ranks are in ``test_masks``.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lab.structures import SegmentationTruth
from lab.tasks.segmentation.metrics import PanopticQuality, SemanticMetrics
from tests.unit.tasks.segmentation.scenes import NAMES, THINGS, Scene, maps_of, scene, segments_of, truth_of

SCENES = [scene(index) for index in range(20)]


def data(name: str) -> Path:
    folder = Path(os.environ.get("LAB_DATA_DIR", "data")) / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in {folder.parent}: set LAB_DATA_DIR")
    return folder


def semantic(*batches: list[Scene]) -> SemanticMetrics:
    metric = SemanticMetrics(NAMES)
    for scenes in batches:
        metric.update(maps_of(scenes), truth_of(scenes), torch.ones(len(scenes), dtype=torch.bool))
    return metric


def panoptic(*batches: list[Scene]) -> PanopticQuality:
    metric = PanopticQuality(NAMES, THINGS)
    for scenes in batches:
        metric.update(segments_of(scenes), truth_of(scenes), torch.ones(len(scenes), dtype=torch.bool))
    return metric


def slow_true_classes(item: Scene) -> np.ndarray:
    result = np.full(item.true.shape, -1)
    for number, (label, crowd) in enumerate(zip(item.true_labels, item.iscrowd, strict=True)):
        result[item.true == number] = -1 if crowd else label
    return result


def test_pixels_are_counted_in_images_of_unlike_sizes() -> None:
    """Against a count pixel by pixel: void, crowds and images that only pad a batch are left out."""
    expected = np.zeros((len(NAMES), len(NAMES)), dtype=int)
    valid = [index % 3 != 1 for index in range(len(SCENES))]
    for item, counts in zip(SCENES, valid, strict=True):
        for true, found in zip(slow_true_classes(item).ravel(), item.found_classes.ravel(), strict=True):
            expected[true, found] += counts and true >= 0
    assert sum((slow_true_classes(item) == -1).sum() for item in SCENES) > 1000
    metric = SemanticMetrics(NAMES)
    metric.update(maps_of(SCENES), truth_of(SCENES), torch.tensor(valid))
    assert metric.confusion.tolist() == expected.tolist()
    nothing = SegmentationTruth(
        torch.full((6,), -1).short(), torch.zeros(0).long(), torch.zeros(0) > 0, (0,), ((2, 3),)
    )
    metric.update([torch.zeros(2, 3, dtype=torch.int16)], nothing, torch.tensor([True]))
    assert metric.confusion.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_more_pairs_than_the_maps_integers_can_hold(dtype: torch.dtype) -> None:
    """By hand: 400 segments and 200 classes are 80,200 pairs; segment s is of class s % 200, found as class 199."""
    numbers = torch.arange(400)
    truth = SegmentationTruth(numbers.short(), numbers % 200, torch.zeros(400) > 0, (400,), ((20, 20),))
    metric = SemanticMetrics([str(label) for label in range(200)])
    metric.update([torch.full((20, 20), 199, dtype=dtype)], truth, torch.tensor([True]))
    assert metric.confusion[:, 199].tolist() == [2] * 200
    assert int(metric.confusion.sum()) == 400


def test_of_two_crowds_the_last_counts() -> None:
    """By hand: 4 pixels found as class 0, of which 2 lie on each crowd; more than half must lie on the last one."""
    iscrowd = np.array([True, True])
    for true, wrong in (([[0, 0, 1, 1]], 1), ([[0, 1, 1, 1]], 0), ([[0, 0, 0, 1]], 1)):
        item = Scene(np.array(true), np.array([0, 0]), iscrowd, np.zeros((1, 4), dtype=int), np.array([0]))
        metric = panoptic([item])
        assert metric.wrong.tolist() == [row[2] for row in slow_quality([item]).values()]
        assert int(metric.wrong[0]) == wrong


def test_semantic_metrics_equal_torchmetrics() -> None:
    from torchmetrics import classification

    found = torch.cat([item.flatten() for item in maps_of(SCENES)]).long()
    true = torch.from_numpy(np.concatenate([slow_true_classes(item).ravel() for item in SCENES]))
    settings: dict[str, Any] = {"num_classes": len(NAMES), "ignore_index": -1}
    metric = semantic(SCENES[:7], SCENES[7:8], SCENES[8:])
    values, (iou, accuracy) = metric.compute(), metric.of_classes()
    expected_iou = classification.MulticlassJaccardIndex(average="none", **settings)(found, true)
    expected_accuracy = classification.MulticlassAccuracy(average="none", **settings)(found, true)
    assert iou[4].isnan()
    assert accuracy[4].isnan()  # a class that stands nowhere counts in no mean
    torch.testing.assert_close(iou[:4], expected_iou[:4].double(), atol=1e-6, rtol=0)  # worst measured: 3e-8, float32
    torch.testing.assert_close(accuracy[:4], expected_accuracy[:4].double(), atol=1e-6, rtol=0)
    miou = classification.MulticlassJaccardIndex(average="macro", **settings)(found, true)
    pixels = classification.MulticlassAccuracy(average="micro", **settings)(found, true)
    assert 0.2 < values["miou"] < 0.9
    assert values["miou"] == pytest.approx(float(miou), abs=1e-6)
    assert values["pixel_accuracy"] == pytest.approx(float(pixels), abs=1e-6)
    assert values["mean_accuracy"] == pytest.approx(float(expected_accuracy[:4].mean()), abs=1e-6)


def test_more_pairs_of_classes_than_pixels() -> None:
    """By numpy: 40 classes have 1,600 pairs, the images fewer pixels."""
    metric = SemanticMetrics([f"class {label}" for label in range(40)])
    expected = np.zeros((40, 40), dtype=int)
    draw = np.random.default_rng(0)
    for _ in range(3):
        found = draw.integers(0, 40, (20, 30))
        truth = SegmentationTruth(
            torch.from_numpy(draw.integers(-1, 6, 600)).short(),
            torch.from_numpy(draw.permutation(40)[:6]),
            torch.tensor([False] * 5 + [True]),
            (6,),
            ((20, 30),),
        )
        metric.update([torch.from_numpy(found).short()], truth, torch.ones(1, dtype=torch.bool))
        classes = np.append(np.where(truth.iscrowd.numpy(), -1, truth.labels.numpy()), -1)
        true = classes[truth.pixels.numpy()]  # without a segment: the last
        np.add.at(expected, (true[true >= 0], found.ravel()[true >= 0]), 1)
    assert metric.confusion.tolist() == expected.tolist()
    assert expected.max() > 1


def test_classes_of_one_side_only() -> None:
    """By hand: class 0 is hit twice of three, class 1 is only predicted, class 2 only true, class 3 nowhere."""
    true = torch.tensor([0, 0, 0, 2, -1, -1]).short()
    labels = torch.tensor([0, 3, 2])  # the second segment has no pixel
    truth = SegmentationTruth(true, labels, torch.zeros(3, dtype=torch.bool), (3,), ((2, 3),))
    metric = SemanticMetrics("abcd")
    metric.update([torch.tensor([[0, 0, 1], [0, 3, 1]]).short()], truth, torch.tensor([True]))
    iou, accuracy = metric.of_classes()
    assert iou.tolist()[:3] == [0.5, 0.0, 0.0]
    assert accuracy[0] == 2 / 3
    assert accuracy[1].isnan()
    assert accuracy[2] == 0
    assert iou[3].isnan()  # predicted on an ignored pixel alone
    values = metric.compute()
    assert values == pytest.approx({"miou": 0.5 / 3, "mean_accuracy": 1 / 3, "pixel_accuracy": 0.5}, abs=1e-12)


def test_ade20k_sample() -> None:
    folder = data("ade20k_sample")
    metric = SemanticMetrics([str(label) for label in range(150)])
    for path in sorted((folder / "annotations").glob("*.png")):
        stored = np.asarray(Image.open(path)).astype(np.int64)
        found = np.asarray(Image.open(folder / "predictions" / path.name)).astype(np.int64)
        values = np.unique(stored[stored > 0])
        pixels = np.where(stored > 0, np.searchsorted(values, stored), -1)
        truth = SegmentationTruth(
            torch.from_numpy(pixels).flatten().short(),
            torch.from_numpy(values - 1),
            torch.zeros(len(values), dtype=torch.bool),
            (len(values),),
            ((stored.shape[0], stored.shape[1]),),
        )
        metric.update([torch.from_numpy((found - 1).clip(0)).short()], truth, torch.tensor([True]))
    assert (stored == 0).any()
    assert metric.compute() == {"miou": 1.0, "mean_accuracy": 1.0, "pixel_accuracy": 1.0}
    assert 10 < int((~metric.of_classes()[0].isnan()).sum()) < 150


def slow_quality(scenes: list[Scene]) -> dict[int, list[float]]:
    """Return (sum of IoU, matched, wrong, missed) of each class as panopticapi's pq_compute counts, pixel by pixel."""
    stats = {label: [0.0, 0, 0, 0] for label in range(len(NAMES))}
    for item in scenes:
        used, hit = set(), set()
        for j, label in enumerate(item.found_labels):
            mine = item.found == j
            for i, true_label in enumerate(item.true_labels):
                theirs = item.true == i
                if item.iscrowd[i] or label != true_label or not (mine & theirs).any():
                    continue
                both = (mine & theirs).sum()
                iou = both / (mine.sum() + theirs.sum() - both - (mine & (item.true < 0)).sum())
                if iou > 0.5:
                    stats[label][0] += iou
                    stats[label][1] += 1
                    used.add(j)
                    hit.add(i)
        for i, label in enumerate(item.true_labels):
            if i not in hit and not item.iscrowd[i]:
                stats[label][3] += 1
        for j, label in enumerate(item.found_labels):
            mine = item.found == j
            free = (mine & (item.true < 0)).sum()
            crowds = [i for i, crowd in enumerate(item.iscrowd) if crowd and item.true_labels[i] == label]
            if crowds:  # of several it keeps the last
                free += (mine & (item.true == crowds[-1])).sum()
            if j not in used and mine.any() and free / mine.sum() <= 0.5:
                stats[label][2] += 1
    return stats


def quality_means(stats: dict[int, list[float]]) -> dict[str, float]:
    def mean(labels: Any, kind: int) -> float:
        values = []
        for label in labels:
            iou, matched, wrong, missed = stats[label]
            if weight := matched + 0.5 * wrong + 0.5 * missed:
                values.append((iou / weight, iou / matched if matched else 0.0, matched / weight)[kind])
        return sum(values) / len(values) if values else math.nan

    everything, stuff = range(len(NAMES)), sorted(set(range(len(NAMES))) - set(THINGS))
    values = {name: mean(everything, kind) for kind, name in enumerate(("pq", "sq", "rq"))}
    return {**values, "pq_things": mean(THINGS, 0), "pq_stuff": mean(stuff, 0)}


def test_panoptic_quality_equals_panopticapis_definition() -> None:
    stats = slow_quality(SCENES)
    metric = panoptic(SCENES[:5], SCENES[5:])
    assert metric.matched.tolist() == [row[1] for row in stats.values()]
    assert metric.wrong.tolist() == [row[2] for row in stats.values()]
    assert metric.missed.tolist() == [row[3] for row in stats.values()]
    assert min(sum(row[column] for row in stats.values()) for column in (1, 2, 3)) > 5
    expected = quality_means(stats)
    assert 0.1 < expected["pq"] < 0.9
    assert metric.compute() == pytest.approx(expected, abs=1e-12)


def test_rules_of_void_and_crowds_would_be_missed() -> None:
    """Without them the numbers differ: the scenes exercise both."""
    right = panoptic(SCENES).compute()
    no_crowd = [Scene(s.true, s.true_labels, s.iscrowd & False, s.found, s.found_labels) for s in SCENES]
    assert panoptic(no_crowd).compute()["pq"] != pytest.approx(right["pq"], abs=1e-4)
    as_void = []  # crowds taken for void, which would also leave them out of unions
    for item in SCENES:
        void = np.isin(item.true, np.flatnonzero(item.iscrowd))
        as_void.append(
            Scene(np.where(void, -1, item.true), item.true_labels, item.iscrowd, item.found, item.found_labels)
        )
    assert panoptic(as_void).compute()["pq"] != pytest.approx(right["pq"], abs=1e-4)


def test_panoptic_quality_equals_torchmetrics() -> None:
    """Which knows no crowds and excuses what is missed where nothing is predicted: here they are void, it is grass."""
    from torchmetrics.detection import PanopticQuality as Peer

    peer = Peer(things=set(THINGS), stuffs={2, 3, 4}, allow_unknown_preds_category=True)
    scenes = []
    for item in SCENES:
        true = np.where(np.isin(item.true, np.flatnonzero(item.iscrowd)), -1, item.true)
        kept, numbers = np.unique(true, return_inverse=True)
        true, true_labels = numbers.reshape(true.shape) - int(kept[0] < 0), item.true_labels[kept[kept >= 0]]
        found, found_labels = np.where(item.found < 0, len(item.found_labels), item.found), [*item.found_labels, 3]
        for number in np.flatnonzero(item.found_labels == 3):
            found[found == number] = len(item.found_labels)
        scenes.append(Scene(true, true_labels, np.zeros(len(true_labels), bool), found, np.array(found_labels)))

        def pairs(numbers: np.ndarray, labels: Any) -> torch.Tensor:
            return torch.from_numpy(np.stack([np.append(labels, 9)[numbers], numbers.clip(0)], -1))[None]

        target = pairs(true, true_labels)
        target[..., 0][target[..., 0] == 9] = 7  # unknown to it: void
        peer.update(pairs(found, found_labels), target)
    assert panoptic(scenes).compute() == pytest.approx(quality_means(slow_quality(scenes)), abs=1e-12)
    assert panoptic(scenes).compute()["pq"] == pytest.approx(
        float(peer.compute()), abs=1e-7
    )  # worst measured: 2.4e-9; it divides in float32


def coco_scenes(folder: Path) -> tuple[list[Scene], list[str], list[int]]:
    """Return the two images with predictions that are shifted, merged and dropped."""
    content = json.loads((folder / "panoptic_examples.json").read_text())
    categories = json.loads((folder / "panoptic_coco_categories.json").read_text())
    label_of = {category["id"]: label for label, category in enumerate(categories)}
    scenes = []
    for annotation in content["annotations"]:
        rgb = np.asarray(Image.open(folder / "panoptic_examples" / annotation["file_name"])).astype(np.int64)
        ids = rgb @ [1, 256, 65536]
        infos = annotation["segments_info"]
        true = np.full(ids.shape, -1)
        for number, info in enumerate(infos):
            true[ids == info["id"]] = number
            assert (ids == info["id"]).sum() == info["area"]
        labels = np.array([label_of[info["category_id"]] for info in infos])
        found = np.roll(true, (6, -9), (0, 1))
        found[found == 1] = 0
        found[:, -40:] = -1
        found_labels = labels.copy()
        found_labels[-1] = (found_labels[-1] + 1) % len(categories)
        scenes.append(Scene(true, labels, np.array([bool(info["iscrowd"]) for info in infos]), found, found_labels))
    return scenes, [item["name"] for item in categories], [i for i, item in enumerate(categories) if item["isthing"]]


def test_coco_panoptic_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes, names, things = coco_scenes(data("coco_panoptic_sample"))
    monkeypatch.setattr(f"{__name__}.NAMES", names)
    monkeypatch.setattr(f"{__name__}.THINGS", things)
    perfect = [Scene(s.true, s.true_labels, s.iscrowd, s.true, s.true_labels) for s in scenes]
    values = panoptic(perfect).compute()
    assert values == dict.fromkeys(("pq", "sq", "rq", "pq_things", "pq_stuff"), 1.0)
    expected = quality_means(slow_quality(scenes))
    assert 0.2 < expected["pq"] < 0.95
    assert panoptic(scenes).compute() == pytest.approx(expected, abs=1e-12)


def update_both(metrics: tuple[SemanticMetrics, PanopticQuality], scenes: list[Scene], valid: list[bool]) -> None:
    metrics[0].update(maps_of(scenes), truth_of(scenes), torch.tensor(valid))
    metrics[1].update(segments_of(scenes), truth_of(scenes), torch.tensor(valid))


def test_fillers_are_left_out_and_reset_forgets() -> None:
    filled = SemanticMetrics(NAMES), PanopticQuality(NAMES, THINGS)
    update_both(filled, [SCENES[3], SCENES[0], SCENES[5], SCENES[5]], [True, False, True, False])
    assert filled[0].compute() == semantic([SCENES[3], SCENES[5]]).compute() != semantic([SCENES[3]]).compute()
    assert filled[1].compute() == panoptic([SCENES[3], SCENES[5]]).compute()
    for metric in filled:
        metric.reset()
    update_both(filled, SCENES[:2], [False, False])
    assert all(map(math.isnan, [*filled[0].compute().values(), *filled[1].compute().values()]))
