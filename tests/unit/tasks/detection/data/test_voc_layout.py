"""Photos and their XML files as LabelImg, Roboflow and CVAT leave them, and shares that are held out."""

from __future__ import annotations

import os
import random
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lab.data.folders import list_files
from lab.data.holdout import hold_out
from lab.data.images.dataset import Reading
from lab.data.lists import read_names
from lab.errors import ConfigError, DataError
from lab.tasks.detection.data.coco import CocoDataModule
from lab.tasks.detection.data.voc import VocDataModule, VocDataset
from lab.tasks.detection.data.voc_layout import find_layout
from lab.tasks.segmentation.data.coco_instances import InstancesDataModule
from lab.tasks.segmentation.data.folder import FolderSegmentation
from tests.data_factory import make_coco, make_image, make_segfolder, make_voc

LISTS = {"train": "train", "val": "val", "test": "test"}
WEIGHTS = {"screw": 60, "nut": 30, "bolt": 9, "washer": 1}


def write(image: Path, xml: Path, names: list[str], stated: str | None = None, space: str = "") -> None:
    """Write a photo and the XML of its objects."""
    image.parent.mkdir(parents=True, exist_ok=True)
    xml.parent.mkdir(parents=True, exist_ok=True)
    make_image(12, 16, len(names)).save(image, format="JPEG")
    box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    objects = "".join(f"<object><name>{name}</name>{box}</object>" for name in names)
    size = "<size><width>16</width><height>12</height></size>"
    xml.write_text(f"<annotation{space}><filename>{stated or image.name}</filename>{size}{objects}</annotation>")


def photos(root: Path, images: str, xmls: str, count: int = 200) -> dict[str, list[str]]:
    """Write photos below ``root`` and return the classes of each by its XML; ``{}`` stands for its number."""
    rng, found = random.Random(0), {}
    for number in range(count):
        names = rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=rng.randint(0, 3))
        write(root / images.format(number), root / xmls.format(number), names)
        found[xmls.format(number)] = names
    return found


def module(root: Path, **options: Any) -> VocDataModule:
    return VocDataModule(str(root), num_workers=0, image_size=16, **options)


def sizes(root: Path, **options: Any) -> dict[str, int]:
    layout = find_layout(root, LISTS, **options)
    return {split: len(pairs) for split, pairs in layout.splits.items()}


@pytest.mark.parametrize(
    ("images", "xmls"),
    [
        ("images/p{}.jpg", "annotations/p{}.xml"),
        ("p{}.jpg", "p{}.xml"),
        ("JPEGImages/p{}.jpg", "Annotations/p{}.xml"),
        ("Fotos 2024/p {}.JPG", "Etiketten/p {}.xml"),
        ("a/images/b/p{}.jpeg", "labels/xmls/p{}.xml"),
        ("data/p{}.jpg", "data/p{}.jpg.xml"),
    ],
)
def test_folders_of_any_name_are_held_out_by_class(
    tmp_path: Path, images: str, xmls: str, caplog: pytest.LogCaptureFixture
) -> None:
    classes = photos(tmp_path, images, xmls)
    layout = find_layout(tmp_path, LISTS)
    assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 160, "val": 40, "test": 40}
    assert "held out" in layout.said
    assert "0.2 (data.val_share) for val" in layout.said
    assert layout.said.endswith(": 160 train, 40 val, 40 test")
    assert layout.splits["val"] == layout.splits["test"]
    train, val = set(layout.splits["train"]), set(layout.splits["val"])
    assert not train & val
    assert not any(pair.problem for pair in train | val)
    prefix = layout.annotations.relative_to(tmp_path).as_posix()
    of_val = [classes[pair.xml if prefix == "." else f"{prefix}/{pair.xml}"] for pair in val]
    total, held = (Counter(name for names in found for name in set(names)) for found in (classes.values(), of_val))
    for name, count in total.items():
        assert abs(held[name] - 0.2 * count) <= 1, (name, count, held[name])
    assert find_layout(tmp_path, LISTS).splits == layout.splits
    assert find_layout(tmp_path, LISTS, seed=1).splits["val"] != layout.splits["val"]


