"""Instances of COCO as segments: masks known by hand and by pycocotools, overlaps in the truth, what is left out."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lab
from lab.data.images.dataset import Reading
from lab.errors import ConfigError, DataError
from lab.ops.images import normalize_images
from lab.structures import NO_SEGMENT, Instances, SegmentationBatch, SegmentationTruth, Segments
from lab.tasks.detection.data.coco import CocoDataset
from lab.tasks.segmentation.data.coco_instances import InstancesDataModule, InstancesDataset
from lab.tasks.segmentation.data.collate import collate_segmentation
from lab.tasks.segmentation.mask_ap import MaskMAP
from lab.tasks.segmentation.metrics import PanopticQuality, SemanticMetrics
from lab.training.terms import batch_terms
from tests.data_factory import make_coco, make_panoptic

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own

STATS = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
STATS += ("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large")


def rectangle(x: int, y: int, right: int, bottom: int) -> list[int]:
    return [x, y, right, y, right, bottom, x, bottom]


def filled(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    for x, y, right, bottom in boxes:
        mask[y:bottom, x:right] = True
    return mask


def compressed(mask: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode()}


# Image 10: a big cat; a dog in two parts, one of them on the cat; a small cat on the big one; a crowd in 8 columns.
SIZE = (48, 64)
MASKS = [
    filled(SIZE, (4, 6, 34, 36)),
    filled(SIZE, (20, 10, 30, 20), (44, 10, 54, 20)),
    filled(SIZE, (10, 24, 14, 30)),
    filled(SIZE, (0, 0, 8, 48)),
]
PARTS: list[Any] = [
    [rectangle(4, 6, 34, 36)],
    [rectangle(20, 10, 30, 20), rectangle(44, 10, 54, 20)],
    compressed(MASKS[2]),
    {"size": [48, 64], "counts": [0, 8 * 48, 56 * 48]},
]


def scene_annotations() -> list[dict[str, Any]]:
    columns = zip(PARTS, (3, 5, 3, 3), (1500.5, 200, 24, 384), (0, 0, 0, 1), strict=True)
    found = [
        {"image_id": 10, "category_id": category, "segmentation": part, "area": area, "iscrowd": crowd}
        for part, category, area, crowd in columns
    ]
    return [*found, {"image_id": 20, "category_id": 5, "segmentation": [rectangle(8, 16, 32, 48)]}]


def make_instances(root: Path, extra: list[dict[str, Any]] | None = None, split: str = "train2017") -> Path:
    return make_coco(root, annotations=[*scene_annotations(), *(extra or [])], split=split)


def decoded(codes: tuple[bytes, ...], size: tuple[int, int]) -> list[np.ndarray]:
    from pycocotools import mask as coco_mask

    return [coco_mask.decode({"size": list(size), "counts": code}).astype(bool) for code in codes]


def truth_in(batch: SegmentationBatch) -> SegmentationTruth:
    assert batch.truth is not None
    return batch.truth


def perfect(truth: SegmentationTruth, left_out: tuple[int, ...] = ()) -> Instances:
    """Return the objects of one image, crowds not among them, as found."""
    assert truth.codes is not None
    rows = [row for row in range(len(truth.labels)) if not truth.iscrowd[row] and row not in left_out]
    masks = np.stack(decoded(truth.codes, truth.sizes[0]))[rows]
    scores = torch.linspace(0.9, 0.5, len(rows))
    return Instances(torch.from_numpy(masks), truth.labels[rows], scores)


def measured(metric: MaskMAP, batch: SegmentationBatch, found: list[Instances]) -> dict[str, float]:
    metric.update(found, truth_in(batch), batch.image_ids, batch.valid)
    return metric.compute()


def test_masks_are_those_known_by_hand(tmp_path: Path) -> None:
    dataset = InstancesDataset(make_instances(tmp_path), reading=Reading(train=False, on_bad_sample="error"))
    assert (dataset.class_names, dataset.label_to_category, dataset.thing_labels) == (("cat", "dog"), (3, 5), (0, 1))
    sample = dataset[0, 0]
    truth = sample.truth
    assert truth is not None
    assert truth.codes is not None
    assert truth.area is not None
    for mask, expected in zip(decoded(truth.codes, SIZE), MASKS, strict=True):
        assert np.array_equal(mask, expected)
    assert truth.labels.tolist() == [0, 1, 0, 0]
    assert truth.iscrowd.tolist() == [False, False, False, True]
    assert truth.area.tolist() == [1500.5, 200.0, 24.0, 384.0]
    # The map: the crowd lowest, then the big cat, the dog and the small cat; in targets the crowd is nothing.
    drawn = np.full(SIZE, NO_SEGMENT)
    for number in (3, 0, 1, 2):
        drawn[MASKS[number]] = number
    assert np.array_equal(truth.pixels.view(SIZE).numpy(), drawn)
    assert np.array_equal(sample.segments.numpy(), np.where(drawn == 3, NO_SEGMENT, drawn))
    assert sample.labels.tolist() == [0, 1, 0]


def test_training_and_images_without_objects(tmp_path: Path) -> None:
    dataset = InstancesDataset(make_instances(tmp_path), reading=Reading(train=True))
    assert dataset[0, 0].truth is None
    assert dataset[0, 1].labels.tolist() == [1]
    empty = InstancesDataset(tmp_path, reading=Reading(train=False))[0, 2]
    assert empty.truth is not None
    assert (empty.truth.counts, empty.truth.codes, empty.labels.tolist()) == ((0,), (), [])
    assert empty.segments.unique().tolist() == [NO_SEGMENT]
    classes = InstancesDataset(tmp_path, segments="semantic")[0, 0]
    assert classes.labels.tolist() == [0, 1]
    assert int((classes.segments == 0).sum()) == 900 - 100  # both cats, without the dog


def test_an_object_behind_others_stays_in_the_truth(tmp_path: Path) -> None:
    hidden = {"image_id": 20, "category_id": 3, "segmentation": compressed(filled((64, 48), (8, 16, 32, 48)))}
    sample = InstancesDataset(make_instances(tmp_path, [hidden]), reading=Reading(train=False))[0, 1]
    assert sample.labels.tolist() == [0]  # of two as large, the later one is seen
    batch = collate_segmentation([sample])
    truth = truth_in(batch)
    assert truth.labels.tolist() == [1, 0]
    assert measured(MaskMAP(("cat", "dog"), (0, 1)), batch, [perfect(truth)])["map_segm"] == 1.0


def test_overlaps_count_in_mask_ap(tmp_path: Path) -> None:
    dataset = InstancesDataset(make_instances(tmp_path), reading=Reading(train=False))
    batch = collate_segmentation([dataset[0, index] for index in range(3)])
    truths = [truth_in(batch).rows(slice(row, row + 1)) for row in range(3)]
    assert [truth.counts for truth in truths] == [(4,), (1,), (0,)]
    assert [len(truth.codes or ()) for truth in truths] == [4, 1, 0]
    moved = truth_in(batch).to("cpu")
    assert moved.codes == truth_in(batch).codes
    assert moved.area is not None
    assert moved.area.tolist() == [1500.5, 200.0, 24.0, 384.0, 0.0]
    things = (("cat", "dog"), (0, 1))
    found = [perfect(truths[0]), perfect(truths[1]), Instances(torch.zeros(0, 40, 40).bool(), *torch.zeros(2, 0))]
    values = measured(MaskMAP(*things), batch, found)
    assert {name: value for name, value in values.items() if name.startswith("map")} == pytest.approx(
        {
            "map_segm": 1.0,
            "map_50_segm": 1.0,
            "map_75_segm": 1.0,
            "map_small_segm": 1.0,
            "map_medium_segm": 1.0,  # 1500.5, as stated; its mask has 900
            "map_large_segm": math.nan,
        },
        nan_ok=True,
    )
    # One of two cats is missed: precision 1 up to recall 0.5, which is 51 of 101 recalls. The dogs are all found.
    values = measured(MaskMAP(*things), batch, [perfect(truths[0], left_out=(2,)), *found[1:]])
    assert values["map_segm"] == pytest.approx((51 / 101 + 1) / 2, abs=1e-12)
    # Without codes the truth is what the map shows, and the big cat lacks 124 of its 900 pixels: 776 / 900 = 0.862.
    truth_in(batch).codes = None
    values = measured(MaskMAP(*things), batch, found)
    assert values["map_50_segm"] == 1.0
    assert values["map_segm"] < 1.0


def test_semantic_and_panoptic_do_not_fall_over(tmp_path: Path) -> None:
    dataset = InstancesDataset(make_instances(tmp_path), reading=Reading(train=False))
    truth = truth_in(collate_segmentation([dataset[0, index] for index in range(3)]))
    maps = [torch.zeros(size, dtype=torch.int16) for size in truth.sizes]
    semantic, quality = SemanticMetrics(("cat", "dog")), PanopticQuality(("cat", "dog"), (0, 1))
    semantic.update(maps, truth, torch.ones(3, dtype=torch.bool))
    # Cats are 800 of all pixels with an object, dogs 200 + 24 * 32; crowds and the rest do not count.
    assert semantic.compute()["pixel_accuracy"] == pytest.approx(800 / (800 + 200 + 768), abs=1e-12)
    one = [Segments(item, torch.tensor([0]), torch.ones(1)) for item in maps]
    quality.update(one, truth, torch.ones(3, dtype=torch.bool))
    assert quality.compute()["pq"] >= 0


def random_json(root: Path, count: int) -> dict[str, Any]:
    """Write a json of random polygons, codes and crowds that overlap, and return it."""
    from pycocotools import mask as coco_mask

    rng = np.random.RandomState(3)
    entries = []
    for number in range(1, count + 1):
        for _ in range(rng.randint(0, 6)):
            side = rng.choice([4, 12, 40])
            corners = (rng.uniform(0, 48, 2) + rng.uniform(-side, side, (rng.randint(3, 7), 2))).round(2)
            part: Any = [corners.clip(0, 60).ravel().tolist()]
            if not coco_mask.area(coco_mask.frPyObjects(part, 60, 70))[0]:
                continue
            crowd = int(rng.uniform() < 0.2)
            if crowd:
                part = compressed(rng.uniform(size=(60, 70)) < 0.4)
            area = float(rng.choice([50, 1500, 1e4]))
            entries.append({"image_id": 10 * number, "category_id": int(rng.choice([3, 5])), "segmentation": part})
            entries[-1] |= {"area": area, "iscrowd": crowd}
    make_coco(root, sizes=[(60, 70)] * count, annotations=entries)
    content: dict[str, Any] = json.loads((root / "annotations" / "instances_train2017.json").read_text())
    return content


def jittered(truth: SegmentationTruth, seed: int) -> Instances:
    """Return moved copies of the objects, some of another class, with few different scores."""
    rng = np.random.RandomState(seed)
    assert truth.codes is not None
    masks = [np.roll(mask, rng.randint(-2, 3, 2), (0, 1)) for mask in decoded(truth.codes, truth.sizes[0]) * 2]
    if not masks:
        return Instances(torch.zeros(0, *truth.sizes[0]).bool(), *torch.zeros(2, 0))
    labels = [int(label) if rng.uniform() < 0.8 else 0 for label in truth.labels.tolist() * 2]
    scores = np.sort(rng.randint(1, 11, len(masks)) / 10)[::-1].astype(np.float32)
    return Instances(torch.from_numpy(np.stack(masks)), torch.tensor(labels), torch.from_numpy(scores.copy()))


def from_file(kind: str, path: Path, found: list[dict[str, Any]]) -> list[float]:
    """Return the twelve numbers of an evaluator that reads the json itself."""
    if kind == "faster":
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    else:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluation = COCOeval(truth, truth.loadRes([dict(entry) for entry in found]), "segm")
        evaluation.params.iouThrs = np.linspace(0.5, 0.95, 10)
        evaluation.params.recThrs = np.linspace(0.0, 1.0, 101)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats[:12]]


def check_against_files(dataset: InstancesDataset, path: Path) -> None:
    from pycocotools import mask as coco_mask

    metric, results = MaskMAP(dataset.class_names, dataset.thing_labels), []
    for index in range(len(dataset)):
        batch = collate_segmentation([dataset[0, index]])
        found = jittered(truth_in(batch), index)
        metric.update([found], truth_in(batch), batch.image_ids, batch.valid)
        for mask, label, score in zip(found.masks.numpy(), found.labels.tolist(), found.scores.tolist(), strict=True):
            code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            entry = {"image_id": int(batch.image_ids), "category_id": dataset.label_to_category[label]}
            results.append({**entry, "segmentation": code, "score": score})
    values = metric.compute()
    assert 0.05 < values["map_segm"] < 0.95
    for kind in ("faster", "pycocotools"):
        for name, expected in zip(STATS, from_file(kind, path, results), strict=True):
            assert values[f"{name}_segm"] == pytest.approx(
                math.nan if expected == -1 else expected, abs=1e-12, nan_ok=True
            ), (kind, name)


def test_mask_ap_is_that_of_the_evaluators_on_the_json(tmp_path: Path) -> None:
    random_json(tmp_path, 16)
    dataset = InstancesDataset(tmp_path, reading=Reading(train=False, on_bad_sample="error"))
    check_against_files(dataset, tmp_path / "annotations" / "instances_train2017.json")


BAD: list[tuple[Any, str]] = [
    (None, "no segmentation"),
    ([], "no segmentation"),
    ([[1, 1, 5, 5]], "1 of 1 polygons are not x, y of three or more corners"),
    ([[1, 1, 5, 5, 9, float("nan")]], "1 of 1 polygons"),
    ({"size": [64, 48], "counts": [64 * 48]}, r"a code of \[height, width\] \[64, 48\], the image is \[48, 64\]"),
    ({"size": [48, 64], "counts": [5, 6]}, "do not add up to the image's 3072 pixels"),
    ("mask", "neither polygons nor"),
]


@pytest.mark.parametrize(("mask", "reason"), BAD)
def test_bad_annotations_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mask: Any, reason: str
) -> None:
    make_instances(tmp_path, [{"image_id": 10, "category_id": 3, "segmentation": mask}])
    with caplog.at_level(logging.WARNING):
        sample = InstancesDataset(tmp_path, reading=Reading(train=False))[0, 0]
    assert sample.truth is not None
    assert sample.truth.counts == (4,)
    (record,) = caplog.records
    assert "instances_train2017.json: annotations that cannot be used, left out: 1 (000001.jpg annotation 6 (" in (
        record.message
    )
    with pytest.raises(DataError, match=rf"000001\.jpg annotation 6 \(.*{reason}"):
        InstancesDataset(tmp_path, reading=Reading(on_bad_sample="error"))


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        ({"size": [48, 64], "counts": [48 * 64]}, "its mask is empty"),
        ([rectangle(100, 100, 120, 120)], "its mask is empty"),
        ({"size": [48, 64], "counts": "zzzzzz"}, "its mask cannot be decoded: Invalid RLE"),
    ],
)
def test_empty_and_damaged_masks_are_told_when_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mask: Any, reason: str
) -> None:
    make_instances(tmp_path, [{"image_id": 10, "category_id": 3, "segmentation": mask}])
    dataset = InstancesDataset(tmp_path, reading=Reading(train=False))
    with caplog.at_level(logging.WARNING):
        counts = [sample.truth.counts for sample in (dataset[0, 0], dataset[1, 0]) if sample.truth is not None]
    assert counts == [(4,), (4,)]
    (record,) = caplog.records
    assert f"annotation 6 of 000001.jpg: {reason}" in record.message
    with pytest.raises(DataError, match=r"json: annotation 6 of 000001\.jpg.*mend it, or"):
        _ = InstancesDataset(tmp_path, reading=Reading(on_bad_sample="error"))[0, 0]


def test_good_parts_are_kept_and_unknown_categories_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    extra = [
        {"image_id": 20, "category_id": 3, "segmentation": [[1, 1, 5, 5], rectangle(1, 1, 5, 6)]},
        {"image_id": 20, "category_id": 77, "segmentation": [rectangle(1, 1, 5, 6)]},
    ]
    with caplog.at_level(logging.WARNING):
        truth = InstancesDataset(make_instances(tmp_path, extra), reading=Reading(train=False))[0, 1].truth
    assert truth is not None
    assert truth.codes is not None
    assert truth.labels.tolist() == [1, 0]
    assert np.array_equal(decoded(truth.codes, (64, 48))[1], filled((64, 48), (1, 1, 5, 6)))
    assert "annotation 6 (1 of 2 polygons are not" in caplog.text
    assert "annotation 7 (unknown category 77)" in caplog.text


def test_other_jsons_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*instances_train2017\.json.*cocodataset"):
        InstancesDataset(tmp_path)
    make_panoptic(tmp_path)
    for kind in (InstancesDataset, CocoDataset):
        with pytest.raises(DataError, match=r"is a json of panoptic segments, not of instances; take instances_"):
            kind(tmp_path, "annotations/panoptic_train2017.json")
    split = {"annotations": "a.json", "images": "b"}
    with pytest.raises(ConfigError, match=r"data\.val needs 'annotations' and 'images'"):
        InstancesDataModule(str(tmp_path), split, split | {"labels": "c"})
    make_instances(tmp_path)
    make_coco(tmp_path, annotations=[], categories={3: "cat"}, split="val2017")
    splits = [
        {"annotations": f"annotations/instances_{name}.json", "images": name} for name in ("train2017", "val2017")
    ]
    with pytest.raises(DataError, match="other 'categories' than in training"):
        InstancesDataModule(str(tmp_path), splits[0], splits[1]).dataset("val")


def test_a_batch_of_the_datamodule_goes_through_maskformer(tmp_path: Path) -> None:
    make_instances(tmp_path)
    split = {"annotations": "annotations/instances_train2017.json", "images": "train2017"}
    data = InstancesDataModule(str(tmp_path), split, split, batch_size=3, num_workers=0, image_size=48)
    assert (data.spec.task, data.spec.class_names, data.spec.thing_labels) == ("segmentation", ("cat", "dog"), (0, 1))
    net = lab.create_model("maskformer_tiny", num_classes=2)
    batch = data.first_batch()
    outputs = net(normalize_images(batch.images, batch.padding_mask), batch.padding_mask)
    terms = batch_terms(net, outputs, batch.targets)
    assert all(torch.isfinite(term) for term in terms.values())
    assert sum(terms.values()) > 0
    batch = next(iter(data.val_dataloader()))
    outputs = net(normalize_images(batch.images, batch.padding_mask), batch.padding_mask)
    found = net.instances(outputs, batch.targets.sizes, batch.original_sizes, data.spec.thing_labels)
    assert measured(MaskMAP(data.spec.class_names, data.spec.thing_labels), batch, found)["map_segm"] >= 0


def test_coco_mini_equals_pycocotools(data_dir: Path) -> None:
    root = data_dir / "coco_mini"
    if not root.is_dir():
        pytest.skip("needs coco_mini below LAB_DATA_DIR")
    from pycocotools.coco import COCO

    file = "annotations/instances_train2017_70.json"
    dataset = InstancesDataset(root, file, "images/train2017", reading=Reading(train=False, on_bad_sample="error"))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(root / file))
    count = 0
    for index, number in enumerate(dataset.image_ids[:20]):
        truth = dataset[0, index].truth
        assert truth is not None
        assert truth.codes is not None
        entries = coco.imgToAnns[number]
        for mask, entry in zip(decoded(truth.codes, truth.sizes[0]), entries, strict=True):
            assert np.array_equal(mask, coco.annToMask(entry).astype(bool))
            count += 1
    assert count == 89
    check_against_files(dataset, root / file)
