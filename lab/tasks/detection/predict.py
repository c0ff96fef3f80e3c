"""``stage=predict``: writes detections as COCO results and as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lab.data.images.opening import read_image
from lab.report.canvas import save_picture
from lab.structures import DetectionPredictions
from lab.system.json_stream import list_pieces, object_pieces
from lab.tasks.detection.pictures import SHOWN_ABOVE, draw_detections
from lab.tasks.detection.task import DetectionTask
from lab.training.predictor import ImagePredictor


class DetectionPredictor(ImagePredictor):
    """Writes ``results.json`` in COCO's format, ``images.json`` and pictures."""

    task: DetectionTask

    def write_image(self, number: int, found: DetectionPredictions, part: Path) -> dict[str, Any]:
        """Draw the boxes, and return COCO's results."""
        image = read_image(self.paths[number])
        shown = (found.boxes[0], found.labels[0], found.scores[0])
        picture = draw_detections(image, *shown, self.task.class_names, SHOWN_ABOVE)
        save_picture(picture, part / "pictures" / self.picture_name(number))
        return {"results": coco_results(found, number)}

    def write_results(self, records: Iterable[dict[str, Any]], out: Path, folder: Path, left_out: str) -> list[str]:
        """Write COCO's results, and the names of images and categories."""
        counts = {"images": 0, "detections": 0, "drawn": 0}

        def rows() -> Iterator[dict[str, Any]]:
            for record in records:
                counts["images"] += 1
                counts["detections"] += len(record["results"])
                counts["drawn"] += sum(row["score"] >= SHOWN_ABOVE for row in record["results"])
                yield from record["results"]

        with (out / "results.json").open("w", encoding="utf-8") as file:
            file.writelines(list_pieces(rows()))
            file.write("\n")
        names = [{"id": number, "name": name} for number, name in enumerate(self.task.class_names)]
        with (out / "images.json").open("w", encoding="utf-8") as file:
            file.writelines(object_pieces({"images": self.image_list(records), "categories": names}, indent=1))
            file.write("\n")
        counted = f"{counts['images']} images, {counts['detections']} detections"
        return [
            f"{counted}; pictures show the {counts['drawn']} with a score of {SHOWN_ABOVE} or more{left_out}",
            f"written   {folder / 'results.json'} (COCO's format; images.json names the images and categories)",
            f"pictures  {folder / 'pictures'}",
        ]


def coco_results(predictions: DetectionPredictions, number: int) -> list[dict[str, Any]]:
    """Return the detections of one image as rows of COCO's results."""
    boxes = predictions.boxes[0].clone()
    boxes[:, 2:] -= boxes[:, :2]
    columns = (boxes.tolist(), predictions.scores[0].tolist(), predictions.labels[0].tolist())
    return [
        {"image_id": number, "category_id": label, "bbox": [round(value, 2) for value in box], "score": score}
        for box, score, label in zip(*columns, strict=True)
        if score > 0  # others only fill up the batch
    ]
