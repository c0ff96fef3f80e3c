"""The classes of sound files as a CSV file and as a Parquet file."""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from lab.data.datamodule import DataModule
from lab.data.folders import as_utf8
from lab.errors import DataError
from lab.tasks.audio.data.inputs import AudioInputs, find_sounds
from lab.tasks.audio.data.module import AudioModule
from lab.tasks.audio.embeddings import each_chunk, write_embeddings
from lab.tasks.audio.task import AudioTask
from lab.text import printable
from lab.training.parquet_rows import ParquetRows, class_schema
from lab.training.parts import Records, RecordWriter, parts_in
from lab.training.predictor import MakeTrainer, Predictor
from lab.training.task import Task


class AudioPredictor(Predictor):
    """Writes ``predictions.csv`` and ``.parquet``: a row for each sound file with its best classes and their scores.

    Files are read in chunks, so they may be longer than the memory. One that cannot be read stops none of the others.
    With ``eval.embeddings`` it writes the embeddings of all examples instead.
    """

    task: AudioTask

    def __init__(
        self,
        source: str,
        task: Task,
        data: DataModule,
        groups: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        super().__init__(source, task, data, groups)
        self.paths, self.others = find_sounds(source)

    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Predict all files chunk by chunk; rank 0 puts the parts of all ranks together and prints where they are.

        Raises:
            DataError: no file can be read.
        """
        dataset = self.inputs()
        if (form := self.task.eval_settings["embeddings"]) != "none":
            assert isinstance(self.data, AudioModule)
            say = self.say_problems
            write_embeddings(form, self.task, self.data, dataset, say, make_trainer, folder, rank)
            return
        loader = self.data.dataset_dataloader(dataset)
        with parts_in(folder, rank) as parts:
            with closing(RecordWriter(parts)) as records:
                each = each_chunk(records, _record_of)
                make_trainer([each]).predict(self.task, dataloaders=loader, return_predictions=False)
            folders = parts.collect()
            if rank == 0:
                said = self._write(Records(folders), dataset, parts.merged, folder)
                parts.publish([parts.merged])
                print("\n".join(said))

    def inputs(self) -> AudioInputs:
        """Return the chunks of all files.

        Raises:
            DataError: no file can be read.
        """
        dataset = self.data.build_inputs(self.paths)
        assert isinstance(dataset, AudioInputs)
        if not len(dataset):
            number, reason = next(iter(dataset.problems.items()))
            more = f"none of its {len(self.paths)} files can be read" if len(self.paths) > 1 else "cannot be read"
            raise DataError(f"input={self.source}: {more} ({self.paths[number].name}: {reason})")
        return dataset

    def _write(self, records: Records, dataset: AudioInputs, out: Path, folder: Path) -> list[str]:
        """Write the rows of all files, and return the lines to print."""
        import pyarrow

        top_k = min(self.task.eval_settings["top_k"], self.task.spec.num_classes)
        schema = class_schema({"file": pyarrow.string(), "seconds": pyarrow.float32()}, top_k)
        count = 0
        with (
            (out / "predictions.csv").open("w", newline="", encoding="utf-8") as file,
            ParquetRows(out / "predictions.parquet", schema) as table,
        ):
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(schema.names)
            for number, seconds, logits in files_of(records, dataset):
                found = self.task.best(logits)
                row = [as_utf8(str(dataset.paths[number])), round(seconds, 3)]
                scores = [round(score, 6) for score in found.scores.tolist()]
                row += [cell for pair in zip(found.names, scores, strict=True) for cell in pair]
                lines.writerow(row)
                table.add(row)
                count += 1
        return [
            f"{count} files{self.say_problems(dataset)}",
            f"written   {folder / 'predictions.csv'} and .parquet (file, seconds, then the {top_k} best classes and "
            "their probabilities)",
        ]

    def say_problems(self, dataset: AudioInputs) -> str:
        """Say of each file that is left out, or odd, why; return their number for the line that counts files."""
        for number, reason in sorted((dataset.problems | dataset.notes).items()):
            fate = "cannot be read and is left out" if number in dataset.problems else "is odd"
            print(f"warning: {printable(dataset.paths[number])} {fate}: {printable(reason)}", file=sys.stderr)
        others = ", ".join(f"{count} {ending}" for ending, count in sorted(self.others.items()))
        bad = f", {len(dataset.problems)} left out" if dataset.problems else ""
        return bad + (f"; files that are no sounds by their ending: {others}" if others else "")


def files_of(records: Iterable[dict[str, Any]], dataset: AudioInputs) -> Iterator[tuple[int, float, Tensor]]:
    """Yield number, seconds and logits (K) of each file: the mean over the examples of its chunks.

    A file of which no chunk can be decoded is noted among the problems of the dataset, one of which some can as odd.
    """
    for number, chunks in itertools.groupby(records, key=lambda record: dataset.chunks[record["number"]].file):
        logits, examples, expected = torch.zeros(1, dtype=torch.float64), 0, 0
        for record in chunks:
            expected += dataset.examples_of(record["number"])
            if "unreadable" in record:
                continue
            logits = logits + record["examples"] * torch.tensor(record["logits"], dtype=torch.float64)
            examples += record["examples"]
        if not examples:
            dataset.problems[number] = "it does not decode"
            continue
        if examples < expected:
            dataset.notes[number] = f"it breaks off: {examples} of its {expected} examples can be decoded"
        yield number, dataset.seconds[number], (logits / examples).float()


def _record_of(found: tuple[int, Tensor]) -> dict[str, Any]:
    """Return the examples of a chunk and the mean of their logits as plain data."""
    examples, logits = found
    return {"examples": examples, "logits": logits.tolist()}
