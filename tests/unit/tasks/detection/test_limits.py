"""What is said before a training of images with more boxes than the network finds in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lab
from lab.structures.detection import Limited
from lab.tasks.detection.data.coco import CocoDataModule
from lab.tasks.detection.data.shapes import ShapesDataModule
from lab.tasks.detection.limits import too_many_boxes
from tests.data_factory import make_coco


class Finder:
    """A detector of few objects."""

    def __init__(self, most: int) -> None:
        self.most_objects = ("num_queries", most)


def coco(root: Path, train: list[int], val: list[int], crowds: int = 0) -> CocoDataModule:
    """Return images with so many boxes each; the first of a split has crowds besides."""
    splits = []
    for split, numbers in (("train2017", train), ("val2017", val)):
        items: list[dict[str, Any]] = [
            {"image_id": 10 * (place + 1), "category_id": 3, "bbox": [4, 6, 10, 10], "area": 100, "iscrowd": 0}
            for place, number in enumerate(numbers)
            for _ in range(number)
        ]
        items += [{**items[0], "iscrowd": 1, "segmentation": {"size": [20, 20], "counts": [0, 400]}}] * crowds
        make_coco(root, sizes=[(20, 20)] * len(numbers), annotations=items, categories={3: "cat"}, split=split)
        splits.append({"annotations": f"annotations/instances_{split}.json", "images": split})
    return CocoDataModule(str(root), *splits, num_workers=0)


def test_images_with_more_boxes_are_counted(tmp_path: Path) -> None:
    data = coco(tmp_path, train=[1, 3, 4, 2], val=[5, 1])
    assert data.dataset("train").box_counts() == [1, 3, 4, 2]
    (line,) = too_many_boxes(Finder(2), data)
    assert line == (
        "training: 2 of 4 images have more boxes than this network finds in one (model.net.num_queries=2), so the rest "
        "is missed; the most are 5: set model.net.num_queries=5 or more"
    )
    assert too_many_boxes(Finder(4), data)[0].startswith("validation: 1 of 2 images")
    assert too_many_boxes(Finder(5), data) == []


def test_crowds_are_not_counted(tmp_path: Path) -> None:
    data = coco(tmp_path, train=[2, 1], val=[1, 1], crowds=3)
    assert data.dataset("train").box_counts() == [2, 1]
    assert too_many_boxes(Finder(2), data) == []


@pytest.mark.parametrize("augmentation", [None, {"flip": 0.5}])
def test_generated_scenes(augmentation: dict[str, Any] | None) -> None:
    data = ShapesDataModule(num_train=60, num_val=20, num_test=20, max_shapes=3, augmentation=augmentation)
    counts = [len(data.dataset("train")[0, index].boxes) for index in range(60)]
    assert data.dataset("train").box_counts() == counts
    assert 0 < sum(count > 2 for count in counts) < 60
    (line,) = too_many_boxes(Finder(2), data)
    assert line.startswith(f"training: {sum(count > 2 for count in counts)} of 60 images")
    assert too_many_boxes(Finder(3), data) == []


def test_what_says_nothing_is_passed_over() -> None:
    class Silent:
        def dataset(self, split: str) -> object:
            return object()

    silent: Any = Silent()
    assert too_many_boxes(Finder(0), silent) == []
    assert too_many_boxes(object(), ShapesDataModule()) == []


@pytest.mark.parametrize(
    ("name", "argument"),
    [("detr_tiny", "num_queries"), ("yolo_fastest_v2", "max_detections"), ("yolo_fastest_v1_1", "max_detections")],
)
def test_every_detector_names_its_argument(name: str, argument: str) -> None:
    net = lab.create_model(name, num_classes=2, **{argument: 7})
    assert isinstance(net, Limited)
    assert net.most_objects == (argument, 7)
