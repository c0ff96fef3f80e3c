"""What stage=predict leaves of segmentations: label PNGs, COCO's panoptic format, pictures; bad files are named."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lab.errors import DataError
from lab.structures import SegmentationSpec, Segments
from lab.tasks.segmentation.predict import SegmentationPredictor, save_labels, save_panoptic
from lab.tasks.segmentation.task import Segmented
from lab.training.parts import RecordWriter, parts_in

NAMES = ("cat", "dog", "sky")


@pytest.mark.parametrize(("num_classes", "dtype"), [(256, np.uint8), (257, np.uint16), (3000, np.uint16)])
def test_labels_come_back_as_they_are(tmp_path: Path, num_classes: int, dtype: Any) -> None:
    classes = torch.randint(0, num_classes, (7, 11), generator=torch.Generator().manual_seed(0)).to(torch.int16)
    classes[0, 0] = num_classes - 1
    save_labels(classes, num_classes, tmp_path / "a.png")
    read = Image.open(tmp_path / "a.png")
    assert read.mode == ("L" if dtype is np.uint8 else "I;16")
    assert np.asarray(read).astype(int).tolist() == classes.tolist()


def test_panoptic_png_and_annotation_give_the_segments_back(tmp_path: Path) -> None:
    """With more segments than one byte numbers; segment 3 has no pixel."""
    segments = torch.arange(20 * 30).view(20, 30).div(2, rounding_mode="floor").to(torch.int16)
    segments[segments == 3] = -1
    labels = torch.arange(300) % 3
    found = Segments(segments, labels, torch.linspace(0, 1, 300))
    annotation = save_panoptic(found, 7, tmp_path / "x.png")
    assert (annotation["image_id"], annotation["file_name"]) == (7, "x.png")
    ids = np.asarray(Image.open(tmp_path / "x.png")).astype(int) @ [1, 256, 65536]
    infos = {info["id"]: info for info in annotation["segments_info"]}
    assert set(np.unique(ids)) == {0, *infos}
    assert len(infos) == 299
    assert ids.max() > 256
    assert (ids - 1).tolist() == segments.tolist()
    for number, info in infos.items():
        rows, columns = np.nonzero(ids == number)
        assert info["area"] == len(rows)
        left, top, width, height = info["bbox"]
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
        assert info["category_id"] == labels[number - 1]
        assert info["score"] == pytest.approx(float(found.scores[number - 1]))
        assert info["iscrowd"] == 0


def predictor(source: Path) -> SegmentationPredictor:
    spec = SegmentationSpec(class_names=NAMES, input_shape=(3, 0, 0), thing_labels=(0, 1))
    task: Any = SimpleNamespace(class_names=NAMES, spec=spec)
    return SegmentationPredictor(str(source), task, SimpleNamespace())  # type: ignore[arg-type]


def write(looked: SegmentationPredictor, found: Sequence[tuple[int, Any]], out: Path) -> None:
    """Write what a task has found, by number, as one rank does."""
    with parts_in(out, 0) as parts:
        with closing(RecordWriter(parts)) as records:
            for number, one in found:
                looked.write(number, one, parts, records)
        looked.put_together(parts.collect(), parts)


def photos(folder: Path) -> Path:
    folder.mkdir()
    for name, size in (("a.png", (30, 20)), ("b.png", (12, 16))):
        Image.new("RGB", size, (90, 90, 90)).save(folder / name)
    (folder / "bad.jpg").write_bytes(b"no image")
    return folder


@pytest.mark.parametrize("panoptic", [False, True])
def test_files(tmp_path: Path, panoptic: bool, capsys: pytest.CaptureFixture[str]) -> None:
    looked = predictor(photos(tmp_path / "photos"))
    assert [path.name for path in looked.paths] == ["a.png", "b.png", "bad.jpg"]
    found: list[Any] = []
    for number, (height, width) in enumerate(((20, 30), (16, 12))):
        classes = torch.zeros(height, width, dtype=torch.int16)
        classes[:, width // 2 :] = 2
        segments = Segments(torch.where(classes == 2, -1, 0).to(torch.int16), torch.tensor([1]), torch.tensor([0.75]))
        found.append((number, Segmented(classes, segments if panoptic else None)))
    from lab.data.folders import unreadable

    out = tmp_path / "out"
    write(looked, [*found, (unreadable(2), None)], out)
    said = capsys.readouterr()
    (warning,) = said.err.splitlines()
    assert warning.startswith(
        f"warning: {tmp_path / 'photos' / 'bad.jpg'} cannot be read as an image and is left out: "
    )
    assert "not an image of a format that is read" in warning
    assert said.out.startswith("2 images, 1 files left out\n")
    for part in ("labels", "pictures", *(["panoptic"] if panoptic else [])):
        assert sorted(path.name for path in (out / part).iterdir()) == ["00000-a.png", "00001-b.png"]
    content = json.loads((out / "images.json").read_text())
    assert [image["id"] for image in content["images"]] == [0, 1]
    assert [(item["name"], item["isthing"]) for item in content["categories"]] == [("cat", 1), ("dog", 1), ("sky", 0)]
    assert np.unique(np.asarray(Image.open(out / "labels" / "00000-a.png"))).tolist() == [0, 2]
    assert (out / "panoptic.json").exists() == panoptic
    if panoptic:
        (info,) = json.loads((out / "panoptic.json").read_text())["annotations"][1]["segments_info"]
        expected = {"id": 1, "category_id": 1, "area": 96, "bbox": [0, 0, 6, 16], "iscrowd": 0, "score": 0.75}
        assert info == expected


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    from lab.data.folders import unreadable

    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be read as an image"):
        write(predictor(tmp_path), [(unreadable(0), None)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pictures_of_files_with_long_and_odd_names(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("é" * 125, "x" * 250, os.fsdecode(b"caf\xe9")):
        Image.new("RGB", (30, 20)).save(tmp_path / "photos" / f"{name}.png")
    looked = predictor(tmp_path / "photos")
    out = tmp_path / "out"
    write(looked, [(number, Segmented(torch.zeros(20, 30, dtype=torch.int16), None)) for number in range(3)], out)
    assert len(list((out / "pictures").iterdir())) == 3
    names = [Path(image["file_name"]).name for image in json.loads((out / "images.json").read_text())["images"]]
    assert "caf\\udce9.png" in names
