"""Jsons of COCO's layout as others write them: what is unambiguous is read, the rest counted or refused in one line."""

from __future__ import annotations

import copy
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.data.images import annotations
from lab.data.images.coco_entries import BoxEntry
from lab.data.images.coco_json import read_file
from lab.data.images.dataset import Reading
from lab.data.json_files import read_json
from lab.errors import ConfigError, DataError, LabError
from lab.tasks.detection.data import coco
from lab.tasks.detection.data.coco import CocoDataset
from lab.tasks.segmentation.data import coco_instances, coco_panoptic
from lab.tasks.segmentation.data.coco_instances import InstancesDataset
from lab.tasks.segmentation.data.coco_panoptic import PanopticDataset
from tests.data_factory import make_coco, make_panoptic

INSTANCES = "annotations/instances_train2017.json"
PANOPTIC = "annotations/panoptic_train2017.json"
SQUARE = [4, 6, 34, 6, 34, 36, 4, 36]


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")
    monkeypatch.setattr(annotations, "_reported", set())


def make(root: Path) -> dict[str, Any]:
    """Write two images with a cat (3) and a dog (5), and return the json."""
    items = [
        {
            "image_id": 10 * n,
            "category_id": c,
            "bbox": [4, 6, 30, 30],
            "area": 900,
            "iscrowd": 0,
            "segmentation": [SQUARE],
        }
        for n, c in ((1, 3), (2, 5))
    ]
    make_coco(root, sizes=[(48, 64), (64, 48)], annotations=items)
    content: dict[str, Any] = json.loads((root / INSTANCES).read_text())
    return content


def rows_of(root: Path, content: Any, kind: str = "boxes", encoding: str = "utf-8") -> list[dict[str, Any]]:
    """Return the rows that a reader makes of a json, without the cache of ``datasets``."""
    path = root / (PANOPTIC if kind == "panoptic" else INSTANCES)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding=encoding)
    images = str(root / "train2017")
    if kind == "panoptic":
        list(coco_panoptic.read_categories(str(path), ""))
        return list(coco_panoptic.read_rows(str(path), str(root / "annotations/panoptic_train2017"), images, ""))
    list(coco.read_categories(str(path), ""))
    if kind == "masks":
        return list(coco_instances.read_rows(str(path), images, ""))
    return list(coco.read_rows(str(path), images, "contiguous", ""))


