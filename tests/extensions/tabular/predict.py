"""``stage=predict``: reads a CSV file and writes a CSV file with a prediction for each row."""

from __future__ import annotations

import csv
from contextlib import closing
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lab.training.parts import Records, RecordWriter, parts_in
from lab.training.predictor import MakeTrainer, Predictor
from tabular.task import TabularTask


class TabularPredictor(Predictor):
    """Writes ``predictions.csv``: the index of each input row and its prediction."""

    task: TabularTask

    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Write predictions batch by batch; at the end rank 0 sorts them into the order of the input file."""
        loader = self.data.input_dataloader([Path(self.source)])
        with parts_in(folder, rank) as parts:
            with closing(RecordWriter(parts)) as records:
                make_trainer([_Writing(records)]).predict(self.task, dataloaders=loader, return_predictions=False)
            folders = parts.collect()
            if rank == 0:
                count = 0
                with (parts.merged / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
                    rows = csv.writer(file)
                    rows.writerow(["row", self.task.spec.target])
                    for record in Records(folders):
                        rows.writerow([record["number"], record["value"]])
                        count += 1
                parts.publish([parts.merged])
                print(f"{count} rows\nwritten   {folder / 'predictions.csv'} (row, {self.task.spec.target})")


class _Writing(pl.Callback):
    def __init__(self, records: RecordWriter) -> None:
        self.records = records

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write the predictions of a batch."""
        for number, value in zip(*(part.tolist() for part in outputs), strict=True):
            self.records.write(number, {"value": value})
