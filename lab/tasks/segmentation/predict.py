"""Segmentations as pictures, as PNG files of labels, and in COCO's panoptic format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from lab.data.images.opening import read_image
from lab.structures import Segments
from lab.system.files import write_text
from lab.tasks.segmentation.pictures import draw_classes, segment_classes, with_legend
from lab.tasks.segmentation.task import SegmentationTask
from lab.training.predictor import Found, ImagePredictor


class SegmentationPredictor(ImagePredictor):
    """Writes pictures, ``labels/`` and, of a network that tells segments apart, ``panoptic/`` and ``panoptic.json``."""

    task: SegmentationTask

    def write_all(self, found: Sequence[Found], folder: Path, left_out: str) -> None:
        """Write the files of each image."""
        names = self.task.class_names
        (folder / "labels").mkdir(exist_ok=True)
        annotations: list[dict[str, Any]] = []
        for number, result in found:
            stem = self.picture_path(folder, number).name
            save_labels(result.semantic, len(names), folder / "labels" / stem)
            classes, segments = result.semantic.long(), None
            if result.panoptic is not None:
                (folder / "panoptic").mkdir(exist_ok=True)
                annotations.append(save_panoptic(result.panoptic, number, folder / "panoptic" / stem))
                segments = result.panoptic.segments
                classes = segment_classes(segments, result.panoptic.labels)
            picture = draw_classes(read_image(self.paths[number]), classes, len(names), segments)
            present = [(names[label], label) for label in sorted(set(classes.unique().tolist()) - {-1})]
            with_legend(picture, present).save(self.picture_path(folder, number))
        things = set(self.task.spec.thing_labels)
        categories = [{"id": i, "name": name, "isthing": int(i in things)} for i, name in enumerate(names)]
        images = self.image_list([number for number, _ in found])
        content: dict[str, Any] = {"images": images, "categories": categories}
        write_text(folder / "images.json", json.dumps(content, indent=1) + "\n")
        print(f"{len(images)} images{left_out}")
        print(f"written   {folder / 'labels'} (one channel, a class number for each pixel; images.json has the names)")
        if annotations:
            write_text(folder / "panoptic.json", json.dumps({**content, "annotations": annotations}) + "\n")
            print(f"written   {folder / 'panoptic.json'} (COCO's panoptic format, with the PNGs of panoptic/)")
        print(f"pictures  {folder / 'pictures'}")


def save_labels(classes: Tensor, num_classes: int, path: Path) -> None:
    """Write a map (h, w) of classes as a PNG of one channel, of 8 bits where the classes fit, else of 16."""
    Image.fromarray(classes.numpy().astype(np.uint8 if num_classes <= 256 else np.uint16)).save(path)


def save_panoptic(found: Segments, image_id: int, path: Path) -> dict[str, Any]:
    """Write segments as COCO's panoptic PNG (id = R + 256 G + 65536 B, 0 for none) and return their annotation."""
    numbers = found.segments.numpy().astype(np.int64) + 1
    rgb = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(path)
    segments = []
    for number, label in enumerate(found.labels.tolist(), 1):
        rows, columns = np.nonzero(numbers == number)
        if not len(rows):
            continue
        left, top = int(columns.min()), int(rows.min())
        box = [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1]
        score = float(found.scores[number - 1])
        segments.append(
            {"id": number, "category_id": label, "area": len(rows), "bbox": box, "iscrowd": 0, "score": score}
        )
    return {"image_id": image_id, "file_name": path.name, "segments_info": segments}
