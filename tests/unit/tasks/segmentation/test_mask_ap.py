"""MaskMAP against pycocotools: its published numbers, generated masks, and one against two ranks."""

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
from lab.structures import Instances
from lab.tasks.segmentation.mask_ap import MaskMAP, encode
from lab.tasks.segmentation.metrics import PanopticQuality, SemanticMetrics
from tests.distributed import run_distributed
from tests.unit.tasks.segmentation.scenes import NAMES, THINGS, Scene, maps_of, scene, segments_of, truth_of

STATS = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
STATS += ("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large")


def instances(index: int) -> Instances:
    """Return objects found in a scene: shifted copies of the true ones, which overlap, and two more, one empty."""
    item, rng = scene(index), np.random.RandomState(index)
    things = np.flatnonzero(np.isin(item.true_labels, THINGS))
    masks = [item.true == number for number in things for _ in range(2)]
    masks = [np.roll(mask, rng.randint(-2, 3, 2), (0, 1)) for mask in masks]
    labels = [int(item.true_labels[number]) if rng.uniform() < 0.8 else 1 for number in things for _ in range(2)]
    masks += [rng.uniform(size=item.true.shape) < 0.5, np.zeros(item.true.shape, bool)]
    scores = np.sort(rng.randint(0, 11, len(masks)) / 10)[::-1].astype(np.float32)
    return Instances(torch.from_numpy(np.stack(masks)), torch.tensor([*labels, 0, 1]), torch.from_numpy(scores.copy()))


def computed(*batches: list[int]) -> dict[str, float]:
    metric = MaskMAP(NAMES, THINGS)
    for indices in batches:
        update(metric, indices, [True] * len(indices))
    return metric.compute()


def update(metric: MaskMAP, indices: list[int], valid: list[bool]) -> None:
    truth = truth_of([scene(index) for index in indices])
    metric.update([instances(index) for index in indices], truth, torch.tensor(indices), torch.tensor(valid))


