"""The classes of images as a CSV file, as a Parquet file and as pictures."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from lab.data.folders import as_utf8
from lab.data.images.opening import read_image
from lab.report.canvas import INK, contact_sheet, save_picture
from lab.report.captions import captioned
from lab.structures.classification import Classified
from lab.tasks.classification.explain import as_levels, with_heat
from lab.tasks.classification.task import ClassificationTask
from lab.training.parquet_rows import ParquetRows, class_schema
from lab.training.predictor import ImagePredictor

MOST_ON_SHEET = 64
"""Images of the contact sheet: the first ones."""
SEPARATOR = "|"
"""Between several labels of an image, and their scores, in the CSV file."""


class ClassificationPredictor(ImagePredictor):
    """Writes ``predictions.csv`` and ``.parquet``, a picture of each image and a ``contact_sheet.png`` of the first.

    A row has the image's file and the best classes, each with its score; of several labels the list of those above
    ``eval.threshold``, and the list of their scores.
    """

    task: ClassificationTask

    def write_image(self, number: int, found: Classified, part: Path) -> dict[str, Any]:
        """Write the picture of an image and return its classes."""
        scores = [round(score, 6) for score in found.scores.tolist()]
        record = {"number": number, "names": list(found.names), "scores": scores, "heat": as_levels(found.heat)}
        save_picture(self._picture(record), part / "pictures" / self.picture_name(number))
        return record

    def _picture(self, record: dict[str, Any]) -> Any:
        best = islice(zip(record["names"], record["scores"], strict=True), 2)
        spec, image = self.task.spec, read_image(self.paths[record["number"]])
        shown = with_heat(image, record["heat"], spec.input_shape[1:], spec.resize)
        lines = [(f"{name} {score:.2f}", INK) for name, score in best]
        return captioned(shown, lines or [("-", INK)], across=1 if record["heat"] is None else 2)

    def write_results(self, records: Iterable[dict[str, Any]], out: Path, folder: Path, left_out: str) -> list[str]:
        """Write a row for each image, and the contact sheet."""
        import pyarrow

        several, top_k = self.task.spec.multilabel, min(self.task.eval_settings["top_k"], len(self.task.class_names))
        schema = class_schema({"file": pyarrow.string()}, top_k, lists=several)
        count = 0
        with (
            (out / "predictions.csv").open("w", newline="", encoding="utf-8") as file,
            ParquetRows(out / "predictions.parquet", schema) as table,
        ):
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(schema.names)
            for record in records:
                name, values = as_utf8(str(self.paths[record["number"]])), _values(record, several)
                rows.writerow([name, *(SEPARATOR.join(map(str, value)) if several else value for value in values)])
                table.add([name, *values])
                count += 1
        shown = [self._picture(record) for record in islice(records, MOST_ON_SHEET)]
        contact_sheet(shown).save(out / "contact_sheet.png")
        first = f" of the first {len(shown)}" if count > len(shown) else ""
        what = f"the labels above {self.task.threshold:g}" if several else f"the {top_k} best classes"
        return [
            f"{count} images{left_out}",
            f"written   {folder / 'predictions.csv'} and .parquet (file, then {what} and their probabilities)",
            f"pictures  {folder / 'contact_sheet.png'}{first}, {folder / 'pictures'}",
        ]


def _values(record: dict[str, Any], several: bool) -> list[Any]:
    """Return the cells of a row behind the file's name."""
    names, scores = record["names"], record["scores"]
    return [names, scores] if several else [cell for pair in zip(names, scores, strict=True) for cell in pair]
