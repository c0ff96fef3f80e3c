"""The classes of texts as a CSV file and as a Parquet file."""

from __future__ import annotations

import csv
from contextlib import closing
from pathlib import Path
from typing import Any

from lab.structures.text_classification import ClassifiedText
from lab.tasks.text_classification.data.module import TextClassificationModule, TextInputs
from lab.tasks.text_classification.task import TextClassificationTask
from lab.training.parquet_rows import ParquetRows, class_schema
from lab.training.parts import Records, RecordWriter, parts_in
from lab.training.predictor import EachPrediction, MakeTrainer, Predictor
from lab.training.text_features import write_features


class TextClassificationPredictor(Predictor):
    """Writes ``predictions.csv`` and ``.parquet``: a row for each text with its best classes, each with its score.

    With ``eval.features`` it writes features of tokens instead, see ``lab.training.text_features``.
    """

    task: TextClassificationTask

    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Predict all texts batch by batch; rank 0 puts the parts of all ranks together and prints where they are.

        Raises:
            DataError: the input cannot be read as texts.
        """
        if layers := self.task.eval_settings.get("features"):
            write_features(self, layers, self.column, make_trainer, folder, rank)
            return
        dataset = self.data.build_inputs([Path(self.source)])
        assert isinstance(dataset, TextInputs)
        loader = self.data.dataset_dataloader(dataset)
        with parts_in(folder, rank) as parts:
            with closing(RecordWriter(parts)) as records:
                each = EachPrediction(lambda number, found: records.write(number, record_of(found)))
                make_trainer([each]).predict(self.task, dataloaders=loader, return_predictions=False)
            folders = parts.collect()
            if rank == 0:
                said = self._write(Records(folders), dataset, parts.merged, folder)
                parts.publish([parts.merged])
                print("\n".join(said))

    @property
    def column(self) -> str:
        """The column of texts in tables."""
        assert isinstance(self.data, TextClassificationModule)
        return self.data.input_format().text_column

    def _write(self, records: Records, dataset: TextInputs, out: Path, folder: Path) -> list[str]:
        """Write the rows of all texts, and return the lines to print."""
        import pyarrow

        rows, text = dataset.rows, pyarrow.string()
        top_k = min(self.task.eval_settings["top_k"], self.task.spec.num_classes)
        first = {"text": text} if rows.seconds is None else {"text": text, "second": text}
        schema = class_schema(first, top_k)
        with (
            (out / "predictions.csv").open("w", newline="", encoding="utf-8") as file,
            ParquetRows(out / "predictions.parquet", schema) as table,
        ):
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(schema.names)
            for record in records:
                number = record["number"]
                row = [rows.texts[number], *([] if rows.seconds is None else [rows.seconds[number]])]
                row += [cell for pair in zip(record["names"], record["scores"], strict=True) for cell in pair]
                lines.writerow(row)
                table.add(row)
        left_out = ", ".join(f"{count} {what}" for what, count in rows.left_out.items() if count)
        return [
            f"{len(dataset)} texts{f'; left out: {left_out}' if left_out else ''}",
            f"written   {folder / 'predictions.csv'} and .parquet (text, then the {top_k} best classes and their "
            "probabilities)",
        ]


def record_of(found: ClassifiedText) -> dict[str, Any]:
    """Return a prediction as plain data."""
    return {"names": list(found.names), "scores": [round(score, 6) for score in found.scores.tolist()]}