def test_samples_come_from_such_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos(tmp_path, "images/p{}.jpg", "annotations/p{}.xml", count=20)
    data = module(tmp_path, test_share=0.1)
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [14, 4, 2]
    assert data.dataset("train").class_names == ("bolt", "nut", "screw", "washer")
    assert data.dataset("train")[0, 0].boxes.shape[1] == 4
    assert caplog.text.count("held out of the images to train on, by data.seed=0 and balanced by class") == 1
    assert "unreadable" not in caplog.text
    first = data.fingerprint()
    assert module(tmp_path, test_share=0.1).fingerprint() == first
    assert module(tmp_path, test_share=0.1, seed=3).fingerprint() != first
    xml = tmp_path / "annotations" / "p3.xml"
    xml.write_text(xml.read_text().replace("<xmax>9", "<xmax>8"))
    assert module(tmp_path, test_share=0.1).fingerprint() != first


def test_roboflow_folders_are_the_splits(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("valid", 5), ("test", 3)):
        photos(tmp_path, f"{split}/p{{}}_jpg.rf.0{split}.jpg", f"{split}/p{{}}_jpg.rf.0{split}.xml", count)
    assert sizes(tmp_path) == {"train": 12, "val": 5, "test": 3}
    assert find_layout(tmp_path, LISTS).said == "splits are those of the folders' names: 12 train, 5 val, 3 test"
    for folder in ("test", "valid"):
        for path in (tmp_path / folder).iterdir():
            path.unlink()
        expected = {"test": {"train": 12, "val": 5, "test": 5}, "valid": {"train": 10, "val": 2, "test": 2}}
        assert sizes(tmp_path) == expected[folder]


def test_folders_of_splits_below_folders_of_kinds_and_the_same_names_in_each(tmp_path: Path) -> None:
    for split, count in (("train", 8), ("val", 4)):
        photos(tmp_path, f"images/{split}/{{}}.jpg", f"annotations/{split}/{{}}.xml", count)
    layout = find_layout(tmp_path, LISTS)
    assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 8, "val": 4, "test": 4}
    for split in ("train", "val"):
        assert all(f"/{split}/" in pair.image and f"/{split}/" in pair.xml for pair in layout.splits[split])
        assert not any(pair.problem for pair in layout.splits[split])
    assert sizes(tmp_path, images="images", annotations="annotations") == {"train": 8, "val": 4, "test": 4}
    write(tmp_path / "more" / "x.jpg", tmp_path / "more" / "x.xml", ["nut"])
    make_image(8, 8).save(tmp_path / "images" / "alone.png")
    said = find_layout(tmp_path, LISTS).said
    assert "1 XML files in no folder of a split left out" in said
    assert "1 images without XML left out" in said


def test_lists_that_are_there_are_used_and_what_they_lack_is_held_out(tmp_path: Path) -> None:
    make_voc(tmp_path, {f"p{number}": [("ball", (1, 1, 9, 9))] for number in range(20)})
    assert sizes(tmp_path) == {"train": 16, "val": 4, "test": 4}
    main = tmp_path / "ImageSets" / "Main"
    (main / "val.txt").write_text("p0\np1\n")
    assert sizes(tmp_path) == {"train": 20, "val": 2, "test": 2}
    assert find_layout(tmp_path, LISTS).said == "the test is on the validation set: 20 train, 2 val, 2 test"
    assert sizes(tmp_path, test_share=0.1) == {"train": 18, "val": 2, "test": 2}
    assert "the val set that is there is not used" in find_layout(tmp_path, LISTS, val_share=0.5).said
    (main / "test.txt").write_text("p2\n")
    assert find_layout(tmp_path, LISTS).said == ""
    with pytest.raises(DataError, match=r"no list .*vla\.txt \(data\.val_split=vla\); did you mean 'val'"):
        find_layout(tmp_path, {**LISTS, "val": "vla"})
    (main / "train.txt").rename(main / "trainval.txt")
    with pytest.raises(DataError, match=r"no list .*train\.txt \(data\.train_split=train\); did you mean 'trainval'"):
        find_layout(tmp_path, LISTS)
    assert len(find_layout(tmp_path, {**LISTS, "train": "trainval"}).splits["train"]) == 20


