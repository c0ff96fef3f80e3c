"""The classes of images as a CSV file and as pictures."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from lab.data.folders import as_utf8
from lab.data.images.opening import read_image
from lab.report.canvas import INK, contact_sheet
from lab.structures.classification import Classified
from lab.tasks.classification.explain import as_levels, with_heat
from lab.tasks.classification.pictures import captioned
from lab.tasks.classification.task import ClassificationTask
from lab.training.predictor import ImagePredictor

MOST_ON_SHEET = 64
"""Images of the contact sheet: the first ones."""


class ClassificationPredictor(ImagePredictor):
    """Writes ``predictions.csv``, a picture of each image and ``contact_sheet.png`` of the first of them."""

    task: ClassificationTask

    def write_image(self, number: int, found: Classified, part: Path) -> dict[str, Any]:
        """Write the picture of an image and return its classes."""
        scores = [round(score, 6) for score in found.scores.tolist()]
        record = {"number": number, "names": list(found.names), "scores": scores, "heat": as_levels(found.heat)}
        self._picture(record).save(part / "pictures" / self.picture_name(number))
        return record

    def _picture(self, record: dict[str, Any]) -> Any:
        best = islice(zip(record["names"], record["scores"], strict=True), 2)
        spec, image = self.task.spec, read_image(self.paths[record["number"]])
        shown = with_heat(image, record["heat"], spec.input_shape[1:], spec.resize)
        lines = [(f"{name} {score:.2f}", INK) for name, score in best]
        return captioned(shown, lines, across=1 if record["heat"] is None else 2)

    def write_results(self, records: Iterable[dict[str, Any]], out: Path, folder: Path, left_out: str) -> list[str]:
        """Write a row for each image, and the contact sheet."""
        count, top_k = 0, min(self.task.eval_settings["top_k"], len(self.task.class_names))
        with (out / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            places = range(1, top_k + 1)
            rows.writerow(["file", *(part for place in places for part in (f"class_{place}", f"score_{place}"))])
            for record in records:
                best = zip(record["names"], record["scores"], strict=True)
                rows.writerow([as_utf8(str(self.paths[record["number"]])), *(part for one in best for part in one)])
                count += 1
        shown = [self._picture(record) for record in islice(records, MOST_ON_SHEET)]
        contact_sheet(shown).save(out / "contact_sheet.png")
        first = f" of the first {len(shown)}" if count > len(shown) else ""
        return [
            f"{count} images{left_out}",
            f"written   {folder / 'predictions.csv'} (file, then the {top_k} best classes and their probabilities)",
            f"pictures  {folder / 'contact_sheet.png'}{first}, {folder / 'pictures'}",
        ]
