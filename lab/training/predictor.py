"""What the predictors of all kinds of problem share; those of images share how files are found and told about."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lab.data.datamodule import DataModule
from lab.data.folders import as_utf8
from lab.data.images.files import find_images, unreadable
from lab.data.images.opening import read_image_header
from lab.errors import DataError
from lab.strategies import collectives
from lab.text import printable
from lab.training.task import Task

MakeTrainer = Callable[[list[pl.Callback]], pl.Trainer]
"""Returns a Trainer with these callbacks beside its own."""

MAX_STEM = 200  # bytes; a file's name has at most 255

Found = tuple[int, Any]
"""The number of an input (below 0: it cannot be read, see ``unreadable``) and what was found in it."""


class Predictor(ABC):
    """Reads ``input=``, lets the task look at it, and writes what it found.

    Args:
        source: ``input=``, a file or a folder.
        task: the trained task.
        data: how the inputs are prepared.
    """

    def __init__(self, source: str, task: Task, data: DataModule) -> None:
        self.source, self.task, self.data = source, task, data

    @abstractmethod
    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Look at all inputs and write what was found; every rank calls this.

        Args:
            make_trainer: whose ``predict`` is called.
            folder: of this prediction.
            rank: this process.
        """


class ImagePredictor(Predictor):
    """Base of what looks at an image file or a folder of them; one bad file does not stop the others.

    The task's ``predict_step`` returns the numbers (b,) of the images of a batch and a list of what was found in each.
    """

    def __init__(self, source: str, task: Task, data: DataModule) -> None:
        super().__init__(source, task, data)
        self.paths = find_images(source)

    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Collect what was found in all images, in their order, and write it on rank 0."""
        loader = self.data.input_dataloader(self.paths)
        batches = make_trainer([]).predict(self.task, dataloaders=loader) or []
        found: list[Found] = [
            pair for numbers, predictions in batches for pair in zip(numbers.tolist(), predictions, strict=True)
        ]
        found = sorted(collectives.collect(found), key=lambda pair: pair[0] if pair[0] >= 0 else unreadable(pair[0]))
        if rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            self.write(found, folder)

    def write(self, found: Sequence[Found], folder: Path) -> None:
        """Write a picture for each readable file, then the rest, and say where.

        Raises:
            DataError: no file can be read.
        """
        bad = [self.paths[unreadable(number)] for number, _ in found if number < 0]
        reasons = [read_image_header(path).problem or "its pixels do not decode" for path in bad]
        if len(bad) == len(self.paths):
            none, first = (": none of them", f"{bad[0].name}: ") if bad[1:] else ("", "")
            raise DataError(f"input={self.source}: cannot be read as an image{none} ({first}{reasons[0]})")
        for path, reason in zip(bad, reasons, strict=True):
            said = f"{printable(path)} cannot be read as an image and is left out: {printable(reason)}"
            print(f"warning: {said}", file=sys.stderr)
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        readable = [(number, prediction) for number, prediction in found if number >= 0]
        self.write_all(readable, folder, f", {len(bad)} files left out" if bad else "")

    @abstractmethod
    def write_all(self, found: Sequence[Found], folder: Path, left_out: str) -> None:
        """Write pictures into ``folder/pictures`` and results into ``folder``, and say where.

        Args:
            found: of the readable files.
            folder: of this prediction.
            left_out: what to add to the line that counts the images.
        """

    def picture_path(self, folder: Path, number: int) -> Path:
        """Return where the picture of a file goes; a long name is cut, since that of the picture is longer still."""
        stem = as_utf8(self.paths[number].stem).encode()[:MAX_STEM].decode(errors="ignore")
        return folder / "pictures" / f"{number:05d}-{stem}.png"

    def image_list(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Return COCO's list of images."""
        return [{"id": number, "file_name": as_utf8(str(self.paths[number]))} for number in numbers]
