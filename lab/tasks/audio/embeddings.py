"""Embeddings of sound files, as a Parquet file or as a TFRecord file of the form of AudioSet.

``stage=predict`` with ``eval.embeddings``. Every example of each file (0.96 s apart, as VGGish has them) is embedded;
with ``eval.pca`` embeddings become whitened codes of eight bits (``lab.tasks.audio.codes``).
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
from torch import Tensor

from lab.data.folders import as_utf8, unreadable
from lab.data.tf_records import RecordFileWriter, sequence_example
from lab.structures.audio import AudioBatch
from lab.tasks.audio.codes import EmbeddingCodes, read_pca
from lab.tasks.audio.data.inputs import AudioInputs
from lab.tasks.audio.data.module import AudioModule
from lab.tasks.audio.task import AudioTask
from lab.training.parquet_rows import ParquetRows
from lab.training.parts import Parts, Records, RecordWriter, parts_in
from lab.training.predictor import EachPrediction, MakeTrainer

FEATURE, NAME = "audio_embedding", "video_id"
"""Names of a SequenceExample of AudioSet: its list of codes, and the file in its context."""


class EmbeddedFile(NamedTuple):
    """A sound file and its embeddings.

    Attributes:
        number: of the file.
        values: (N, D) float32, or uint8 codes.
    """

    number: int
    values: np.ndarray[Any, Any]


class EmbeddingExtraction(pl.LightningModule):
    """Runs the front end and the network up to its embeddings, under any strategy.

    Args:
        task: the task.

    Raises:
        CheckpointError: the PCA cannot be read.
    """

    def __init__(self, task: AudioTask) -> None:
        super().__init__()
        self.net: Any = task.net
        settings = task.eval_settings
        self.codes: EmbeddingCodes | None = None
        if settings["pca"]:
            self.codes = EmbeddingCodes(*read_pca(settings["pca"]), settings["rounding"])

    def predict_step(self, batch: AudioBatch, batch_idx: int) -> tuple[Tensor, list[Tensor]]:
        """Return the numbers (b,) of chunks, and the embeddings (n, D) of the examples of each, on the host.

        Raises:
            CheckpointError: the PCA is of other embeddings.
        """
        mel = self.net.front_end(batch.waveforms, batch.lengths)
        found = self.net.embed(mel.examples[mel.present]).float()
        if self.codes is not None:
            found = self.codes(found)
        of_chunks = found.cpu().split(mel.present.sum(1).tolist())
        chosen = itertools.compress(of_chunks, batch.valid.tolist())
        return batch.sample_ids[batch.valid].cpu(), list(chosen)


def write_embeddings(
    form: str,
    task: AudioTask,
    data: AudioModule,
    dataset: AudioInputs,
    say: Callable[[AudioInputs], str],
    make_trainer: MakeTrainer,
    folder: Path,
    rank: int,
) -> None:
    """Embed all files chunk by chunk; rank 0 puts the parts of all ranks together and prints where they are.

    Args:
        form: ``parquet``: a row for each example; ``tfrecord``: a SequenceExample for each file.
        task: whose network embeds, and whose settings name the PCA.
        data: makes the batches.
        dataset: the chunks of all files.
        say: says which files are left out, and returns their number for the line that counts files.
        make_trainer: makes the Trainer.
        folder: where the result goes.
        rank: the rank of this process.

    Raises:
        CheckpointError: the PCA cannot be read.
    """
    module, loader = EmbeddingExtraction(task), data.dataset_dataloader(dataset)
    with parts_in(folder, rank) as parts:
        with closing(RecordWriter(parts)) as records:
            make_trainer([each_chunk(records, _record_of)]).predict(
                module, dataloaders=loader, return_predictions=False
            )
        folders = parts.collect()
        if rank == 0:
            files = embedded_files(Records(folders), dataset, module.codes is not None)
            if form == "parquet":
                said = _write_rows(files, dataset, data.example_hop_seconds, parts)
            else:
                said = _write_sequences(files, dataset, parts)
            parts.publish([parts.merged])
            print(f"{said[0]}{say(dataset)}\n{said[1]}")


def embedded_files(records: Records, dataset: AudioInputs, coded: bool) -> Iterator[EmbeddedFile]:
    """Yield the files in turn, one at a time in memory.

    A file of which no chunk can be decoded is noted among the problems of the dataset, one of which some can as odd.
    """
    for number, chunks in itertools.groupby(records, key=lambda record: dataset.chunks[record["number"]].file):
        found: list[np.ndarray[Any, Any]] = []
        lost = 0
        for record in chunks:
            if "unreadable" in record:
                lost += 1
            else:
                flat = np.frombuffer(base64.b64decode(record["values"]), np.uint8 if coded else np.float32)
                found.append(flat.reshape(record["examples"], -1))
        if not found:
            dataset.problems[number] = "it does not decode"
            continue
        if lost:
            dataset.notes[number] = f"it breaks off: {lost} of its parts do not decode"
        yield EmbeddedFile(number, np.concatenate(found))


def _write_rows(files: Iterator[EmbeddedFile], dataset: AudioInputs, hop: float, parts: Parts) -> list[str]:
    """Write a row for each example, and return the lines to print."""
    import pyarrow

    first = next(files, None)
    kind = pyarrow.uint8() if first is not None and first.values.dtype == np.uint8 else pyarrow.float32()
    columns = {"file": pyarrow.string(), "example": pyarrow.int32(), "seconds": pyarrow.float32()}
    schema = pyarrow.schema([*columns.items(), ("embedding", pyarrow.list_(kind))])
    count = rows = 0
    with ParquetRows(parts.merged / "embeddings.parquet", schema) as table:
        for file in itertools.chain([] if first is None else [first], files):
            name = as_utf8(str(dataset.paths[file.number]))
            for example, values in enumerate(file.values):
                table.add([name, example, example * hop, values])
            count, rows = count + 1, rows + len(file.values)
    written = f"written   {parts.folder / 'embeddings.parquet'} ({', '.join(schema.names)})"
    return [f"{count} files, {rows} examples", written]


def _write_sequences(files: Iterator[EmbeddedFile], dataset: AudioInputs, parts: Parts) -> list[str]:
    """Write a SequenceExample for each file, and return the lines to print."""
    count = rows = 0
    with RecordFileWriter(parts.merged / "embeddings.tfrecord") as records:
        for file in files:
            name = as_utf8(str(dataset.paths[file.number]))
            records.write(sequence_example({NAME: name}, {FEATURE: [row.tobytes() for row in file.values]}))
            count, rows = count + 1, rows + len(file.values)
    written = f"written   {parts.folder / 'embeddings.tfrecord'} (SequenceExamples: {NAME}, {FEATURE})"
    return [f"{count} files, {rows} examples", written]


def each_chunk(records: RecordWriter, record_of: Callable[[Any], dict[str, Any]]) -> EachPrediction:
    """Return the callback that writes a record for each chunk; a negative number is of one that cannot be read."""

    def write(number: int, found: Any) -> None:
        if number < 0:
            records.write(unreadable(number), {"unreadable": True})
        else:
            records.write(number, record_of(found))

    return EachPrediction(write)


def _record_of(values: Tensor) -> dict[str, Any]:
    """Return embeddings (N, D), or codes, as plain data."""
    return {"examples": len(values), "values": base64.b64encode(values.contiguous().numpy().tobytes()).decode()}
