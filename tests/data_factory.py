"""Tiny datasets on disk for tests: COCO and Pascal-VOC directories with images whose content is computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]


def make_image(height: int, width: int, tone: int = 0) -> Image.Image:
    """Return an RGB image with gradients and a grid, different for each ``tone``."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x * y + 31 * tone) % 256], axis=-1)
    pixels[(x // 7 + y // 5 + tone) % 4 == 0] //= 2
    return Image.fromarray(pixels.astype(np.uint8))


def truncate(path: Path, share: float = 0.6) -> None:
    """Cut a file's end off: its header opens, its pixels do not decode."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def make_coco(
    root: Path,
    sizes: Sequence[tuple[int, int]] = ((48, 64), (64, 48), (40, 40)),
    annotations: Sequence[Mapping[str, object]] | None = None,
    categories: Mapping[int, str] | None = None,
    split: str = "train2017",
) -> Path:
    """Write ``annotations/instances_<split>.json`` and ``<split>/``; ids are 10, 20, ...; sizes are (height, width).

    By default image 10 has a cat (id 3), a dog (id 5) and a crowd of cats, image 20 a dog, image 30 nothing.
    """
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir(parents=True, exist_ok=True)
    images = []
    for number, (height, width) in enumerate(sizes, start=1):
        name = f"{number:06d}.jpg"
        make_image(height, width, number).save(root / split / name, quality=95)
        images.append({"id": 10 * number, "file_name": name, "height": height, "width": width})
    if annotations is None:
        annotations = [
            {"image_id": 10, "category_id": 3, "bbox": [4.5, 6, 20, 10], "area": 150.5, "iscrowd": 0},
            {"image_id": 10, "category_id": 5, "bbox": [30, 20, 40, 20], "area": 700.0, "iscrowd": 0},
            {"image_id": 10, "category_id": 3, "bbox": [0, 0, 64, 24], "area": 1000.0, "iscrowd": 1},
            {"image_id": 20, "category_id": 5, "bbox": [8, 16, 24, 32], "area": 600.0, "iscrowd": 0},
        ]
    content = {
        "images": images,
        "annotations": [{"id": number, **item} for number, item in enumerate(annotations, start=1)],
        "categories": [{"id": key, "name": name} for key, name in (categories or {3: "cat", 5: "dog"}).items()],
    }
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def make_voc(
    root: Path,
    objects: Mapping[str, Sequence[tuple[str, Box]]] | None = None,
    size: tuple[int, int] = (48, 64),
    split: str = "train",
    difficult: Sequence[str] = (),
) -> Path:
    """Write a VOC directory with one split; boxes are (xmin, ymin, xmax, ymax) as the XML states them.

    By default image ``a`` has a ship and a ball, ``b`` a ball, ``c`` nothing. Names in ``difficult`` are marked so.
    """
    if objects is None:
        objects = {"a": [("ship", (1, 1, 64, 24)), ("ball", (11, 21, 30, 40))], "b": [("ball", (5, 7, 9, 11))], "c": []}
    for folder in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    height, width = size
    for number, (stem, items) in enumerate(objects.items()):
        make_image(height, width, number).save(root / "JPEGImages" / f"{stem}.jpg", quality=95)
        parts = [f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"]
        for name, (xmin, ymin, xmax, ymax) in items:
            parts.append(
                f"<object><name>{name}</name><difficult>{int(name in difficult)}</difficult><bndbox><xmin>{xmin}</xmin>"
                f"<ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
            )
        (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{''.join(parts)}</annotation>")
    (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(objects) + "\n")
    return root


def make_label_map(height: int, width: int, ids: Sequence[int] = (0, 1, 2)) -> np.ndarray:
    """Return vertical stripes of equal width, one for each id, from the left, (h, w) int64."""
    return np.tile(np.asarray(ids)[np.arange(width) * len(ids) // width], (height, 1))


def make_segfolder(root: Path, split: str = "train", sizes: Sequence[tuple[int, int]] = ((24, 30), (30, 24))) -> Path:
    """Write ``images/<split>/a.jpg, b.jpg, ...`` and ``labels/<split>/*.png`` with ids 0, 1, 2 and 255 in stripes."""
    for folder in ("images", "labels"):
        (root / folder / split).mkdir(parents=True, exist_ok=True)
    for number, (height, width) in enumerate(sizes):
        stem = chr(ord("a") + number)
        make_image(height, width, number).save(root / "images" / split / f"{stem}.jpg", quality=95)
        label = make_label_map(height, width, (0, 1, 2, 255)).astype(np.uint8)
        Image.fromarray(label).save(root / "labels" / split / f"{stem}.png")
    return root


def make_panoptic(root: Path, split: str = "train2017") -> Path:
    """Write one image, 7, of 12 x 20: a cat (id 5), a crowd of cats (70000), sky (300), unlabelled, 5 columns each."""
    for folder in (split, f"annotations/panoptic_{split}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    make_image(12, 20).save(root / split / "7.jpg", quality=95)
    ids = make_label_map(12, 20, (5, 70000, 300, 0))
    packed = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(packed).save(root / "annotations" / f"panoptic_{split}" / "7.png")
    parts = [
        {"id": 5, "category_id": 17, "iscrowd": 0},
        {"id": 70000, "category_id": 17, "iscrowd": 1},
        {"id": 300, "category_id": 187, "iscrowd": 0},
    ]
    content = {
        "images": [{"id": 7, "file_name": "7.jpg", "height": 12, "width": 20}],
        "annotations": [{"image_id": 7, "file_name": "7.png", "segments_info": parts}],
        "categories": [{"id": 187, "name": "sky", "isthing": 0}, {"id": 17, "name": "cat", "isthing": 1}],
    }
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content))
    return root