def change(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with one value replaced."""
    result = copy.deepcopy(content)
    place = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return result


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("images", 0, "id"), "10"),
        (("images", 0, "id"), 10.0),
        (("annotations", 0, "image_id"), " 10 "),
        (("annotations", 0, "category_id"), "3"),
        (("annotations", 0, "category_id"), 3.0),
        (("annotations", 0, "bbox"), ["4", "6.0", "3e1", 30]),
        (("annotations", 0, "area"), "900"),
        (("annotations", 0, "area"), None),
        (("annotations", 0, "iscrowd"), "0"),
        (("annotations", 0, "iscrowd"), False),
        (("annotations", 0, "iscrowd"), "false"),
        (("annotations", 0, "iscrowd"), None),
        (("categories", 0, "id"), "3"),
        (("images", 0, "height"), "48"),
        (("images", 0, "width"), None),
    ],
)
def test_what_means_one_thing_is_read(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    content = make(tmp_path)
    plain = rows_of(tmp_path, content)
    assert plain[0]["boxes"] == [[4, 6, 34, 36]]
    assert rows_of(tmp_path, change(content, path, value)) == plain
    for row in plain:
        assert not any(row[key] for key in ("bad_boxes", "bad_objects", "unknown", "mended", "strays", "bad_images"))


def test_the_text_1_is_a_crowd(tmp_path: Path) -> None:
    for value, crowd in (("1", True), (1.0, True), ("0", False), ("no", False)):
        assert rows_of(tmp_path, change(make(tmp_path), ("annotations", 0, "iscrowd"), value))[0]["iscrowd"] == [crowd]


@pytest.mark.parametrize(
    ("path", "value", "column", "said"),
    [
        (("annotations", 0, "bbox"), [4, 6, 30], "bad_objects", r"annotation 1 (bbox=[4, 6, 30] is not four numbers"),
        (("annotations", 0, "bbox"), [4, 6, 30, 30, 1], "bad_objects", "bbox="),
        (("annotations", 0, "bbox"), [4, 6, 30, True], "bad_objects", "bbox="),
        (("annotations", 0, "bbox"), "4,6,30,30", "bad_objects", "bbox='4,6,30,30'"),
        (("annotations", 0, "bbox"), {"x": 4}, "bad_objects", "bbox={'x': 4}"),
        (("annotations", 0, "bbox"), [4, 6, -30, 30], "bad_boxes", "(annotation 1)"),
        (("annotations", 0, "bbox"), [4, 6, float("nan"), 30], "bad_boxes", "nan"),
        (("annotations", 0, "bbox"), [4, 6, float("inf"), 30], "bad_boxes", "inf"),
        (("annotations", 0, "bbox"), [-1e300, 6, 2e300, 30], "bad_boxes", "e+300"),
        (("annotations", 0, "bbox"), [1e308, 1e308, 1e308, 1e308], "bad_boxes", "(annotation 1)"),
        (("annotations", 0, "bbox"), None, "bad_boxes", "(annotation 1)"),
        (("annotations", 0, "category_id"), True, "bad_objects", "category_id=True is not a whole number"),
        (("annotations", 0, "category_id"), 3.5, "bad_objects", "category_id=3.5"),
        (("annotations", 0, "category_id"), "cat", "bad_objects", "category_id='cat'"),
        (("annotations", 0, "category_id"), None, "bad_objects", "no category_id"),
        (("annotations", 0, "category_id"), -3, "unknown", "-3"),
        (("annotations", 0, "iscrowd"), 2, "bad_objects", "iscrowd=2 is not 0 or 1"),
        (("annotations", 0, "iscrowd"), "maybe", "bad_objects", "iscrowd='maybe'"),
        (("annotations", 0, "image_id"), None, "strays", "annotation 1 (no image_id)"),
        (("annotations", 0, "image_id"), True, "strays", "image_id=True"),
        (("annotations", 0, "image_id"), 77, "strays", "annotation 1 belongs to image 77"),
        (("annotations", 0), None, "strays", "annotation no. 1 (None is no object of json)"),
        (("images", 1, "id"), None, "bad_images", "entry 2 (no id)"),
        (("images", 1, "file_name"), 5, "bad_images", "image 20 (file_name=5"),
        (("images", 1, "file_name"), "", "bad_images", "image 20 (file_name=''"),
        (("images", 1), [], "bad_images", "entry 2"),
    ],
)
def test_what_means_nothing_is_counted_with_its_id(
    tmp_path: Path, path: tuple[Any, ...], value: Any, column: str, said: str
) -> None:
    rows = rows_of(tmp_path, change(make(tmp_path), path, value))
    (found,) = [entry for row in rows for entry in row[column]]
    assert said in found
    assert sum(len(row["boxes"]) for row in rows) == 1


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1e300, "big", True, [5]])
def test_an_area_that_is_none_is_that_of_the_box_and_said(tmp_path: Path, value: Any) -> None:
    row = rows_of(tmp_path, change(make(tmp_path), ("annotations", 0, "area"), value))[0]
    assert row["area"] == [900]
    assert len(row["mended"]) == 1


ODD: list[Any] = [None, True, -1, 1.5, 1e308, float("nan"), 10**400, 2**63, "", "x", "a\0b", "a" * 5000]
ODD += [[], {}, [[]], [None] * 4, [1e308] * 8, {"size": [2**31, 2**31], "counts": "abc"}, [[1e308] * 8]]


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, value in node.items() if isinstance(node, dict) else enumerate(node[:1]) if isinstance(node, list) else ():
        yield from places(value, (*path, key))


@pytest.mark.parametrize("kind", ["boxes", "masks", "panoptic"])
def test_no_value_anywhere_ends_in_a_traceback(tmp_path: Path, kind: str) -> None:
    made = (make_panoptic(tmp_path) / PANOPTIC).read_text() if kind == "panoptic" else json.dumps(make(tmp_path))
    content, said, read = json.loads(made), [], 0
    for path in places(content):
        for value in ODD:
            try:
                rows_of(tmp_path, change(content, path, value), kind)
                read += 1
            except LabError as error:
                said.append(str(error))
    assert min(read, len(said)) > 100
    assert not any("\n" in line for line in said)


def test_ids_that_are_texts(tmp_path: Path) -> None:
    content = make(tmp_path)
    for entry in content["images"]:
        entry["id"] = f"frame_{entry['id']}"
    for entry in content["annotations"]:
        entry["image_id"] = f"frame_{entry['image_id']}"
    (tmp_path / INSTANCES).write_text(json.dumps(content))
    for kind in (CocoDataset, InstancesDataset):
        dataset = kind(tmp_path, reading=Reading(train=False, on_bad_sample="error"))
        assert dataset.image_ids == [0, 1]
        assert [dataset[0, index].truth.counts for index in (0, 1)] == [(1,), (1,)]
    content["images"][0]["id"] = content["annotations"][0]["image_id"] = 10**30
    assert [row["image_id"] for row in rows_of(tmp_path, content)] == [0, 1]


def test_categories(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = make(tmp_path)
    again = copy.deepcopy(content)
    again["categories"].append({"id": "3", "name": " cat"})
    for kind in ("boxes", "masks"):
        rows = rows_of(tmp_path, again, kind)
        assert [row["labels"] for row in rows] == [[0], [1]]
        assert rows[0]["twice"] == ["category 3 'cat'"]
        assert rows[1]["twice"] == []
    for entry, said in (
        ({"id": 3, "name": "dog"}, "category id 3 stands for 'cat' and for 'dog'"),
        ({"id": None, "name": "x"}, "category 3 of 3: no id"),
        ({"name": "x"}, "no id"),
        ({"id": 9}, "no name"),
        ({"id": 9, "name": " "}, "no name"),
        ({"id": True, "name": "x"}, "id=True is not a whole number"),
        ({"id": "x", "name": "x"}, "id='x' is not a whole number"),
        ({"id": 10**30, "name": "x"}, "more than 64 bits"),
        (7, "7 is no object of json"),
    ):
        with pytest.raises(DataError, match=said):
            rows_of(tmp_path, change(content, ("categories",), [*content["categories"], entry]))
    content["categories"].append({"id": 9, "name": "cat"})
    (tmp_path / INSTANCES).write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        dataset = InstancesDataset(tmp_path)
    assert dataset.class_names == ("cat (id 3)", "dog", "cat (id 9)")
    assert "2 categories have the same name 'cat'" in caplog.text


@pytest.mark.parametrize("number", [10_001, 22_672, 1_000_007, 2**40, -1])
def test_raw_ids_that_make_no_network_point_to_contiguous(tmp_path: Path, number: int) -> None:
    content = make(tmp_path)
    content["categories"][0]["id"] = content["annotations"][0]["category_id"] = number
    (tmp_path / INSTANCES).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=rf"the id {number} would make .*data\.category_ids=contiguous"):
        CocoDataset(tmp_path)
    assert CocoDataset(tmp_path, category_ids="contiguous").class_names in (("dog", "cat"), ("cat", "dog"))


def test_images_listed_twice_and_one_id_for_two(tmp_path: Path) -> None:
    content = make(tmp_path)
    twice = change(content, ("images",), [*content["images"], content["images"][0]])
    rows = rows_of(tmp_path, twice)
    assert [len(row["boxes"]) for row in rows] == [1, 1]
    assert rows[0]["twice"] == ["image 10 000001.jpg"]
    torn = change(content, ("images", 1, "id"), 10)
    torn["images"].append({"id": 30, "file_name": "000002.jpg"})
    (row,) = rows_of(tmp_path, torn)
    assert (row["image_id"], row["bad_images"]) == (30, ["image 10 (one id for 000001.jpg and 000002.jpg)"])
    assert len(row["strays"]) == 2
    with pytest.raises(DataError, match="none of the 2 entries of 'images' can be used; image 10"):
        rows_of(tmp_path, change(content, ("images", 1, "id"), 10))


def test_one_file_under_two_ids_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = change(make(tmp_path), ("images", 1), {"id": 20, "file_name": "000001.jpg"})
    for kind in ("boxes", "masks"):
        assert [row["shared"] for row in rows_of(tmp_path, content, kind)] == [["000001.jpg (10, 20)"], []]
    with caplog.at_level(logging.WARNING):
        assert len(CocoDataset(tmp_path, reading=Reading(on_bad_sample="error"))) == 2
    assert (
        "files that stand under several ids, each taken as an image of its own: 1 (000001.jpg (10, 20))" in caplog.text
    )


def test_annotations_listed_twice_are_taken_once(tmp_path: Path) -> None:
    content = make(tmp_path)
    again = change(content, ("annotations",), [*content["annotations"], content["annotations"][0]])
    row = rows_of(tmp_path, again)[0]
    assert (len(row["boxes"]), row["twice"]) == (1, ["annotation 1 of 000001.jpg"])
    other = {**content["annotations"][0], "bbox": [1, 1, 9, 9]}  # the same id for two objects: both are kept
    assert len(rows_of(tmp_path, change(content, ("annotations",), [*content["annotations"], other]))[0]["boxes"]) == 2


@pytest.mark.parametrize(
    ("url", "folder"),
    [("http://images.cocodataset.org/train2017/000001.jpg", ""), ("https://x/other/000001.jpg?size=2", "other/")],
)
def test_a_url_alone_names_the_file(tmp_path: Path, url: str, folder: str) -> None:
    content = make(tmp_path)
    if folder:  # LVIS: one json for images of two folders
        (tmp_path / "train2017" / folder).mkdir()
        (tmp_path / "train2017" / "000001.jpg").rename(tmp_path / "train2017" / folder / "000001.jpg")
    del content["images"][0]["file_name"]
    content["images"][0]["coco_url"] = url
    row = rows_of(tmp_path, content)[0]
    assert (row["file_name"], row["unreadable"]) == (f"{folder}000001.jpg", "")


def test_encodings_of_json(tmp_path: Path) -> None:
    content = change(make(tmp_path), ("categories", 0, "name"), "猫")
    text = json.dumps(content, ensure_ascii=False)
    plain = rows_of(tmp_path, text)
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        assert rows_of(tmp_path, text, encoding=encoding) == plain
    with pytest.raises(DataError, match="save the file as UTF-8"):
        rows_of(tmp_path, text.replace("猫", "中文"), encoding="gbk")
    assert rows_of(tmp_path, text.replace("猫", "\\u732b"), encoding="ascii") == plain


OTHERS = {
    "[]": "its top level is a list",
    '[{"image": "a.jpg", "annotations": []}]': "CreateML",
    '[{"image_id": 1, "category_id": 1, "bbox": [], "score": 1}]': "a file of results",
    '{"version": "5", "shapes": [], "imagePath": "a.jpg"}': "labelme",
    '{"_via_img_metadata": {}}': "a project of VIA",
    '{"a.jpg123": {"filename": "a.jpg", "regions": []}}': "an export of VIA",
    '{"images": {}, "annotations": [], "categories": []}': "'images' is no list",
    "null": "lacks images, annotations, categories",
    '"text"': "lacks images",
    "": "is not json",
    '{"images": [{"id": 1': "is not json",
    "[" * 100_000: "is not json",
    '{"images": 1' + "0" * 5000 + "}": "is not json",
    '{"a": "\\ud800"}': "is not json",
    '{"images": [], "annotations": [], "annotations": [], "categories": []}': "'annotations' twice at its top level",
    '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "x"}]}': "none of the 0 entries of 'images'",
}


@pytest.mark.parametrize("text", OTHERS)
def test_what_is_no_json_of_coco_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    make(tmp_path)
    with pytest.raises(DataError) as error:
        rows_of(tmp_path, text)
    assert OTHERS[text] in str(error.value)
    assert "\n" not in str(error.value)


def test_words_that_are_keys_elsewhere_are_no_matter(tmp_path: Path) -> None:
    content = make(tmp_path)
    content["info"] = {"images": 2, "images ": "categories", "x": "images"}
    content["categories"][0]["supercategory"] = "annotations"
    assert len(rows_of(tmp_path, content)) == 2


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for content, said in (
        (b"PK\3\4...", "is compressed"),
        (b"\x1f\x8b\x08", "is compressed"),
        (b"\xff\xfe\x00", "UTF-16"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            read_json(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_json(tmp_path)


@pytest.mark.parametrize("policy", ["error", "skip"])
@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("annotations", 0, "image_id"), 77, "annotations of images that 'images' lacks"),
        (("annotations", 0, "iscrowd"), 2, "annotations that cannot be used"),
        (("images", 1, "file_name"), 5, "entries of 'images' that cannot be used"),
        (("categories",), [{"id": 3, "name": "cat"}] * 2 + [{"id": 5, "name": "dog"}], "taken once"),
    ],
)
def test_the_policy_is_obeyed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, policy: Any, path: tuple[Any, ...], value: Any, said: str
) -> None:
    content = change(make(tmp_path / "d"), path, value)
    (tmp_path / "d" / INSTANCES).write_text(json.dumps(content))
    for kind in (CocoDataset, InstancesDataset):
        if policy == "error":
            with pytest.raises(DataError, match=r"on_bad_sample=skip"):
                kind(tmp_path / "d", reading=Reading(on_bad_sample=policy))
        else:
            with caplog.at_level(logging.WARNING):
                assert len(kind(tmp_path / "d", reading=Reading(on_bad_sample=policy))) >= 1
            assert said in caplog.text


def test_boxes_as_corners_and_as_shares_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = make(tmp_path)
    for box, said in (
        ([40, 30, 60, 45], "boxes that reach far beyond their image, clipped to it in training: 2 .*are they corners"),
        ([0.1, 0.2, 0.5, 0.5], "boxes that are smaller than a pixel: 2 .*are they shares of the image"),
    ):
        for entry in content["annotations"]:
            entry["bbox"] = box
        (tmp_path / INSTANCES).write_text(json.dumps(content))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            CocoDataset(tmp_path, reading=Reading(on_bad_sample="error"))
        assert len(caplog.messages) == 1
        assert re.search(said, caplog.text)


MASKS: dict[str, tuple[Any, Callable[[dict[str, Any]], bool]]] = {
    "texts": ([[str(value) for value in SQUARE]], lambda row: len(row["masks"]) == 1),
    "far": ([[*SQUARE[:-1], 1e308]], lambda row: "reach too far beyond the image" in row["bad_objects"][0]),
    "long": ([[0, 0, 60, 40] * 100_000], lambda row: "go around it too often" in row["bad_objects"][0]),
    "many": ([[0, 0, 60, 40, 0, 40]] * 40_000, lambda row: len(json.loads(row["masks"][0])) < 40_000),
    "odd": ([SQUARE[:-1]], lambda row: "three or more corners" in row["bad_objects"][0]),
    "flags": ([[True] * 6], lambda row: "three or more corners" in row["bad_objects"][0]),
    "huge": ({"size": [2**31, 2**31], "counts": "0"}, lambda row: "a code of [height, width]" in row["bad_objects"][0]),
    "size as texts": ({"size": ["48", 64.0], "counts": [0, "3072"]}, lambda row: len(row["masks"]) == 1),
    "sizes": ({"size": 48, "counts": [0, 3072]}, lambda row: "neither polygons nor" in row["bad_objects"][0]),
    "negative": ({"size": [48, 64], "counts": [-5, 3077]}, lambda row: "do not add up" in row["bad_objects"][0]),
    "letters": ({"size": [48, 64], "counts": "é"}, lambda row: "not a valid run-length code" in row["bad_objects"][0]),
    "nothing": (None, lambda row: "no segmentation" in row["bad_objects"][0]),
    "number": (7, lambda row: "neither polygons nor" in row["bad_objects"][0]),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks(tmp_path: Path, name: str) -> None:
    mask, right = MASKS[name]
    assert right(rows_of(tmp_path, change(make(tmp_path), ("annotations", 0, "segmentation"), mask), "masks")[0])


def test_polygons_as_shares_and_far_outside_are_told(tmp_path: Path) -> None:
    content = make(tmp_path)
    shares = [[value / 64 for value in SQUARE]]
    row = rows_of(tmp_path, change(content, ("annotations", 0, "segmentation"), shares), "masks")[0]
    assert (len(row["tiny"]), row["beyond"]) == (1, [])
    far = [[value * 3 for value in SQUARE]]
    row = rows_of(tmp_path, change(content, ("annotations", 0, "segmentation"), far), "masks")[0]
    assert (row["tiny"], row["beyond"]) == ([], ["[12.0, 18.0, 102.0, 108.0] (annotation 1)"])


def panoptic_rows(root: Path, edit: Callable[[dict[str, Any]], Any]) -> list[dict[str, Any]]:
    content = json.loads((make_panoptic(root) / PANOPTIC).read_text())
    edit(content)
    return rows_of(root, content, "panoptic")


def test_panoptic_segments(tmp_path: Path) -> None:
    def segments(*parts: Any) -> dict[str, Any]:
        return panoptic_rows(tmp_path, lambda content: content["annotations"][0].update(segments_info=list(parts)))[0]

    cat = {"id": 5, "category_id": 17, "iscrowd": 0}
    row = segments({"id": "5", "category_id": 17.0, "iscrowd": "0"}, {"id": 300, "category_id": "187"})
    assert (row["ids"], row["labels"], row["iscrowd"]) == ([5, 300], [0, 1], [False, False])
    row = segments(cat, cat)
    assert (row["ids"], row["twice"]) == ([5], ["segment 5 of 7.jpg"])
    assert segments(cat, {**cat, "category_id": 187})["bad_objects"] == ["segment 5 (listed twice, and not alike)"]
    row = segments({**cat, "id": 0}, {**cat, "id": 2**24}, {**cat, "iscrowd": 3}, None, {**cat, "category_id": None})
    assert (row["ids"], len(row["bad_objects"])) == ([], 5)
    assert segments({**cat, "category_id": 99})["unknown"] == ["99"]


def test_panoptic_annotations_and_categories(tmp_path: Path) -> None:
    def second(content: dict[str, Any], **changes: Any) -> None:
        content["annotations"].append({**content["annotations"][0], **changes})

    (row,) = panoptic_rows(tmp_path, second)
    assert (row["unreadable"], row["twice"]) == ("", ["annotation of 7.jpg"])
    (row,) = panoptic_rows(tmp_path, lambda content: second(content, file_name="8.png"))
    assert row["unreadable"] == "2 annotations that differ"
    (row,) = panoptic_rows(tmp_path, lambda content: second(content, image_id="nowhere"))
    assert row["strays"] == ["annotation no. 2 belongs to image 'nowhere'"]

    def another(content: dict[str, Any]) -> None:
        content["images"].append({"id": 8, "file_name": "8.jpg"})
        second(content, image_id=8, segments_info="x")

    (tmp_path / "train2017" / "8.jpg").write_bytes((tmp_path / "train2017" / "7.jpg").read_bytes())
    assert "segments_info='x' is not a list" in panoptic_rows(tmp_path, another)[1]["unreadable"]
    (row,) = panoptic_rows(tmp_path, lambda content: content["categories"].append(dict(content["categories"][0])))
    assert row["labels"] == [0, 0, 1]
    assert row["twice"] == ["category 187 'sky'"]
    with pytest.raises(DataError, match="with another 'isthing'"):
        panoptic_rows(tmp_path, lambda c: c["categories"].append({**c["categories"][0], "isthing": 1}))
    with pytest.raises(DataError, match="isthing='maybe' is not 0 or 1"):
        panoptic_rows(tmp_path, lambda c: c["categories"][0].update(isthing="maybe"))


def test_panoptic_dataset_of_texts(tmp_path: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["images"][0]["id"] = content["annotations"][0]["image_id"] = "frame_7"
        for part in content["annotations"][0]["segments_info"]:
            part.update(id=str(part["id"]), category_id=str(part["category_id"]), iscrowd=str(part["iscrowd"]))

    panoptic_rows(tmp_path, edit)
    dataset = PanopticDataset(tmp_path, reading=Reading(train=False, on_bad_sample="error"))
    truth = dataset[0, 0].truth
    assert truth is not None
    assert (truth.labels.tolist(), truth.iscrowd.tolist()) == ([0, 0, 1], [False, True, False])


def test_a_file_like_cocos_is_read_about_as_fast_as_json_parses_it(tmp_path: Path) -> None:
    """Twenty thousand annotations: the whole of COCO is measured by hand, and stands in docs/reliability.md."""
    content = make(tmp_path)
    content["annotations"] = [{**content["annotations"][number % 2], "id": number} for number in range(20_000)]
    path = tmp_path / INSTANCES
    path.write_text(json.dumps(content))

    def parse() -> None:
        json.loads(path.read_text())

    def read() -> None:
        found = read_file(path, tmp_path, BoxEntry)
        assert sum(len(image.items) for image in found.images) == 20_000

    times: dict[Callable[[], None], list[float]] = {parse: [], read: []}
    for _ in range(3):
        for work, spent in times.items():
            started = time.process_time()
            work()
            spent.append(time.process_time() - started)
    assert min(times[read]) < 10 * min(times[parse]) + 0.5
