"""Pascal-VOC directories: pixel edges, difficult objects, bad files, missing folders."""

from __future__ import annotations

import logging

import pytest

from lab.data.images.dataset import Reading
from lab.errors import DataError
from lab.tasks.detection.data.voc import VocDataset
from lab.tasks.detection.data.voc_layout import list_layout
from tests.data_factory import make_voc, truncate


def test_corners_become_pixel_edges(tmp_path):
    dataset = VocDataset(make_voc(tmp_path), reading=Reading(train=False))
    assert dataset.class_names == ("ball", "ship")
    sample = dataset[0, 0]
    # 1..64 counted from 1, both included, is the whole width of 64 pixels; 11..30 are 20 pixels.
    assert sample.boxes.tolist() == [[0.0, 0.0, 64.0, 24.0], [10.0, 20.0, 30.0, 40.0]]
    assert sample.labels.tolist() == [1, 0]
    assert sample.truth.area.tolist() == [64.0 * 24, 400.0]
    assert [dataset[0, index].image_id for index in range(3)] == [0, 1, 2]
    assert dataset[0, 2].boxes.shape == (0, 4)
    assert dataset.aspect_ratios is None


def test_difficult_objects_are_ignored_like_crowds(tmp_path):
    make_voc(tmp_path, difficult=["ship"])
    assert VocDataset(tmp_path, reading=Reading(train=True))[0, 0].labels.tolist() == [0]
    truth = VocDataset(tmp_path, reading=Reading(train=False))[0, 0].truth
    assert truth.labels.tolist() == [1, 0]
    assert truth.iscrowd.tolist() == [True, False]


def test_class_names_given(tmp_path, caplog):
    make_voc(tmp_path)
    dataset = VocDataset(tmp_path, class_names=["ship", "ball"])
    assert dataset[0, 0].labels.tolist() == [0, 1]
    with caplog.at_level(logging.WARNING):
        only = VocDataset(tmp_path, class_names=["ship"])
    assert only[0, 0].labels.tolist() == [0]
    assert "unknown categories, left out: 2 (ball x2)" in caplog.text


def test_classes_are_those_of_all_splits(tmp_path):
    make_voc(tmp_path, {"x": [("anchor", (1, 1, 9, 9))]}, split="val")
    make_voc(tmp_path)
    assert VocDataset(tmp_path, "train").class_names == ("anchor", "ball", "ship")


def test_zero_size_boxes_are_left_out(tmp_path, caplog):
    make_voc(tmp_path, {"a": [("ball", (30, 20, 30, 20)), ("ball", (40, 20, 30, 30)), ("ball", (5, 5, 9, 9))]})
    with caplog.at_level(logging.WARNING):
        dataset = VocDataset(tmp_path, reading=Reading(train=False))
    assert dataset[0, 0].truth.boxes.tolist() == [[4.0, 4.0, 9.0, 9.0]]
    assert "left out: 2 (a.jpg [30.0, 20.0, 30.0, 20.0]" in caplog.text


def test_bad_files(tmp_path, caplog):
    make_voc(tmp_path, {name: [("ball", (5, 5, 9, 9))] for name in "abcd"})
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation>")
    (tmp_path / "Annotations" / "b.xml").unlink()
    (tmp_path / "JPEGImages" / "c.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        dataset = VocDataset(tmp_path, reading=Reading(train=False))
    assert [dataset[0, index].image_id for index in range(len(dataset))] == [3]
    assert len(caplog.records) == 1
    assert "unreadable images, 1 of 4 are evaluated: the metric covers these only: 3 (" in caplog.text
    for name in ("Annotations/a.xml is missing or not XML", "Annotations/b.xml", "c.jpg (missing)"):
        assert name in caplog.text
    with pytest.raises(DataError, match="unreadable images"):
        VocDataset(tmp_path, reading=Reading(on_bad_sample="error"))


def test_split_lists_with_columns_and_other_suffixes(tmp_path):
    make_voc(tmp_path)
    (tmp_path / "ImageSets" / "Main" / "ship_train.txt").write_text("a  1\nb -1\n\n")
    (tmp_path / "JPEGImages" / "b.jpg").rename(tmp_path / "JPEGImages" / "b.JPEG")
    dataset = VocDataset(tmp_path, "ship_train")
    assert len(dataset) == 2
    assert dataset.image_path(1).name == "b.JPEG"


def test_missing_dataset_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"no file .*train\.txt: looked in data\.root=.*VOCtrainval") as error:
        VocDataset(tmp_path / "nowhere")
    assert "\n" not in str(error.value)
    make_voc(tmp_path)
    with pytest.raises(DataError, match=r"trial\.txt"):
        VocDataset(tmp_path, "trial")


def test_fingerprint_sees_list_annotations_and_images(tmp_path):
    make_voc(tmp_path)
    seen = [list_layout(tmp_path, "train").fingerprint("train")]
    assert VocDataset(tmp_path).fingerprint() == seen[0]
    make_voc(tmp_path, {"a": [("ship", (1, 1, 64, 25))], "b": [], "c": []})
    seen.append(list_layout(tmp_path, "train").fingerprint("train"))
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    seen.append(list_layout(tmp_path, "train").fingerprint("train"))
    truncate(tmp_path / "JPEGImages" / "a.jpg")
    seen.append(list_layout(tmp_path, "train").fingerprint("train"))
    assert len(set(seen)) == 4


def test_bccd(data_dir, caplog):
    root = data_dir / "bccd"
    if not root.is_dir():
        pytest.skip("needs bccd below LAB_DATA_DIR")
    with caplog.at_level(logging.WARNING):
        splits = {split: VocDataset(root, split, reading=Reading(train=False)) for split in ("train", "val", "test")}
    assert {split: len(dataset) for split, dataset in splits.items()} == {"train": 205, "val": 87, "test": 72}
    assert splits["train"].class_names == ("Platelets", "RBC", "WBC")
    counts = [0, 0, 0]
    for dataset in splits.values():
        for index in range(len(dataset)):
            for label in dataset[0, index].truth.labels.tolist():
                counts[label] += 1
    assert counts == [361, 4155 - 2, 372]  # less the two RBC without a size
    assert "BloodImage_00338.jpg" in caplog.text
    assert "BloodImage_00343.jpg" in caplog.text
