"""COCO directories: what is read, what is left out and said, what is refused."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from lab.data.images.coco_labels import label_names
from lab.data.images.colors import ColorChange
from lab.data.images.dataset import Reading
from lab.data.images.fingerprint import coco_fingerprint
from lab.errors import ConfigError, DataError
from lab.tasks.detection.data.coco import CocoDataset
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.transforms import DetectionTransform
from tests.data_factory import make_coco, truncate


def edit(root, change, split="train2017"):
    path = root / "annotations" / f"instances_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_training_sample(tmp_path):
    dataset = CocoDataset(make_coco(tmp_path), reading=Reading(train=True))
    assert len(dataset) == 3
    sample = dataset[0, 0]
    assert sample.image_id == 10
    assert sample.original_size == (48, 64)
    assert sample.truth is None
    # [4.5, 6, 20, 10] -> xyxy; [30, 20, 40, 20] reaches 6 px beyond the right side; the crowd is left out.
    assert sample.boxes.tolist() == [[4.5, 6.0, 24.5, 16.0], [30.0, 20.0, 64.0, 40.0]]
    assert sample.labels.tolist() == [3, 5]
    with Image.open(tmp_path / "train2017" / "000001.jpg") as image:
        assert np.array_equal(sample.image.permute(1, 2, 0).numpy(), np.asarray(image.convert("RGB")))


def test_truth_keeps_crowds_and_boxes_as_stored(tmp_path):
    sample = CocoDataset(make_coco(tmp_path), reading=Reading(train=False))[0, 0]
    truth = sample.truth
    assert truth.boxes.tolist() == [[4.5, 6.0, 24.5, 16.0], [30.0, 20.0, 70.0, 40.0], [0.0, 0.0, 64.0, 24.0]]
    assert truth.labels.tolist() == [3, 5, 3]
    assert truth.iscrowd.tolist() == [False, False, True]
    assert truth.area.tolist() == [150.5, 700.0, 1000.0]
    assert truth.counts == (3,)
    assert len(sample.boxes) == 2


def test_truth_stays_in_original_pixels_under_a_transform(tmp_path):
    dataset = CocoDataset(
        make_coco(tmp_path), reading=Reading(train=False, transform=DetectionTransform(False, scales=[96]))
    )
    sample = dataset[0, 0]
    assert sample.image.shape == (3, 96, 128)
    assert sample.truth.boxes[0].tolist() == [4.5, 6.0, 24.5, 16.0]
    assert sample.boxes[0].tolist() == [9.0, 12.0, 49.0, 32.0]
    assert sample.original_size == (48, 64)


def test_images_without_boxes_are_kept_and_collate(tmp_path):
    dataset = CocoDataset(make_coco(tmp_path), reading=Reading(train=False))
    assert dataset[0, 2].boxes.shape == (0, 4)
    batch = collate_detection([dataset[0, index] for index in range(3)])
    assert batch.images.shape == (3, 3, 64, 64)
    assert batch.targets.counts == (2, 1, 0)
    assert batch.truth.counts == (3, 1, 0)
    assert batch.image_ids.tolist() == [10, 20, 30]


def test_category_ids(tmp_path):
    raw = CocoDataset(make_coco(tmp_path))
    assert raw.class_names == ("N/A", "N/A", "N/A", "cat", "N/A", "dog")
    assert raw.label_to_category == (None, None, None, 3, None, 5)
    contiguous = CocoDataset(tmp_path, category_ids="contiguous")
    assert contiguous.class_names == ("cat", "dog")
    assert contiguous.label_to_category == (3, 5)
    assert contiguous[0, 0].labels.tolist() == [0, 1]
    assert label_names([(90, "toothbrush"), (1, "person")], "raw")[0][1::89] == ("person", "toothbrush")
    with pytest.raises(ConfigError, match="category_ids"):
        CocoDataset(tmp_path, category_ids="names")


def test_samples_depend_on_seed_epoch_and_index_only(tmp_path):
    make_coco(tmp_path)
    transform = DetectionTransform(True, scales=[30, 40, 50], crop_scales=[40], crop_range=(20, 35))
    one, two = (CocoDataset(tmp_path, reading=Reading(transform=transform, seed=3)) for _ in range(2))
    _ = two[5, 2], two[0, 0]
    for key in [(0, 0), (1, 0), (4, 1)]:
        assert torch.equal(one[key].image, two[key].image)
    shapes = {tuple(one[epoch, 0].image.shape) for epoch in range(10)}
    assert len(shapes) > 2


def test_aspect_ratios(tmp_path):
    make_coco(tmp_path)
    assert CocoDataset(tmp_path).aspect_ratios == pytest.approx([64 / 48, 48 / 64, 1.0])
    assert CocoDataset(tmp_path, reading=Reading(transform=DetectionTransform(True, size=32))).aspect_ratios is None
    make_coco(tmp_path / "same", sizes=[(30, 40), (30, 40)], annotations=[])
    assert CocoDataset(tmp_path / "same").aspect_ratios is None


@pytest.mark.parametrize("train", [True, False])
def test_missing_and_unreadable_images_are_left_out_and_named(tmp_path, caplog, train):
    make_coco(tmp_path)
    (tmp_path / "train2017" / "000001.jpg").unlink()
    (tmp_path / "train2017" / "000003.jpg").write_bytes(b"not a picture")
    with caplog.at_level(logging.WARNING):
        dataset = CocoDataset(tmp_path, reading=Reading(train=train))
        CocoDataset(tmp_path, reading=Reading(train=train))
    assert len(dataset) == 1
    assert dataset[0, 0].image_id == 20
    assert dataset.image_ids == [20]
    assert dataset.image_path(0).name == "000002.jpg"
    (record,) = caplog.records  # said once, in one line, with names
    assert "000001.jpg (missing)" in record.message
    assert "000003.jpg (not an image of a format that is read" in record.message
    assert f"1 of 3 are {'trained on' if train else 'evaluated'}" in record.message
    assert "\n" not in record.message


def test_policy_error_names_the_file(tmp_path):
    make_coco(tmp_path)
    (tmp_path / "train2017" / "000001.jpg").unlink()
    with pytest.raises(DataError, match=r"000001\.jpg \(missing\).*on_bad_sample=skip"):
        CocoDataset(tmp_path, reading=Reading(on_bad_sample="error"))
    with pytest.raises(ConfigError, match="on_bad_sample='ignore'"):
        CocoDataset(tmp_path, reading=Reading(on_bad_sample="ignore"))


def test_bad_boxes_and_unknown_categories(tmp_path, caplog):
    nan = float("nan")
    boxes = [[1, 1, 0, 5], [1, 1, 5, -3], [nan, 1, 5, 5], [100, 100, 5, 5], [], [1, 1, 5, 5]]
    annotations = [{"image_id": 10, "category_id": 3, "bbox": box, "area": 25, "iscrowd": 0} for box in boxes]
    annotations.append({"image_id": 20, "category_id": 77, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0})
    make_coco(tmp_path, annotations=annotations)
    with caplog.at_level(logging.WARNING):
        dataset = CocoDataset(tmp_path, reading=Reading(train=False))
    assert dataset[0, 0].boxes.tolist() == [[1.0, 1.0, 6.0, 6.0]]
    assert dataset[0, 0].truth.boxes.tolist() == [[1.0, 1.0, 6.0, 6.0]]
    assert dataset[0, 1].truth.counts == (0,)
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2
    assert "left out: 5 (000001.jpg [1.0, 1.0, 1.0, 6.0]" in messages[0]
    assert "unknown categories, left out: 1 (77)" in messages[1]
    with pytest.raises(DataError, match="boxes without an area"):
        CocoDataset(tmp_path, reading=Reading(on_bad_sample="error"))


def test_damage_found_while_decoding(tmp_path, caplog):
    make_coco(tmp_path)
    truncate(tmp_path / "train2017" / "000001.jpg")
    train = CocoDataset(tmp_path, reading=Reading(train=True))
    assert len(train) == 3  # its header is sound
    with caplog.at_level(logging.WARNING):
        assert [train[0, 0].image_id, train[1, 0].image_id, train[0, 2].image_id] == [20, 20, 30]
    assert train.bad_reads == ["000001.jpg"]
    assert len(caplog.records) == 1
    assert "the next image replaces it" in caplog.text
    evaluation = CocoDataset(tmp_path, reading=Reading(train=False))
    assert [evaluation[0, index].image_id for index in range(3)] == [10, 20, 30]
    assert int(evaluation[0, 0].image.max()) == 0
    assert evaluation[0, 0].truth.counts == (3,)
    assert "objects are missed" in caplog.text
    with pytest.raises(DataError, match=r"000001\.jpg cannot be decoded"):
        _ = CocoDataset(tmp_path, reading=Reading(on_bad_sample="error"))[0, 0]


def test_nothing_usable(tmp_path):
    make_coco(tmp_path, sizes=[(20, 20)], annotations=[])
    truncate(tmp_path / "train2017" / "000001.jpg")
    with pytest.raises(DataError, match="none of the 1 images"):
        _ = CocoDataset(tmp_path)[0, 0]
    (tmp_path / "train2017" / "000001.jpg").unlink()
    with pytest.raises(DataError, match="none of its 1 images"):
        CocoDataset(tmp_path)


def test_size_other_than_stated(tmp_path, caplog):
    make_coco(tmp_path)
    edit(tmp_path, lambda content: content["images"][0].update(height=64, width=48))
    with caplog.at_level(logging.WARNING):
        assert CocoDataset(tmp_path)[0, 0].original_size == (48, 64)
    assert "another size" in caplog.text


def test_missing_dataset_is_one_line(tmp_path):
    with pytest.raises(DataError) as error:
        CocoDataset(tmp_path / "nowhere")
    message = str(error.value)
    assert "\n" not in message
    assert str(tmp_path / "nowhere") in message
    assert "which does not exist" in message
    assert "cocodataset.org" in message
    make_coco(tmp_path / "here")
    with pytest.raises(DataError, match=r"no folder .*val2017"):
        CocoDataset(tmp_path / "here", images="val2017")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "is not json"),
        ("[]", "lacks images, annotations, categories"),
        ('{"images": [], "annotations": [], "categories": []}', "no categories"),
    ],
)
def test_malformed_json(tmp_path, text, match):
    make_coco(tmp_path)
    (tmp_path / "annotations" / "instances_train2017.json").write_text(text)
    with pytest.raises(DataError, match=match):
        CocoDataset(tmp_path)


def test_annotation_of_an_absent_image(tmp_path, caplog):
    make_coco(tmp_path)
    edit(tmp_path, lambda content: content["annotations"][0].update(image_id=99))
    with pytest.raises(DataError, match="belongs to image 99"):
        CocoDataset(tmp_path, reading=Reading(on_bad_sample="error"))
    with caplog.at_level(logging.WARNING):
        assert CocoDataset(tmp_path)[0, 0].labels.tolist() == [5]
    assert (
        "annotations of images that 'images' lacks, or of none, left out: 1 (annotation 1 belongs to image 99)"
        in caplog.text
    )


def test_fingerprint_sees_annotations_names_and_sizes(tmp_path):
    make_coco(tmp_path)
    arguments = (tmp_path, "annotations/instances_train2017.json", "train2017")
    first = coco_fingerprint(*arguments)
    assert CocoDataset(tmp_path).fingerprint() == first == coco_fingerprint(*arguments)
    (tmp_path / "train2017" / "notes.txt").write_text("not an image")
    assert coco_fingerprint(*arguments) == first
    edit(tmp_path, lambda content: content["annotations"][0].update(bbox=[4.5, 6, 21, 10]))
    second = coco_fingerprint(*arguments)
    truncate(tmp_path / "train2017" / "000002.jpg")
    assert len({first, second, coco_fingerprint(*arguments)}) == 3


def test_cache_follows_the_annotations(tmp_path):
    make_coco(tmp_path)
    assert CocoDataset(tmp_path)[0, 1].boxes.tolist() == [[8.0, 16.0, 32.0, 48.0]]
    edit(tmp_path, lambda content: content["annotations"][3].update(bbox=[1, 2, 3, 4]))
    assert CocoDataset(tmp_path)[0, 1].boxes.tolist() == [[1.0, 2.0, 4.0, 6.0]]


def test_cache_images_changes_nothing(tmp_path):
    make_coco(tmp_path)
    transform = DetectionTransform(
        True, scales=[30, 40], crop_scales=[40], crop_range=(20, 35), colors=ColorChange(0.2)
    )
    plain, cached = (
        CocoDataset(tmp_path, reading=Reading(transform=transform, cache_images=flag)) for flag in (False, True)
    )
    for key in [(0, 0), (1, 0), (2, 0), (0, 1)]:
        assert torch.equal(plain[key].image, cached[key].image)
        assert torch.equal(plain[key].boxes, cached[key].boxes)


def test_fingerprint_needs_no_torch():
    code = "import sys; import lab.data.images.fingerprint; assert not {'torch', 'datasets', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_coco_mini(data_dir):
    root = data_dir / "coco_mini"
    if not root.is_dir():
        pytest.skip("needs coco_mini below LAB_DATA_DIR")
    train = CocoDataset(
        root, "annotations/instances_train2017_70.json", "images/train2017", reading=Reading(train=False)
    )
    val = CocoDataset(
        root, "annotations/instances_val2017_30_DERIVED.json", "images/val2017", reading=Reading(train=False)
    )
    assert (len(train), len(val)) == (70, 30)
    assert len(train.class_names) == 91
    assert sum(name != "N/A" for name in train.class_names) == 80
    truths = [train[0, index].truth for index in range(70)]
    assert sum(truth.counts[0] for truth in truths) == 582
    assert sum(int(truth.iscrowd.sum()) for truth in truths) == 5
    assert sum(val[0, index].truth.counts[0] for index in range(30)) == 219
