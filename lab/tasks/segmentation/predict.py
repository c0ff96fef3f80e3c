"""``stage=predict``: writes segmentations as pictures, as PNG files of labels, and in COCO's panoptic format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from lab.data.images.opening import read_image
from lab.report.canvas import save_picture
from lab.structures import Segments
from lab.system.json_stream import object_pieces
from lab.tasks.segmentation.pictures import draw_classes, segment_classes, with_legend
from lab.tasks.segmentation.task import SegmentationTask
from lab.training.predictor import ImagePredictor


class SegmentationPredictor(ImagePredictor):
    """Writes pictures, ``labels/`` and, if the network separates objects, ``panoptic/`` and ``panoptic.json``."""

    task: SegmentationTask

    def write_image(self, number: int, found: Any, part: Path) -> dict[str, Any]:
        """Write the picture and the maps; return COCO's panoptic annotation, if there are segments."""
        names, name = self.task.class_names, self.picture_name(number)
        (part / "labels").mkdir(exist_ok=True)
        save_labels(found.semantic, len(names), part / "labels" / name)
        classes, segments, record = found.semantic.long(), None, {}
        if found.panoptic is not None:
            (part / "panoptic").mkdir(exist_ok=True)
            record["annotation"] = save_panoptic(found.panoptic, number, part / "panoptic" / name)
            segments = found.panoptic.segments
            classes = segment_classes(segments, found.panoptic.labels)
        picture = draw_classes(read_image(self.paths[number]), classes, len(names), segments)
        present = [(names[label], label) for label in sorted(set(classes.unique().tolist()) - {-1})]
        save_picture(with_legend(picture, present), part / "pictures" / name)
        return record

    def write_results(self, records: Iterable[dict[str, Any]], out: Path, folder: Path, left_out: str) -> list[str]:
        """Write the names of images and categories, and COCO's panoptic annotations if there are segments."""
        names, things = self.task.class_names, set(self.task.spec.thing_labels)
        categories = [{"id": i, "name": name, "isthing": int(i in things)} for i, name in enumerate(names)]
        with (out / "images.json").open("w", encoding="utf-8") as file:
            file.writelines(object_pieces({"images": self.image_list(records), "categories": categories}, indent=1))
            file.write("\n")
        said = [
            f"{sum(1 for _ in records)} images{left_out}",
            f"written   {folder / 'labels'} (one channel, a class number for each pixel; images.json has the names)",
        ]
        if any("annotation" in record for record in records):
            annotations = (record["annotation"] for record in records if "annotation" in record)
            content = {"images": self.image_list(records), "categories": categories, "annotations": annotations}
            with (out / "panoptic.json").open("w", encoding="utf-8") as file:
                file.writelines(object_pieces(content))
                file.write("\n")
            said.append(f"written   {folder / 'panoptic.json'} (COCO's panoptic format, with the PNGs of panoptic/)")
        return [*said, f"pictures  {folder / 'pictures'}"]


def save_labels(classes: Tensor, num_classes: int, path: Path) -> None:
    """Write a map (h, w) of classes as a PNG with one channel, of 8 bits if the classes fit, otherwise of 16."""
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
