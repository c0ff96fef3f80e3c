"""XML of Pascal VOC as others write it: encodings, namespaces, fields that are missing or no numbers, entities."""

from __future__ import annotations

import logging
import os
import tracemalloc
from pathlib import Path

import pytest

from lab.data.images import annotations
from lab.data.images.dataset import Reading
from lab.errors import ConfigError, DataError
from lab.tasks.detection.data.voc import VocDataset
from lab.tasks.detection.data.voc_xml import VocFile, object_names, parse, read_voc
from tests.data_factory import make_voc

LABELS = {"cat": 0, "traffic light": 1}
BOX = "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
SIZE = "<size><width>64</width><height>48</height><depth>3</depth></size>"
HEAD = '<?xml version="1.0" encoding="{}"?>'


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")
    monkeypatch.setattr(annotations, "_reported", set())


def read(tmp_path: Path, text: str | bytes) -> VocFile:
    path = tmp_path / "Annotations" / "a.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_voc(path, LABELS)


def of_object(tmp_path: Path, inside: str) -> VocFile:
    return read(tmp_path, f"<annotation>{SIZE}<object>{inside}</object></annotation>")


def good(tmp_path: Path, inside: str = f"<name>cat</name>{BOX}") -> VocFile:
    found = of_object(tmp_path, inside)
    assert (found.unreadable, found.bad, len(found.objects)) == ("", [], 1)
    return found


@pytest.mark.parametrize(
    "inside",
    [
        f"<name>cat</name>{BOX}",
        f"<name>\n  cat\n</name>{BOX}",
        f"<name>cat</name><name>cat</name>{BOX}",
        f"<name>cat</name>{BOX.replace('11', '11.0').replace('40', ' 4e1 ')}",
        f"<name>cat</name><difficult>0</difficult>{BOX}",
        f"<name>cat</name><difficult/>{BOX}",
        f"<name>cat</name><difficult>Unspecified</difficult>{BOX}",
        f"<name>cat</name><difficult>false</difficult>{BOX}",
        f"<Name>cat</Name>{BOX.replace('bndbox', 'BndBox')}",
        f"<name>cat</name>{BOX}<part><name>head</name>{BOX.replace('11', '12')}</part>",
    ],
)
def test_what_means_one_thing_is_read(tmp_path: Path, inside: str) -> None:
    found = good(tmp_path, inside)
    assert found.objects == good(tmp_path).objects
    assert found.stated_size == (48, 64)
    assert (found.objects[0].box, found.objects[0].label, found.objects[0].iscrowd) == ((10, 20, 30, 40), 0, False)


@pytest.mark.parametrize("value", ["1", "1.0", "true", "Yes"])
def test_difficult(tmp_path: Path, value: str) -> None:
    assert good(tmp_path, f"<name>cat</name><difficult>{value}</difficult>{BOX}").objects[0].iscrowd


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (BOX, "no name"),
        (f"<name/>{BOX}", "no name"),
        (f"<name>cat</name><name>dog</name>{BOX}", "name is 'cat' and 'dog'"),
        ("<name>cat</name>", "no bndbox"),
        (f"<name>cat</name>{BOX}{BOX}", "2 bndbox"),
        ("<name>cat</name><bndbox/>", "no xmin"),
        (f"<name>cat</name>{BOX.replace('<xmin>11</xmin>', '')}", "no xmin"),
        (f"<name>cat</name>{BOX.replace('>11<', '>left<')}", "xmin='left' is not a number"),
        (f"<name>cat</name>{BOX.replace('>11<', '>nan<')}", "xmin='nan' is not a number"),
        (f"<name>cat</name>{BOX.replace('>11<', '>-inf<')}", "xmin='-inf' is not a number"),
        (f"<name>cat</name>{BOX.replace('>11<', '>1e999<')}", "xmin='1e999' is not a number"),
        (f"<name>cat</name>{BOX.replace('>11<', '>1,5<')}", "xmin='1,5' is not a number"),
        (f"<name>cat</name>{BOX.replace('>11<', '>1_1<')}", "xmin='1_1' is not a number"),
        (f"<name>cat</name>{BOX.replace('</xmin>', '</xmin><xmin>12</xmin>')}", "xmin is '11' and '12'"),
        (f"<name>cat</name><difficult>2</difficult>{BOX}", "difficult='2' is not 0 or 1"),
        (f"<name>cat</name><difficult>maybe</difficult>{BOX}", "difficult='maybe' is not 0 or 1"),
    ],
)
def test_what_means_nothing_is_counted(tmp_path: Path, inside: str, said: str) -> None:
    found = of_object(tmp_path, inside)
    assert found.objects == []
    assert found.bad == [f"object 1 ({said})"]


@pytest.mark.parametrize(
    ("size", "stated"),
    [
        ("", None),
        ("<size/>", None),
        ("<size><width>0</width><height>0</height></size>", None),
        ("<size><width>64.0</width><height>48</height></size>", (48, 64)),
        ("<size><width>inf</width><height>48</height></size>", (48, -1)),
        ("<size><width>wide</width><height>48</height></size>", (48, -1)),
        ("<size><width>1e300</width><height>-48</height></size>", (-1, -1)),
    ],
)
def test_sizes(tmp_path: Path, size: str, stated: tuple[int, int] | None) -> None:
    assert read(tmp_path, f"<annotation>{size}</annotation>").stated_size == stated


