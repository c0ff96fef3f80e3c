"""What is said of classes without anything in the data, of small evaluations, and of names; what is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lab.data.images.class_names import distinct_names
from lab.data.presence import FEW, describe_presence, describe_sizes, spread
from lab.errors import ConfigError, DataError
from lab.tasks.detection.data.coco import CocoDataModule
from lab.tasks.detection.data.shapes import ShapesDataModule
from lab.tasks.detection.data.voc import VocDataModule
from lab.tasks.recommendation.data.sessions import SessionsDataModule
from lab.tasks.segmentation.data.coco_instances import InstancesDataModule
from lab.tasks.segmentation.data.coco_panoptic import PanopticDataModule
from lab.tasks.segmentation.data.folder import FolderDataModule
from tests.data_factory import make_coco, make_panoptic, make_segfolder, make_voc

ALL = ("train", "val", "test")
CLASSES = {3: "cat", 5: "dog", 7: "Dog"}


def box(image: int, category: int, crowd: int = 0) -> dict[str, Any]:
    square = [[4, 6, 14, 6, 14, 16, 4, 16]]
    item = {"image_id": image, "category_id": category, "bbox": [4, 6, 10, 10], "area": 100, "iscrowd": crowd}
    return {**item, "segmentation": square}


def coco(root: Path, train: list[dict[str, Any]], val: list[dict[str, Any]], kind: Any = CocoDataModule) -> Any:
    splits = []
    for split, items in (("train2017", train), ("val2017", val)):
        make_coco(root, sizes=[(20, 20)] * FEW, annotations=items, categories=CLASSES, split=split)
        splits.append({"annotations": f"annotations/instances_{split}.json", "images": split})
    return kind(str(root), *splits, num_workers=0)


@pytest.mark.parametrize("kind", [CocoDataModule, InstancesDataModule])
def test_classes_without_an_object(tmp_path: Path, kind: Any) -> None:
    data = coco(tmp_path, [box(10, 3), box(20, 5, crowd=1)], [box(10, 3), box(10, 5)], kind)
    assert describe_presence(data, ALL) == [
        "training: 2 of 3 classes have no object (dog, Dog): they cannot be learnt",
        "validation and test: 1 of 3 classes have no object (Dog): they have no part in the means",
        "the classes 'dog' and 'Dog' differ in capitals alone: if they are one, mend the annotations",
    ]
    assert describe_presence(data, ("test",))[0].startswith("test: 1 of 3 classes")


def test_sizes_of_the_splits() -> None:
    assert describe_sizes(ShapesDataModule(num_train=30, num_val=20, num_test=10)) == (
        "training 30, validation 20, test 10 images"
    )


@pytest.mark.parametrize("kind", [CocoDataModule, InstancesDataModule])
def test_nothing_left_is_refused(tmp_path: Path, kind: Any) -> None:
    bad = {**box(10, 3), "bbox": [4, 6, 0, 0], "segmentation": []}
    with pytest.raises(DataError, match="no object in the training data, and nothing to train on"):
        describe_presence(coco(tmp_path / "a", [bad], [box(10, 3)], kind), ALL)
    with pytest.raises(DataError, match="no object in the validation data, and nothing to measure"):
        describe_presence(coco(tmp_path / "b", [box(10, 3)], [box(10, 3, crowd=1)], kind), ALL)


def test_voc_and_small_evaluations(tmp_path: Path) -> None:
    make_voc(tmp_path, {name: [("ball", (1, 1, 9, 9))] for name in "ab"})
    make_voc(tmp_path, {"c": [("ship", (1, 1, 9, 9))]}, split="val")
    data = VocDataModule(str(tmp_path), test_split="val", num_workers=0)
    assert describe_presence(data, ALL) == [
        "training: 1 of 2 classes have no object (ship): they cannot be learnt",
        "validation and test: 1 of 2 classes have no object (ball): they have no part in the means",
        "validation and test: 1 image to measure on: a figure of so few says little",
    ]


def segfolder(root: Path, **options: Any) -> FolderDataModule:
    make_segfolder(root)
    files = {"images": "images/train", "labels": "labels/train"}
    return FolderDataModule(str(root), files, files, num_workers=0, **options)


def test_classes_without_a_pixel(tmp_path: Path) -> None:
    data = segfolder(tmp_path, class_names=["a", "b", "c", "never", "d"], label_ids=[0, 1, 2, 3, 4])
    lines = describe_presence(data, ALL)
    assert lines[0] == "training: 2 of 5 classes have no pixel (never, d): they cannot be learnt"
    assert "2 images to measure on" in lines[2]
    assert not any(
        "classes" in line for line in describe_presence(segfolder(tmp_path, class_names=["a", "b", "c"]), ALL)
    )
    data = segfolder(tmp_path, class_names=["a", "b", "c"])
    for path in (tmp_path / "labels" / "train").iterdir():
        Image.fromarray(np.full(np.asarray(Image.open(path)).shape, 255, dtype=np.uint8)).save(path)
    with pytest.raises(DataError, match="no pixel of any class in the training data"):
        describe_presence(data, ALL)


def test_only_as_many_maps_are_read_as_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.tasks.segmentation.data.dataset.MOST_PIXELS", 24 * 30)
    data = segfolder(tmp_path, class_names=["a", "b", "c", "never"])
    said = "1 of 4 classes have no pixel in the 1 of 2 label maps looked at (never): they cannot be learnt"
    assert describe_presence(data, ("train",)) == [f"training: {said}"]
    assert sorted(spread(11)) == list(range(11))
    assert list(spread(9))[:3] == [0, 3, 6]


def test_an_id_that_is_a_class_and_ignored_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = segfolder(tmp_path, class_names=["a", "b", "c"], ignore_ids=[2, 255]).dataset("train")
    assert "data.ignore_ids: 2 is also the id of the class 'c'" in caplog.text
    assert dataset.class_counts().counts == (1, 1, 1)


def test_two_classes_of_one_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match=r"data\.class_names has 'road' for the labels 0 and 2"):
        segfolder(tmp_path, class_names=["road", "sky", "road"]).dataset("train")
    root = make_panoptic(tmp_path / "p")
    path = root / "annotations" / "panoptic_train2017.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "cat"
    path.write_text(json.dumps(content))
    split = {"annotations": path.relative_to(root).as_posix(), "labels": path.stem, "images": "train2017"}
    split["labels"] = "annotations/panoptic_train2017"
    with caplog.at_level(logging.WARNING):
        assert PanopticDataModule(str(root), split, split).spec.class_names == ("cat (id 17)", "cat (id 187)")
    assert "have the same name 'cat'" in caplog.text
    assert distinct_names([(1, "N/A"), (2, "x")], "f")[0] == (1, "N/A (id 1)")


def test_sequences(tmp_path: Path) -> None:
    days = [f"s{day},{item},{day * 86400 + part}" for day in range(10) for part, item in enumerate("abc")]
    (tmp_path / "events.csv").write_text("\n".join(["session,item,time", *days]) + "\n")
    names = {"session_column": "session", "item_column": "item", "time_column": "time", "min_support": 1}
    data = SessionsDataModule(str(tmp_path), "events.csv", **names)
    assert describe_presence(data, ALL) == [
        "validation and test: 2 sequences to measure on: a figure of so few says little"
    ]


def test_generated_data_has_all_of_its_classes() -> None:
    data = ShapesDataModule(batch_size=2, num_train=4, num_val=20, num_test=20, image_size=32, max_side=20)
    assert describe_presence(data, ALL) == []
