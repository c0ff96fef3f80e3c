"""The base of the predictors of all kinds of problem (``stage=predict``), and the base of those that read image files.

Results are written batch by batch, so that memory does not grow with the number of inputs: each rank writes its part
beside the target (``lab.training.parts``), and rank 0 puts the parts together in the order of the inputs.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lightning.pytorch as pl

from lab.data.datamodule import DataModule
from lab.data.folders import as_utf8, unreadable
from lab.data.images.files import find_images
from lab.data.images.opening import read_image_header
from lab.errors import DataError
from lab.text import printable
from lab.training.parts import Parts, Records, RecordWriter, parts_in
from lab.training.task import Task

MakeTrainer = Callable[..., pl.Trainer]
"""Makes a Trainer with the given callbacks (a list) in addition to its own; with ``progress=False`` it shows no bar."""

MAX_STEM = 200  # bytes; a file's name has at most 255


class Predictor(ABC):
    """Reads ``input=``, runs the task on it, and writes the predictions.

    Args:
        source: ``input=``, a file or a folder.
        task: the trained task.
        data: prepares the inputs.
        groups: the groups of the config that only this kind of problem has (``TaskSettings.groups``), by name.
    """

    def __init__(
        self,
        source: str,
        task: Task,
        data: DataModule,
        groups: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        self.source, self.task, self.data, self.groups = source, task, data, groups

    @abstractmethod
    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Predict all inputs and write the results; every rank calls this.

        Args:
            make_trainer: makes the Trainer whose ``predict`` is called.
            folder: where the results go.
            rank: the rank of this process.
        """


class ImagePredictor(Predictor):
    """Base of predictors that read one image file or a folder of images. A bad file does not stop the others.

    The task's ``predict_step`` returns the indices (b,) of the images of a batch and a list of their predictions.
    """

    def __init__(
        self,
        source: str,
        task: Task,
        data: DataModule,
        groups: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        super().__init__(source, task, data, groups)
        self.paths = find_images(source)

    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Write the predictions batch by batch; at the end rank 0 puts them together and prints where they are.

        Raises:
            DataError: no file can be read.
        """
        loader = self.data.input_dataloader(self.paths)
        with parts_in(folder, rank) as parts:
            with closing(RecordWriter(parts)) as records:
                each = EachPrediction(lambda number, found: self.write(number, found, parts, records))
                make_trainer([each]).predict(self.task, dataloaders=loader, return_predictions=False)
            folders = parts.collect()
            if rank == 0:
                self.put_together(folders, parts)

    def write(self, number: int, found: Any, parts: Parts, records: RecordWriter) -> None:
        """Write the part of one image. A negative number stands for a file that cannot be read (``unreadable``)."""
        if number < 0:
            records.write(unreadable(number), {"unreadable": True})
        else:
            (parts.own / "pictures").mkdir(exist_ok=True)
            records.write(number, self.write_image(number, found, parts.own))

    def put_together(self, folders: list[Path], parts: Parts) -> None:
        """Merge the parts of all ranks, move all files to their final places, and print where they are.

        Raises:
            DataError: no file can be read.
        """
        records = Records(folders)
        bad = [self.paths[record["number"]] for record in records if "unreadable" in record]
        self._say_bad(bad)
        left_out = f", {len(bad)} files left out" if bad else ""
        said = self.write_results(_Readable(records), parts.merged, parts.folder, left_out)
        parts.publish([*folders, parts.merged])
        print("\n".join(said))

    def _say_bad(self, bad: list[Path]) -> None:
        reasons = [read_image_header(path).problem or "its pixels do not decode" for path in bad]
        if len(bad) == len(self.paths):
            none, first = (": none of them", f"{bad[0].name}: ") if bad[1:] else ("", "")
            raise DataError(f"input={self.source}: cannot be read as an image{none} ({first}{reasons[0]})")
        for path, reason in zip(bad, reasons, strict=True):
            said = f"{printable(path)} cannot be read as an image and is left out: {printable(reason)}"
            print(f"warning: {said}", file=sys.stderr)

    @abstractmethod
    def write_image(self, number: int, found: Any, part: Path) -> dict[str, Any]:
        """Write the files of an image into subfolders of this rank's part; ``part/pictures`` exists already.

        Args:
            number: the index of the image file.
            found: the task's prediction for it.
            part: the folder of this rank's part; its subfolders become those of the prediction.

        Returns:
            The record of the image for the results, as plain data.
        """

    @abstractmethod
    def write_results(self, records: Iterable[dict[str, Any]], out: Path, folder: Path, left_out: str) -> list[str]:
        """Write the results of all images; called on rank 0, with the records of the readable files in their order.

        Args:
            records: what ``write_image`` returned, with ``number``; each iteration reads them from disk, one at a time.
            out: the folder to write into.
            folder: the folder where the files will be in the end.
            left_out: text to add to the line that counts the images.

        Returns:
            The lines to print.
        """

    def picture_name(self, number: int) -> str:
        """Return the name of the picture of a file. Long file names are cut, since the picture's name is longer."""
        stem = as_utf8(self.paths[number].stem).encode()[:MAX_STEM].decode(errors="ignore")
        return f"{number:05d}-{stem}.png"

    def image_list(self, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield COCO's list of images."""
        for record in records:
            number = record["number"]
            yield {"id": number, "file_name": as_utf8(str(self.paths[number]))}


class EachPrediction(pl.Callback):
    """Hands on what ``predict_step`` has found for each sample of a batch: the numbers (b,) of the samples and a list.

    Args:
        write: gets the number of a sample and what was found for it.
    """

    def __init__(self, write: Callable[[int, Any], None]) -> None:
        self.write = write

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Hand on a batch."""
        numbers, found = outputs
        for number, one in zip(numbers.tolist(), found, strict=True):
            self.write(number, one)


class _Readable:
    """The records of the files that could be read; can be iterated over several times."""

    def __init__(self, records: Records) -> None:
        self.records = records

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (record for record in self.records if "unreadable" not in record)