def test_cvat_lists_all_images_in_one_list_of_another_name(tmp_path: Path) -> None:
    make_voc(tmp_path, {f"p{number}": [("ball", (1, 1, 9, 9))] for number in range(10)}, split="default")
    assert sizes(tmp_path) == {"train": 8, "val": 2, "test": 2}
    assert sizes(tmp_path, val_share=0.4) == {"train": 6, "val": 4, "test": 4}
    nested = tmp_path / "nested"
    photos(nested, "JPEGImages/cam1/{}.jpg", "Annotations/cam1/{}.xml", 4)
    (nested / "ImageSets" / "Main").mkdir(parents=True)
    for split in ("train", "val", "test"):
        (nested / "ImageSets" / "Main" / f"{split}.txt").write_text("cam1/0\ncam1/1\n")
    dataset = module(nested).dataset("train")
    assert [dataset.image_path(index).name for index in range(len(dataset))] == ["0.jpg", "1.jpg"]


def test_what_cannot_be_held_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        find_layout(tmp_path / "none", LISTS)
    with pytest.raises(DataError, match="no XML file is in"):
        find_layout(tmp_path, LISTS)
    write(tmp_path / "a.jpg", tmp_path / "a.xml", ["nut"])
    with pytest.raises(DataError, match="1 images to train on are too few"):
        find_layout(tmp_path, LISTS)
    with pytest.raises(DataError, match=r"no folder .*pictures"):
        find_layout(tmp_path, LISTS, images="pictures")
    for share in (0.0, 1.0, -0.1, 20.0, True, "x"):
        with pytest.raises(ConfigError, match=r"data\.val_share"):
            find_layout(tmp_path, LISTS, val_share=share)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        find_layout(tmp_path, LISTS, val_share=0.5, test_share=0.5)


