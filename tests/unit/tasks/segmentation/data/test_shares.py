"""``data.val_share`` of panoptic COCO and of label maps: exact, balanced by class, said, and the same again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lab.errors import ConfigError, DataError
from lab.tasks.segmentation.data.coco_panoptic import PanopticDataModule
from lab.tasks.segmentation.data.folder import FolderDataModule
from tests.data_factory import make_image

COUNT = 40
RARE = {number for number in range(COUNT) if number % 4 == 1}
"""The images that show the second class; the first stands in all of them."""


def make_maps(root: Path, packed: bool) -> None:
    """Write images and maps of two ids: 1 in all of them, 2 in the ``RARE``."""
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for number in range(COUNT):
        ids = np.ones((12, 16), dtype=np.uint8)
        ids[:4] = 2 if number in RARE else 1
        pixels = np.stack([ids, 0 * ids, 0 * ids], axis=-1) if packed else ids
        make_image(12, 16, number).save(root / "images" / f"{number:02d}.jpg")
        Image.fromarray(pixels).save(root / "labels" / f"{number:02d}.png")


def make_panoptic_json(root: Path) -> None:
    """Write the json of these maps."""
    parts = [{"id": number, "category_id": number, "iscrowd": 0} for number in (1, 2)]
    content = {
        "images": [{"id": n, "file_name": f"{n:02d}.jpg", "height": 12, "width": 16} for n in range(COUNT)],
        "annotations": [
            {"image_id": n, "file_name": f"{n:02d}.png", "segments_info": parts[: 1 + (n in RARE)]}
            for n in range(COUNT)
        ],
        "categories": [{"id": 1, "name": "sky", "isthing": 0}, {"id": 2, "name": "cat", "isthing": 1}],
    }
    (root / "all.json").write_text(json.dumps(content))


@pytest.mark.parametrize("kind", [PanopticDataModule, FolderDataModule])
def test_a_share_is_held_out(tmp_path: Path, kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    panoptic = kind is PanopticDataModule
    make_maps(tmp_path, packed=panoptic)
    files, missing = {"images": "images", "labels": "labels"}, {"images": "none", "labels": "none"}
    options: dict[str, Any] = {"num_workers": 0, "image_size": 16}
    if panoptic:
        make_panoptic_json(tmp_path)
        files, missing = files | {"annotations": "all.json"}, missing | {"annotations": "none.json"}
    else:
        options |= {"class_names": ["sky", "cat"], "label_ids": [1, 2], "ignore_ids": []}

    def build(**more: Any) -> Any:
        return kind(str(tmp_path), files, missing, missing, **options, **more)

    data = build(val_share=0.2)
    ids = {split: set(data.dataset(split).image_ids) for split in ("train", "val", "test")}
    assert {split: len(found) for split, found in ids.items()} == {"train": 32, "val": 8, "test": 8}
    assert not ids["train"] & ids["val"]
    assert ids["val"] == ids["test"]
    assert len(RARE & ids["val"]) == 2
    assert caplog.text.count("data.val_share=0.2 held out by data.seed=0, balanced by class: 32 train, 8 val") == 1
    for split in ("train", "val"):
        index = next(i for i, number in enumerate(data.dataset(split).image_ids) if number in RARE)
        assert data.dataset(split)[0, index].labels.tolist() == [0, 1]
    again, other = build(val_share=0.2), build(val_share=0.2, seed=1)
    assert again.fingerprint() == data.fingerprint() != other.fingerprint()
    three = build(val_share=0.2, test_share=0.1)
    assert [len(three.dataset(split)) for split in ("train", "val", "test")] == [28, 8, 4]
    with pytest.raises(ConfigError, match=r"give data\.val_share too"):
        build(test_share=0.1)
    with pytest.raises(DataError, match="none"):
        build().dataset("val")


def test_maps_that_cannot_be_read_are_told_not_hidden(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_maps(tmp_path, packed=False)
    (tmp_path / "labels" / "03.png").write_bytes(b"no picture")
    files = {"images": "images", "labels": "labels"}
    data = FolderDataModule(
        str(tmp_path), files, files, num_workers=0, val_share=0.5, class_names=["none", "sky", "cat"]
    )
    assert len(data.dataset("train")) + len(data.dataset("val")) == COUNT - 1
    assert caplog.text.count("03.png") == 1
    assert "20 train, 20 val" in caplog.text
