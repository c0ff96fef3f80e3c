"""YOLO label files: layouts, what is odd in them, and what is refused."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from lab.data.images.dataset import Reading
from lab.errors import DataError
from lab.tasks.detection.data.coco import CocoDataset
from lab.tasks.detection.data.held_out import Shares
from lab.tasks.detection.data.yolo_labels import read_labels
from lab.tasks.detection.data.yolo_layout import YoloLayout, find_yolo
from lab.tasks.detection.data.yolo_txt import YoloDataModule, YoloDataset
from tests.data_factory import make_image

YAML = "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n"
BOX = "0 0.5 0.5 0.5 0.25\n"


def make(root: Path, labels: Mapping[str, str | None], description: str | None = YAML) -> Path:
    """Write images of 40 x 80 named as the keys (below ``images``), their label files, and ``data.yaml``."""
    for number, (name, text) in enumerate(labels.items()):
        image = root / name
        image.parent.mkdir(parents=True, exist_ok=True)
        make_image(40, 80, number).save(image)
        label = root / name.replace("images", "labels").replace(".png", ".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            label.write_text(text)
    if description is not None:
        (root / "data.yaml").write_text(description)
    return root


def names_in(layout: YoloLayout) -> dict[str, list[str]]:
    return {split: [picture.image for picture in pictures] for split, pictures in layout.splits.items()}


def read(root: Path, text: str) -> YoloDataset:
    make(root, {"images/train/a.png": text, "images/val/b.png": BOX})
    return YoloDataset(find_yolo(root), "train", Reading(train=False))


def test_boxes_become_pixels(tmp_path):
    dataset = read(tmp_path, "0 0.5 0.5 0.5 0.25\n1 0.25 0.5 0.125 1\n")
    sample = dataset[0, 0]
    assert sample.truth.boxes.tolist() == [[20.0, 15.0, 60.0, 25.0], [15.0, 0.0, 25.0, 40.0]]  # by hand: 80 x 40
    assert sample.truth.labels.tolist() == [0, 1]
    assert sample.truth.area.tolist() == [400.0, 400.0]
    assert dataset.class_names == ("cat", "dog")


ODD = {
    "class": (
        "2 .5 .5 .1 .1\n-1 .5 .5 .1 .1",
        "unknown categories, left out: 2 (class 2 of 0 to 1, class -1 of 0 to 1)",
    ),
    "fraction": ("0.5 .5 .5 .1 .1", "annotations that cannot be used, left out: 1 (images/train/a.png line 2 (class="),
    "pixels": ("0 12 20 30 14", "line 2 (12 is outside of 0..1, the shares of an image: in pixels?)"),
    "far": ("0 0.5 0.5 1.2 0.1", "line 2 (1.2 is outside of 0..1, the shares of an image)"),
    "outside": (
        "0 1.01 .5 .1 .1",
        "outside of 0..1, taken as they are and clipped to the image in training: 1 (images/tra",
    ),
    "polygon": (
        "0 .1 .2 .5 .2 .5 .6",
        "polygons in place of boxes, taken as their bounding boxes: 1 (images/train/a.png lin",
    ),
    "score": (
        "0 .1 .2 .5 .2 .9",
        "line 2 (6 columns: is the last one a score?, a label has 5, or a class and 3 points",
    ),
    "columns": ("0 .1 .2", "line 2 (3 columns, a label has 5, or a class and 3 points or more)"),
    "words": ("0 .1 .2 .3 nan", "line 2 ('nan' is no number)"),
    "twice": ("0 0.50 0.5 0.5 0.25", "entries that stand in the file again, taken once: 1 (a.txt line 2)"),
    "commas": ("0,.5,.5,.1,.1", "line 2 (1 columns: they are separated by spaces or tabs, a label has 5"),
    "decimals": ("0 0,5 .5 .1 .1", "line 2 ('0,5' is no number: numbers are separated by spaces, and have a point)"),
    "negative": ("0 .5 .5 -.05 .1", "line 2 (width -0.05 and height 0.1: below 0)"),
    "corners": ("0 .1 .1 .9 .9", "reach far beyond their image, clipped to it in training: 1 (images/train/a.png"),
    "flat": ("0 .5 .5 0 .2", "boxes without an area inside of the image, left out: 1"),
}


@pytest.mark.parametrize("oddity", ODD)
def test_an_odd_line_is_named_and_counted(tmp_path, caplog, oddity):
    line, message = ODD[oddity]
    with caplog.at_level(logging.WARNING):
        dataset = read(tmp_path, BOX + line)
    assert message in caplog.text
    kept = dataset[0, 0].truth.boxes.tolist()
    assert kept[0] == [20.0, 15.0, 60.0, 25.0]
    assert len(kept) == 1 + (oddity in ("outside", "polygon", "corners"))
    if oddity == "polygon":
        assert kept[1] == pytest.approx([8.0, 8.0, 40.0, 24.0])


def test_empty_and_missing_label_files_have_no_objects(tmp_path, caplog):
    labels = {
        "images/train/a.png": "\n",
        "images/train/b.png": None,
        "images/train/c.png": BOX,
        "images/val/d.png": BOX,
    }
    with caplog.at_level(logging.WARNING):
        dataset = YoloDataset(find_yolo(make(tmp_path, labels)), "train", Reading(train=False))
    assert [len(dataset[0, index].truth.labels) for index in range(len(dataset))] == [0, 0, 1]
    assert "empty label files, of images without objects: 1 (labels/train/a.txt)" in caplog.text
    assert "without a label file, taken as images without objects: 1 (images/train/b.png)" in caplog.text


def test_an_error_stops_where_it_is_asked_for(tmp_path):
    make(tmp_path, {"images/train/a.png": "0 1 2\n", "images/val/b.png": BOX})
    with pytest.raises(DataError, match=r"annotations that cannot be used: 1 \(images/train/a.png line 1 \(3 columns"):
        YoloDataset(find_yolo(tmp_path), "train", Reading(on_bad_sample="error"))


def test_a_label_file_that_is_no_text_makes_the_image_unusable(tmp_path, caplog):
    make(tmp_path, {"images/train/a.png": BOX, "images/train/b.png": BOX, "images/val/b.png": BOX})
    (tmp_path / "labels/train/a.txt").write_bytes(b"0 \xff\xfe .5")
    with caplog.at_level(logging.WARNING):
        dataset = YoloDataset(find_yolo(tmp_path), "train")
    assert len(dataset) == 1
    assert "unreadable images, 1 of 2 are trained on: 1 (images/train/a.png (train/a.txt" in caplog.text


def test_files_as_other_systems_write_them(tmp_path):
    """Line ends, byte order marks, tabs, suffixes in capitals, accents in two forms, spaces and dots in names."""
    texts = {
        "a.v2.final": b"0 .5 .5 .5 .25\r\n1\t.5 .5 .25 .25  \r\n",
        "b \u00e9": b"\xef\xbb\xbf0 .5 .5 .5 .25",
        "c": "0 .5 .5 .5 .25\n".encode("utf-16"),
        "d": b"0.0 5e-1 +.5 .50 .25\r",
    }
    make(tmp_path, {"images/val/v.png": BOX})
    (tmp_path / "images/val/v.png").rename(tmp_path / "images/val/v.PNG")
    (tmp_path / "labels/val/v.txt").rename(tmp_path / "labels/val/v.TXT")
    (tmp_path / "images/train").mkdir()
    (tmp_path / "labels/train").mkdir()
    for number, (name, text) in enumerate(texts.items()):
        make_image(40, 80, number).save(tmp_path / "images/train" / f"{unicodedata.normalize('NFD', name)}.PNG")
        (tmp_path / "labels/train" / f"{name}.txt").write_bytes(text)
    layout = find_yolo(tmp_path)
    for split, count in (("train", 4), ("val", 1)):
        found = YoloDataset(layout, split, Reading(train=False))
        assert len(found) == count
        for index in range(count):
            assert found[0, index].truth.boxes[0].tolist() == [20.0, 15.0, 60.0, 25.0]


def test_labels_are_of_the_upright_image(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright: 40 x 80 as stored is 80 high and 40 wide
    make(tmp_path, {"images/train/a.png": "0 .25 .5 .5 1\n", "images/val/b.png": BOX})
    make_image(40, 80, 0).save(tmp_path / "images/train/a.png", exif=turned)
    sample = YoloDataset(find_yolo(tmp_path), "train", Reading(train=False))[0, 0]
    assert sample.original_size == (80, 40)
    assert sample.truth.boxes.tolist() == [[0.0, 0.0, 20.0, 80.0]]


def test_files_that_are_none(tmp_path, caplog):
    """Broken links, pipes, folders and empty files in place of images and labels."""
    make(tmp_path, {"images/train/a.png": BOX, "images/train/b.png": None, "images/val/v.png": BOX})
    labels = tmp_path / "labels/train"
    (labels / "gone.txt").symlink_to("/nowhere/gone.txt")
    os.mkfifo(labels / "pipe.txt")
    (labels / "b.txt").mkdir()
    (tmp_path / "images/train/gone.png").symlink_to("/nowhere/gone.png")
    (tmp_path / "images/train/none.png").touch()
    (tmp_path / "images/train/a.jpg").write_bytes((tmp_path / "images/train/a.png").read_bytes())
    with caplog.at_level(logging.WARNING):
        layout = find_yolo(tmp_path)
        assert len(YoloDataset(layout, "train")) == 3
    assert "1 label files belong to several images of one name (labels/train/a.txt)" in layout.said
    assert "unreadable images, 3 of 5 are trained on: 2 (images/train/gone.png (a link" in caplog.text
    assert "without a label file, taken as images without objects: 3 (images/train/b.png" in caplog.text


def test_other_files_beside_the_description(tmp_path):
    make(tmp_path, {"images/train/a.png": BOX, "images/val/b.png": BOX})
    (tmp_path / "docker.yml").write_text("{{ no yaml }}: {")
    (tmp_path / "cache.data").write_bytes(b"\xff\x00\xfe")
    assert find_yolo(tmp_path).description.names == ("cat", "dog")
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"cache\.data .*save the file as UTF-8"):
        find_yolo(tmp_path)


def test_keypoints_are_left_out(tmp_path):
    (tmp_path / "a.txt").write_text("0 .5 .5 .2 .2 .1 .1 2 .3 9 0\n0 .5 .5 .3 .3\n0 .5 .5 .2 .2 .1\n")
    found = read_labels(tmp_path / "a.txt", keypoints=6)
    assert (found.keypoints, found.lines, len(found.bad)) == (["line 1"], [1, 2], 1)
    assert found.shares[0] == pytest.approx((0.4, 0.4, 0.6, 0.6))


LAYOUTS = {  # images with labels, the description, and what train and val are
    "folders": (["images/train/a.png", "images/val/b.png"], YAML, ["images/train/a.png"]),
    "mapping": (["images/train/a.png", "images/val/b.png"], YAML.replace("[cat, dog]", "{0: cat, 1: dog}"), None),
    "colab": (["images/train/a.png", "images/val/b.png"], YAML.replace("path: .", "path: /content/set"), None),
    "roboflow": (
        ["train/images/a.png", "valid/images/b.png"],
        "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n",
        ["train/images/a.png"],
    ),
    "several": (
        ["one/images/a.png", "two/images/b.png", "images/val/c.png"],
        "train: [one/images, two/images]\nval: images/val\nnames: [cat, dog]\n",
        ["one/images/a.png", "two/images/b.png"],
    ),
    "beside": (["obj/a.png", "test/b.png"], "train: obj\nval: test\nnames: [cat, dog]\n", ["obj/a.png"]),
    "no_splits": (["train/images/a.png", "valid/images/b.png"], "names: [cat, dog]\n", ["train/images/a.png"]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(tmp_path, name):
    images, description, train = LAYOUTS[name]
    layout = find_yolo(make(tmp_path, dict.fromkeys(images, BOX), description))
    assert layout.description.names == ("cat", "dog")
    found = names_in(layout)
    assert found["train"] == (train or [images[0]])
    assert found["val"] == found["test"] == [images[-1]]
    assert all(picture.label for pictures in layout.splits.values() for picture in pictures)
    assert "the test is on the validation set" in layout.said


def test_lists_of_images(tmp_path):
    images = ["images/a.png", "images/b c.png", "images/d.png"]
    make(tmp_path, dict.fromkeys(images, BOX), "train: lists/train.txt\nval: val.txt\nnames: [cat, dog]\n")
    (tmp_path / "lists").mkdir()
    lines = ["./images/a.png", "/home/ann/set/images/b c.png", "images/a.png", "images/gone.png"]
    (tmp_path / "lists" / "train.txt").write_text("\n".join(lines))
    (tmp_path / "val.txt").write_text("images\\d.png\n")
    layout = find_yolo(tmp_path)
    assert names_in(layout)["train"] == ["images/a.png", "images/b c.png", "images/gone.png"]
    assert names_in(layout)["val"] == ["images/d.png"]
    assert "1 images stand in train again, taken once (images/a.png)" in layout.said
    assert "found by the last parts of their paths" in layout.said
    assert len(YoloDataset(layout, "train")) == 2  # the third is missing, which is reported


def test_darknet_data_and_held_out_shares(tmp_path):
    make(tmp_path, {f"obj/{number}.png": f"{number % 2} .5 .5 .2 .2" for number in range(10)}, None)
    (tmp_path / "obj.data").write_text(
        "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"
    )
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    (tmp_path / "train.txt").write_text("".join(f"data/obj/{number}.png\n" for number in range(10)))
    (tmp_path / "obj" / "lost.txt").write_text(BOX)
    layout = find_yolo(tmp_path)
    assert {split: len(found) for split, found in layout.splits.items()} == {"train": 8, "val": 2, "test": 2}
    assert "0.2 (data.val_share) for val" in layout.said
    assert "1 label files of no image left out (obj/lost.txt)" in layout.said
    assert layout.description.names == ("cat", "dog")
    halves = find_yolo(tmp_path, shares=Shares(0.3, 0.2))
    assert {split: len(found) for split, found in halves.splits.items()} == {"train": 5, "val": 3, "test": 2}


REFUSED = {
    "names: [cat]\nnc: 2": "nc=2, but names has 1 classes",
    "names: {0: cat, 2: dog}": "none with the number 1; count from 0",
    "names: {a: cat}": "'a', which is no number of a class",
    "names: [cat, '']": "a class without a name",
    "names: [cat]\ntrain: nowhere": "train=nowhere is not there; looked in",
    "names: [cat]\nval: images/val": "names no images to train on",
    "names: [cat]\ntrain: images/train\nval: a\nvalid: b": "names the split val twice, as valid too",
    "names: [cat]\ntrain: {a: b}": "is no folder or list of images",
    "names: [cat\n": "is not YAML in line",
    "": "data.yaml is no mapping with path, train, val and names",
    "- a": "data.yaml is no mapping with path, train, val and names",
    f"names: [cat]\ntrain: {'a' * 5000}": "train='aaaaaaaaaaaa...aaaaaaaaaaaaa' is not there; looked in",
    f"names: {'a' * 5000}\ntrain: images/train": "is no list, no mapping and no file that is there",
    "names: [cat]\nkpt_shape: [17]": "is not [points, 2] or [points, 3]",
}


@pytest.mark.parametrize("description", REFUSED, ids=range(len(REFUSED)))
def test_refused(tmp_path, description):
    make(tmp_path, {"images/train/a.png": BOX, "images/val/b.png": BOX}, description)
    with pytest.raises(DataError) as error:
        find_yolo(tmp_path)
    assert REFUSED[description] in str(error.value)
    assert "\n" not in str(error.value)


def test_no_label_file_and_no_names(tmp_path):
    make(tmp_path, {"images/train/a.png": None, "images/val/b.png": None})
    with pytest.raises(DataError, match=r"none of the 2 images has a label file; looked for labels/train/a.txt and"):
        find_yolo(tmp_path)
    make(tmp_path, {"images/train/a.png": BOX}, "train: images/train\nval: images/val\n")
    with pytest.raises(DataError, match=r"data.yaml has no names.*data\.class_names"):
        YoloDataset(find_yolo(tmp_path))
    assert YoloDataset(find_yolo(tmp_path), class_names=["x"]).class_names == ("x",)
    with pytest.raises(DataError, match=r"no file .*other.yaml: looked in data.root"):
        find_yolo(tmp_path, "other.yaml")


def test_fingerprint_sees_names_labels_and_images(tmp_path):
    make(tmp_path, {"images/train/a.png": BOX, "images/val/b.png": BOX})
    seen = {find_yolo(tmp_path).fingerprint("train", ["cat", "dog"]), find_yolo(tmp_path).fingerprint("train", ["cat"])}
    (tmp_path / "labels/train/a.txt").write_text("1 .5 .5 .1 .1")
    seen.add(find_yolo(tmp_path).fingerprint("train", ["cat", "dog"]))
    make_image(40, 80, 9).save(tmp_path / "images/train/a.png")
    seen.add(find_yolo(tmp_path).fingerprint("train", ["cat", "dog"]))
    assert len(seen) == 4


def test_module_gives_batches(tmp_path):
    make(tmp_path, {"images/train/a.png": BOX, "images/val/b.png": BOX})
    module = YoloDataModule(str(tmp_path), batch_size=1, num_workers=0, image_size=20)
    assert module.spec.class_names == ("cat", "dog")
    batch = next(iter(module.val_dataloader()))
    assert batch.images.shape == (1, 3, 16, 32)  # the longer side: 20 * 1333 / 800 at most
    assert batch.truth.boxes.tolist() == [[20.0, 15.0, 60.0, 25.0]]


def test_coco_mini_has_the_boxes_of_its_json(data_dir):
    root = data_dir / "coco_mini"
    if not root.is_dir():
        pytest.skip("needs coco_mini below LAB_DATA_DIR")
    layout = find_yolo(root, "object_detection/config.yaml", "object_detection/labels")
    found = YoloDataset(layout, "train", Reading(train=False))
    coco = CocoDataset(root, "annotations/instances_train2017_70.json", "images/train2017", Reading(train=False))
    assert (len(found), len(layout.splits["val"])) == (len(coco), 30) == (70, 30)
    truths = {coco.image_path(index).name: coco[0, index].truth for index in range(len(coco))}
    worst = 0.0
    for index in range(len(found)):
        mine, other = found[0, index].truth, truths[found.image_path(index).name]
        for box in mine.boxes:
            worst = max(worst, (other.boxes - box).abs().amax(1).min().item())
    assert worst < 0.5, worst
