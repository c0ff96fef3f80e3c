"""``stage=predict``: writes the best next items for each session of a file, as CSV and Parquet, with the file's ids.

Lists are written batch by batch, so that memory does not grow with the file: each rank writes a part beside the result,
and rank 0 puts the batches of all parts into the order of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from torch import Tensor

from lab.errors import DataError
from lab.tasks.recommendation.task import RecommendationTask
from lab.training.parquet_rows import row_groups_in_turn
from lab.training.parts import parts_in
from lab.training.predictor import MakeTrainer, Predictor

_LISTS = "lists"
"""The file of a rank: Parquet with a row group for each batch. It has no suffix, since it is not a result."""


class RecommendationPredictor(Predictor):
    """Writes ``recommendations.csv`` and ``recommendations.parquet``: session, rank from 1, item, score.

    The data's ``build_inputs`` returns a dataset of sequences with ``sequence_names``, the id of each in the file, and
    ``left_out``: the number of unusable rows for each reason.
    """

    task: RecommendationTask

    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Write the lists.

        Raises:
            DataError: no sequence has an item from the training data.
        """
        import pyarrow.parquet

        dataset: Any = self.data.build_inputs([Path(self.source)])
        left_out = ", ".join(f"{count} {what}" for what, count in dataset.left_out.items() if count)
        if not len(dataset):
            raise DataError(f"input={self.source}: no sequence has an item that the training knew ({left_out})")
        with parts_in(folder, rank) as parts:
            with pyarrow.parquet.ParquetWriter(parts.own / _LISTS, _schema()) as writer:
                part = _Part(writer, dataset.sequence_names, self.task.spec.item_names)
                loader = self.data.dataset_dataloader(dataset)
                make_trainer([part]).predict(self.task, dataloaders=loader, return_predictions=False)
            folders = parts.collect()
            if rank == 0:
                count = _merge([path / _LISTS for path in folders], parts.merged)
                parts.publish([parts.merged])
                print(
                    f"{len(dataset)} sequences, {count} recommendations{f'; left out: {left_out}' if left_out else ''}"
                )
                for what, number in getattr(dataset, "noted", {}).items():
                    print(f"noted     {number} rows {what}")
                print(f"written   {folder / 'recommendations.csv'} and .parquet (session, rank, item, score)")


class _Part(pl.Callback):
    """Writes the lists of a rank, a row group for each batch."""

    def __init__(self, writer: Any, sequence_names: Any, item_names: Any) -> None:
        self.writer, self.names = writer, sequence_names
        self.items = np.array(["", *item_names], dtype=object)

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Append the lists of a batch."""
        if len(outputs[0]):  # empty for a batch of padding, which comes last
            self.writer.write_table(self._table(*outputs))

    def _table(self, numbers: Tensor, items: Tensor, scores: Tensor) -> Any:
        import pyarrow

        found = (items > 0).cpu().numpy()
        rows, places = np.nonzero(found)
        names = np.array([self.names[number] for number in numbers.tolist()], dtype=object)
        columns = [names[rows], places + 1, self.items[items.cpu().numpy()[found]], scores.cpu().numpy()[found]]
        return pyarrow.table(columns, schema=_schema())


def _schema() -> Any:
    import pyarrow

    text = pyarrow.string()
    return pyarrow.schema([("session", text), ("rank", pyarrow.int32()), ("item", text), ("score", pyarrow.float32())])


def _merge(parts: list[Path], folder: Path) -> int:
    """Write the batches of all parts, alternating between parts, and return the number of rows."""
    import pyarrow.csv
    import pyarrow.parquet

    count = 0
    with (
        pyarrow.parquet.ParquetWriter(folder / "recommendations.parquet", _schema()) as whole,
        pyarrow.csv.CSVWriter(folder / "recommendations.csv", _schema()) as text,
    ):
        for table in row_groups_in_turn(parts):
            whole.write_table(table)
            text.write_table(table)
            count += len(table)
    return count
