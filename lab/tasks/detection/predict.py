"""Detections as COCO results and as pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.data.images.opening import read_image
from lab.structures import DetectionPredictions
from lab.system.files import write_text
from lab.tasks.detection.pictures import SHOWN_ABOVE, draw_detections
from lab.tasks.detection.task import DetectionTask
from lab.training.predictor import Found, ImagePredictor


class DetectionPredictor(ImagePredictor):
    """Writes ``results.json`` in COCO's format, ``images.json`` and pictures."""

    task: DetectionTask

    def write_all(self, found: Sequence[Found], folder: Path, left_out: str) -> None:
        """Draw the boxes and write COCO's results."""
        results: list[dict[str, Any]] = []
        for number, predictions in found:
            image = read_image(self.paths[number])
            shown = (predictions.boxes[0], predictions.labels[0], predictions.scores[0])
            picture = draw_detections(image, *shown, self.task.class_names, SHOWN_ABOVE)
            picture.save(self.picture_path(folder, number))
            results += coco_results(predictions, number)
        write_text(folder / "results.json", json.dumps(results) + "\n")
        names = [{"id": number, "name": name} for number, name in enumerate(self.task.class_names)]
        images = self.image_list([number for number, _ in found])
        write_text(folder / "images.json", json.dumps({"images": images, "categories": names}, indent=1) + "\n")
        counted = f"{len(images)} images, {len(results)} detections"
        print(f"{counted} (pictures show scores above {SHOWN_ABOVE}){left_out}")
        print(f"written   {folder / 'results.json'} (COCO's format; images.json names the images and categories)")
        print(f"pictures  {folder / 'pictures'}")


def coco_results(predictions: DetectionPredictions, number: int) -> list[dict[str, Any]]:
    """Return what was found in one image as rows of COCO's results."""
    boxes = predictions.boxes[0].clone()
    boxes[:, 2:] -= boxes[:, :2]
    columns = (boxes.tolist(), predictions.scores[0].tolist(), predictions.labels[0].tolist())
    return [
        {"image_id": number, "category_id": label, "bbox": [round(value, 2) for value in box], "score": score}
        for box, score, label in zip(*columns, strict=True)
    ]