def pycocotools_numbers(scenes: dict[int, Scene]) -> dict[str, float]:
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def annotation(image: int, mask: np.ndarray, label: int) -> dict[str, Any]:
        code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"image_id": image, "category_id": label + 1, "segmentation": code, "area": float(mask.sum())}

    true, found = [], []
    for image, item in scenes.items():
        for number, label in enumerate(item.true_labels):
            if label in THINGS:
                entry = annotation(image, item.true == number, int(label))
                true.append({**entry, "iscrowd": int(item.iscrowd[number]), "id": len(true) + 1})
        guess = instances(image)
        for mask, label, score in zip(guess.masks.numpy(), guess.labels.tolist(), guess.scores.tolist(), strict=True):
            found.append({**annotation(image, mask, label), "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i, "height": s.true.shape[0], "width": s.true.shape[1]} for i, s in scenes.items()],
            "categories": [{"id": label + 1} for label in range(len(NAMES))],
            "annotations": true,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {f"{name}_segm": value for name, value in zip(STATS, evaluation.stats.tolist(), strict=True)}


def test_generated_masks_equal_pycocotools() -> None:
    expected = pycocotools_numbers({index: scene(index) for index in range(20)})
    assert 0.05 < expected["map_segm"] < 0.95
    result = computed(list(range(7)), list(range(7, 20)))
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        assert result[name] == pytest.approx(math.nan if value == -1 else value, abs=1e-12, nan_ok=True), name
    assert math.isnan(result["map_large_segm"])


def test_oracle_coco_fake100() -> None:
    folder = Path(os.environ.get("LAB_DATA_DIR", "data")) / "oracles" / "coco_fake100"
    if not folder.is_dir():
        pytest.skip(f"no oracle in {folder}: set LAB_DATA_DIR")
    from faster_coco_eval.core import mask as coco_mask

    expected = json.loads((folder / "expected_pycocotools.json").read_text())["results"]["segm"]
    content = json.loads((folder / "instances_train2017_128.json").read_text())
    results = json.loads((folder / "segm_results_43imgs.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    ids = sorted(category["id"] for category in content["categories"])

    def code(value: Any, size: tuple[int, int]) -> bytes:
        if isinstance(value, list):
            return coco_mask.merge(coco_mask.frPyObjects(value, *size))["counts"]
        if isinstance(value["counts"], list):
            return coco_mask.frPyObjects(value, *size)["counts"]
        return value["counts"].encode()

    metric = MaskMAP([str(number) for number in ids], range(len(ids)))
    for image_id in reversed(expected["image_ids"]):  # the order must not matter
        size = sizes[image_id]
        true = [entry for entry in content["annotations"] if entry["image_id"] == image_id]
        found = [entry for entry in results if entry["image_id"] == image_id]
        sides = [
            (
                [code(entry["segmentation"], size) for entry in side],
                torch.tensor([ids.index(e["category_id"]) for e in side]),
            )
            for side in (true, found)
        ]
        iscrowd = torch.tensor([bool(entry["iscrowd"]) for entry in true])
        area = torch.tensor([entry["area"] for entry in true], dtype=torch.float64)
        scores = torch.tensor([entry["score"] for entry in found], dtype=torch.float64)
        metric.add_image(image_id, size, (*sides[0], iscrowd, area), (*sides[1], scores))
    result = metric.compute()
    for name, value in zip(STATS, expected["stats"].values(), strict=True):
        assert result[f"{name}_segm"] == pytest.approx(value, abs=1e-6), name  # the file's rounding: 5e-7


def test_stated_area_decides_the_size_class() -> None:
    """The same mask of 100 pixels: small as it is, large as annotated."""
    mask = torch.zeros(1, 20, 20, dtype=torch.bool)
    mask[0, :10, :10] = True
    codes, label = encode(mask), torch.tensor([0])
    for area, size in ((0.0, "small"), (1e5, "large")):
        metric = MaskMAP(["one"], [0])
        truth = (codes, label, torch.tensor([False]), torch.tensor([area]))
        metric.add_image(1, (20, 20), truth, (codes, label, torch.tensor([0.5])))
        values = metric.compute()
        for name in ("small", "medium", "large"):
            assert values[f"map_{name}_segm"] == pytest.approx(1.0 if name == size else math.nan, nan_ok=True)


class All:
    """The three metrics of segmentation together, so that ranks are started once."""

    def __init__(self) -> None:
        self.masks = MaskMAP(NAMES, THINGS)
        self.semantic, self.panoptic = SemanticMetrics(NAMES), PanopticQuality(NAMES, THINGS)

    def update(self, indices: list[int], valid: list[bool]) -> None:
        scenes = [scene(index) for index in indices]
        update(self.masks, indices, valid)
        self.semantic.update(maps_of(scenes), truth_of(scenes), torch.tensor(valid))
        self.panoptic.update(segments_of(scenes), truth_of(scenes), torch.tensor(valid))

    def compute(self) -> dict[str, float]:
        return self.masks.compute() | self.semantic.compute() | self.panoptic.compute()


def on_rank(rank: int, world_size: int, sizes: tuple[int, ...]) -> list[dict[str, float]]:
    """Evaluate every second image on this rank, filled up; the last result is of five images that rank 0 has alone."""
    results = []
    for num_samples in sizes:
        metrics = All()
        for number in range(-(-num_samples // world_size)):
            index = rank + number * world_size
            metrics.update([index % num_samples], [index < num_samples])
        results.append(metrics.compute())
    metrics = All()
    if rank == 0:
        metrics.update([0, 1, 2, 3, 4], [True] * 5)
    return [*results, metrics.compute()]


def test_two_ranks_equal_one() -> None:
    sizes = (1, 5, 9)  # one image: rank 1 holds only a filler
    expected = []
    for size in (*sizes, 5):
        metrics = All()
        metrics.update(list(range(size)), [True] * size)
        expected.append(metrics.compute())
    for found in run_distributed(on_rank, world_size=2, args=(2, sizes)):
        for values, exact in zip(found, expected, strict=True):
            assert values == pytest.approx(exact, abs=1e-14, nan_ok=True)  # sums of IoU in another order


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (37, 23), (23, 37), (1300, 900)])
def test_codes_equal_pycocotools(size: tuple[int, int]) -> None:
    """Empty, full and ragged masks, in several chunks; runs of one pixel and of a million."""
    from pycocotools import mask as coco_mask

    rng = np.random.RandomState(sum(size))
    rows, columns = np.mgrid[: size[0], : size[1]]
    shares = (0.0, 1.0, 0.5, 0.01, 0.99)
    masks = [rng.uniform(size=size) < share for share in shares] + [rows > columns, (rows + columns) % 2 == 0]
    codes = encode(torch.from_numpy(np.stack(masks)))
    assert codes == [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"] for mask in masks]
    turned = torch.from_numpy(np.stack([mask.T for mask in masks])).transpose(1, 2)  # not contiguous
    assert encode(turned) == codes
    assert encode(turned[:0]) == []


def test_order_does_not_matter_twice_is_an_error_and_nothing_gives_minus_one() -> None:
    metric = MaskMAP(NAMES, THINGS)
    update(metric, [4, 2, 4], [True, True, False])
    update(metric, [3], [True])
    assert metric.compute() == computed([2, 3, 4]) != computed([2, 3])
    update(metric, [3], [True])
    with pytest.raises(DataError, match="image id 3 was evaluated twice"):
        metric.compute()
    metric.reset()
    update(metric, [3], [False])
    assert all(map(math.isnan, metric.compute().values()))