@pytest.mark.parametrize(
    "text",
    [
        f'<annotation xmlns="http://x/y">{SIZE}<object><name>cat</name>{BOX}</object></annotation>',
        f'<v:annotation xmlns:v="urn:v">{SIZE}' + f"<v:object><v:name>cat</v:name>{BOX}</v:object></v:annotation>",
        f"<Annotation>{SIZE}<objects><object><name>cat</name>{BOX}</object></objects></Annotation>",
        f'<!DOCTYPE annotation SYSTEM "voc.dtd"><annotation>{SIZE}<object><name>cat</name>{BOX}</object></annotation>',
    ],
)
def test_namespaces_and_places(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert (found.unreadable, found.bad) == ("", [])
    assert found.objects == good(tmp_path).objects


@pytest.mark.parametrize("encoding", ["gbk", "gb2312", "gb18030", "shift_jis", "euc-kr", "big5", "utf-16", "utf-8-sig"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    name = {"shift_jis": "信号", "euc-kr": "신호"}.get(encoding, "信號" if encoding == "big5" else "信号")
    text = (
        HEAD.format(encoding.removesuffix("-sig"))
        + f"<annotation><object><name>{name}</name>{BOX}</object></annotation>"
    )
    (item,) = read(tmp_path, text.encode(encoding)).objects
    assert item.category == name
    root, _ = parse(tmp_path / "Annotations" / "a.xml")
    assert root is not None
    assert object_names(root) == {name}


def test_encodings_that_are_none(tmp_path: Path) -> None:
    plain = f"<annotation><object><name>cat</name>{BOX}</object></annotation>"
    for name in ("ansi", "unicode", "x", "base64", "rot13"):
        assert len(read(tmp_path, HEAD.format(name) + plain).objects) == 1
    damaged = read(tmp_path, (HEAD.format("utf-8") + plain.replace("cat", "猫狗")).encode("gbk"))
    assert "save the file as UTF-8" in damaged.unreadable


LAUGHS = (
    "<!DOCTYPE a [<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10)) + "]>"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{LAUGHS}<annotation><object><name>&a9;</name>{BOX}</object></annotation>", "declares entities"),
        (
            "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><annotation><a>&x;</a></annotation>",
            "declares entities",
        ),
        ("<!DOCTYPE a [<!ENTITY % x SYSTEM 'http://127.0.0.1/x'> %x;]><annotation/>", "declares entities"),
        ("<annotation>&unknown;</annotation>", "is missing or not XML"),
        ("<annotation>", "is missing or not XML"),
        ("", "is missing or not XML"),
        ("<annotations><image><box/></image></annotations>", "holds <annotations>, where Pascal VOC has <annotation>"),
        ("<html/>", "holds <html>"),
    ],
)
def test_files_of_which_nothing_can_be_made(tmp_path: Path, text: str, said: str) -> None:
    tracemalloc.start()
    found = read(tmp_path, text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert said in found.unreadable
    assert peak < 4e6


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.xml")
    assert "is no regular file" in read_voc(tmp_path / "a.xml", LABELS).unreadable


def test_deep_and_wide_trees(tmp_path: Path) -> None:
    assert read(tmp_path, "<annotation>" + "<a>" * 100_000 + "</a>" * 100_000 + "</annotation>").objects == []
    wide = read(tmp_path, f"<annotation>{f'<object><name>cat</name>{BOX}</object>' * 5000}</annotation>")
    assert len(wide.objects) == 5000


def test_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert good(tmp_path, f"<name>traffic\n light</name>{BOX}").objects[0].label == 1
    root = make_voc(tmp_path / "d", {"a": [("Cat", (1, 1, 9, 9)), ("dog", (1, 1, 9, 9))]})
    for names in (["cat", "cat"], ["cat", " cat"], ["cat", ""]):
        with pytest.raises(ConfigError, match=r"data\.class_names has .*give every class a name of its own"):
            VocDataset(root, class_names=names)
    with caplog.at_level(logging.WARNING):
        VocDataset(root, class_names=["dog"])
    assert "unknown categories, left out: 1 (Cat)" in caplog.text


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_the_policy_is_obeyed(tmp_path: Path, caplog: pytest.LogCaptureFixture, policy: str) -> None:
    boxes = {name: [("ball", (5, 5, 9, 9))] for name in "abc"}
    root = make_voc(tmp_path, boxes)
    for name, old, new in (("a", "<xmin>5", "<xmin>five"), ("b", "<width>64", "<width>inf")):
        path = root / "Annotations" / f"{name}.xml"
        path.write_text(path.read_text().replace(old, new))
    (root / "Annotations" / "c.xml").write_text(f"{LAUGHS}<annotation>&a9;</annotation>")
    if policy == "error":
        with pytest.raises(DataError, match=r"unreadable images: 1 \(c\.jpg \(Annotations/c\.xml declares entities"):
            VocDataset(root, reading=Reading(on_bad_sample="error"))
        return
    with caplog.at_level(logging.WARNING):
        dataset = VocDataset(root, reading=Reading(train=False))
    assert len(dataset) == 2
    assert "annotations that cannot be used, left out: 1 (a.jpg object 1 (xmin='five' is not a number))" in caplog.text
    assert "images of another size than their annotation states" in caplog.text


def test_shares_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_voc(tmp_path, {"a": [("ball", (0.1, 0.2, 0.5, 0.6))]})
    with caplog.at_level(logging.WARNING):
        VocDataset(root)
    assert "boxes that are smaller than a pixel: 1" in caplog.text
    assert "are they shares of the image" in caplog.text