def test_two_files_of_one_stem(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.jpg", tmp_path / f"{name}.xml", ["nut"])
    make_image(12, 16).save(tmp_path / "a.png")  # told from a.jpg by <filename>
    make_image(12, 16).save(tmp_path / "b.png")
    (tmp_path / "b.xml").write_text((tmp_path / "b.xml").read_text().replace("b.jpg", "DSC_1.jpg"))
    pairs = {pair.xml: pair for pair in find_layout(tmp_path, LISTS, val_share=0.4).splits["train"]}
    pairs |= {pair.xml: pair for pair in find_layout(tmp_path, LISTS, val_share=0.4).splits["val"]}
    assert pairs["a.xml"].image == "a.jpg"
    assert pairs["b.xml"].problem == "two images of one name: b.jpg, b.png"
    assert not pairs["a.xml"].problem + pairs["c.xml"].problem
    root = make_voc(tmp_path / "voc")
    make_image(48, 64).save(root / "JPEGImages" / "a.png")
    with pytest.raises(DataError, match=r"two images of one name: a\.jpg, a\.png"):
        VocDataset(root, reading=Reading(on_bad_sample="error"))
    assert len(VocDataset(root)) == 2
    (root / "ImageSets" / "Main" / "train.txt").write_text("a.png\nb\n")
    assert VocDataset(root).image_path(0).name == "a.png"
    seg = make_segfolder(tmp_path / "seg", sizes=((24, 30),) * 3)
    make_image(24, 30).save(seg / "images" / "train" / "a.png")
    options: dict[str, Any] = {"images": "images/train", "labels": "labels/train", "class_names": ("x", "y", "z")}
    with pytest.raises(DataError, match=r"two images of one name: a\.jpg, a\.png"):
        FolderSegmentation(seg, **options, reading=Reading(on_bad_sample="error"))
    assert len(FolderSegmentation(seg, **options)) == 2
    assert len(FolderSegmentation(seg, image_suffix=".jpg", **options, reading=Reading(on_bad_sample="error"))) == 3
    (seg / "val.txt").write_text("a.png\nb\n")
    assert len(FolderSegmentation(seg, names="val.txt", **options, reading=Reading(on_bad_sample="error"))) == 2


def test_an_xml_whose_image_was_renamed_or_that_stands_twice(tmp_path: Path) -> None:
    write(tmp_path / "images" / "one.jpg", tmp_path / "xml" / "renamed.xml", ["nut"])
    for folder in ("xml", "backup"):
        write(tmp_path / "images" / "two.jpg", tmp_path / folder / "two.xml", ["nut"])
    write(tmp_path / "images" / "three.jpg", tmp_path / "xml" / "three.xml", ["nut"], stated="C:\\data\\other.jpg")
    (tmp_path / "xml" / "gone.xml").write_text("<annotation><filename>gone.jpg</filename></annotation>")
    layout = find_layout(tmp_path, LISTS)
    found = {pair.xml: pair for pair in layout.splits["train"] + layout.splits["val"]}
    assert found["xml/renamed.xml"].image == "images/one.jpg"
    assert found["xml/three.xml"] == ("images/three.jpg", "xml/three.xml", "")
    assert found["xml/two.xml"].problem == found["backup/two.xml"].problem == "several XML files belong to it"
    assert found["xml/gone.xml"].problem == "no image has its name or the <filename> in it"
    assert len(module(tmp_path, val_share=0.2).dataset("train")) + len(module(tmp_path).dataset("val")) == 2


def test_names_with_spaces_are_whole(tmp_path: Path) -> None:
    """``my photo`` never reads ``my``; VOC's columns and pairs of files are still taken off."""
    known = {"my", "my photo", "photo", "photo 1", "a", "b", "été"}
    cases = {
        "my photo\nmy\n": ["my photo", "my"],
        "my photo.jpg\n": ["my photo.jpg"],
        "photo 1\nphoto\n": ["photo 1", "photo"],
        "a  1\nb -1\nphoto 0\n": ["a", "b", "photo"],
        "a 1\nb\n": ["a 1", "b"],
        "a.jpg labels/a.png\nb.jpg\tb.png\n": ["a.jpg", "b.jpg"],
        "my photo.png\n": ["my photo.png"],
        "  a  \r\n\r\nb": ["a", "b"],
        unicodedata.normalize("NFD", "été"): ["été"],
    }
    for content, names in cases.items():
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            (tmp_path / "list.txt").write_bytes(content.encode(encoding))
            assert read_names(tmp_path / "list.txt", known) == names, content
    (tmp_path / "list.txt").write_bytes("照片一\n照片二\n".encode("gbk"))
    with pytest.raises(DataError, match="save the file as UTF-8"):
        read_names(tmp_path / "list.txt")


def test_lists_with_spaces_repetitions_and_names_that_lead_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    objects: Any = {name: [("ball", (1, 1, 9, 9))] for name in ("my", "my photo", "b")}
    make_voc(tmp_path / "d", objects)
    write(tmp_path / "secret.jpg", tmp_path / "secret.xml", ["ball"])
    names = "my photo\nmy\nb\nb\nmy holiday\n../../secret\n" + str(tmp_path / "secret") + "\n"
    (tmp_path / "d" / "ImageSets" / "Main" / "train.txt").write_bytes(names.encode("utf-16"))
    dataset = VocDataset(tmp_path / "d", reading=Reading(train=False))
    assert [dataset.image_path(index).name for index in range(len(dataset))] == ["my photo.jpg", "my.jpg", "b.jpg"]
    for said in ("3 of 7", "it is listed twice", "my holiday.jpg (missing)", "its name leads out of the folder"):
        assert said in caplog.text
    seg = make_segfolder(tmp_path / "seg", sizes=((24, 30),) * 2)
    for kind, suffix in (("images", "jpg"), ("labels", "png")):
        (seg / kind / "train" / f"b.{suffix}").rename(seg / kind / "train" / f"a b.{suffix}")
    (seg / "list.txt").write_text("a b\na c\n../../x\na b.jpg\n", encoding="utf-16")
    options: dict[str, Any] = {"images": "images/train", "labels": "labels/train", "class_names": ("x", "y", "z")}
    chosen = FolderSegmentation(seg, **options, names="list.txt")
    assert [chosen.image_path(index).name for index in range(len(chosen))] == ["a b.jpg"]
    assert "a c (no such image)" in caplog.text


@pytest.mark.parametrize("encoding", ["gbk", "gb2312", "shift_jis", "ansi", "utf-8", "utf-16", "latin-1"])
def test_xml_in_other_encodings_and_with_a_namespace(tmp_path: Path, encoding: str) -> None:
    name = "café" if encoding == "latin-1" else "cat" if encoding == "ansi" else "山"
    for number in range(2):
        write(tmp_path / f"{number}.jpg", tmp_path / f"{number}.xml", [name], space=' xmlns="http://x.org/voc"')
        text = f'<?xml version="1.0" encoding="{encoding}"?>' + (tmp_path / f"{number}.xml").read_text()
        (tmp_path / f"{number}.xml").write_bytes(text.encode("utf-8" if encoding == "ansi" else encoding))
    data = module(tmp_path)
    assert data.dataset("train").class_names == (name,)
    assert data.dataset("train")[0, 0].labels.tolist() == [0]


def test_hidden_files_links_and_pipes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos(tmp_path / "real", "images/{}.jpg", "xml/{}.xml", 5)
    for name in ("images/._0.jpg", "xml/._0.xml", "xml/.ipynb_checkpoints/0-checkpoint.xml", "__MACOSX/0.xml"):
        (tmp_path / "real" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "real" / name).write_bytes(b"x")
    os.mkfifo(tmp_path / "real" / "xml" / "pipe.xml")
    os.mkfifo(tmp_path / "real" / "images" / "pipe.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "again").symlink_to(tmp_path / "real")
    assert sizes(tmp_path / "root") == {"train": 5, "val": 1, "test": 1}
    assert len(list_files(tmp_path / "root")) == 6
    data = module(tmp_path / "root", val_share=0.4)
    assert len(data.dataset("train")) + len(data.dataset("val")) == 5
    assert "pipe.xml is no regular file" in caplog.text or "pipe.jpg (no regular file)" in caplog.text


@pytest.mark.parametrize("kind", [CocoDataModule, InstancesDataModule])
def test_one_json_for_all(tmp_path: Path, kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(1)
    polygon = [[1, 1, 9, 1, 9, 9, 1, 9]]
    items = [
        {"image_id": 10 * number, "category_id": rng.choice((3, 3, 3, 5)), "bbox": [1, 1, 8, 8], "area": 64}
        | {"iscrowd": 0, "segmentation": polygon}
        for number in range(1, 51)
    ]
    root = make_coco(tmp_path, sizes=((12, 16),) * 50, annotations=items)
    files = {"annotations": "annotations/instances_train2017.json", "images": "train2017"}
    missing = {"annotations": "annotations/none.json", "images": "none"}

    def build(**options: Any) -> Any:
        return kind(str(root), files, missing, missing, num_workers=0, image_size=16, **options)

    data = build(val_share=0.2)
    ids = {split: set(data.dataset(split).image_ids) for split in ("train", "val", "test")}
    assert {split: len(found) for split, found in ids.items()} == {"train": 40, "val": 10, "test": 10}
    assert not ids["train"] & ids["val"]
    assert ids["val"] == ids["test"]
    of_class = {item["image_id"] for item in items if item["category_id"] == 5}
    assert abs(len(of_class & ids["val"]) - 0.2 * len(of_class)) < 1
    assert caplog.text.count("data.val_share=0.2 held out by data.seed=0, balanced by class: 40 train, 10 val") == 1
    again, other = build(val_share=0.2), build(val_share=0.2, seed=1)
    assert again.fingerprint() == data.fingerprint() != other.fingerprint()
    three = build(val_share=0.2, test_share=0.1)
    assert [len(three.dataset(split)) for split in ("train", "val", "test")] == [35, 10, 5]
    with pytest.raises(ConfigError, match=r"give data\.val_share too"):
        build(test_share=0.1)
    with pytest.raises(DataError, match=r"none\.json"):
        build().dataset("val")
    own = kind(str(root), files, missing, files, num_workers=0, image_size=16, val_share=0.2)
    assert len(own.dataset("test")) == 50


def test_holding_out_is_balanced_and_does_not_depend_on_the_order() -> None:
    rng = random.Random(5)
    names = [f"p{number}" for number in range(500)]
    classes = [rng.choices("abcdefgh", (400, 200, 100, 50, 25, 12, 6, 3), k=rng.randint(0, 4)) for _ in names]
    shares = {"train": 0.7, "val": 0.2, "test": 0.1}
    parts = dict(zip(names, hold_out(names, classes, shares, 0), strict=True))
    order = rng.sample(range(500), 500)
    again = hold_out([names[place] for place in order], [classes[place] for place in order], shares, 0)
    assert {names[place]: part for place, part in zip(order, again, strict=True)} == parts
    for part, share in shares.items():
        assert list(parts.values()).count(part) == round(500 * share)
        for label in "abcdefgh":
            total = sum(label in found for found in classes)
            held = sum(label in found for name, found in zip(names, classes, strict=True) if parts[name] == part)
            assert abs(held - share * total) <= 1.5, (part, label, total, held)
    assert sorted(hold_out(["a", "b", "c"], [[], [], []], shares, 0)) == ["test", "train", "val"]
    assert sorted(hold_out(["a", "b"], [["x"], ["x"]], {"train": 0.8, "val": 0.2}, 0)) == ["train", "val"]
