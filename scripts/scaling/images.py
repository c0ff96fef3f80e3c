"""Folders of tiny images: what is read of them before the first step."""

from __future__ import annotations

import importlib
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image
from scaling.points import Study, Values, apart, seconds

from lab.data.folders import list_files
from lab.data.sampler import TrainBatches
from lab.errors import LabError
from lab.tasks.classification.data.folder import ImageFolderModule

CLASSES, SIDE = 10, 8
importlib.import_module("datasets")  # its import is no part of what grows


def write_folder(folder: Path, count: int) -> None:
    """Write ``count`` images for training and some for validation, equally many of each class."""
    contents = []
    for shade in range(64):
        buffer = BytesIO()
        Image.new("RGB", (SIDE, SIDE), (shade, 2 * shade, 255 - shade)).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    for split, total in (("train", count), ("val", 10 * CLASSES)):
        for label in range(CLASSES):
            (folder / split / f"{label}").mkdir(parents=True)
        for number in range(total):
            (folder / split / f"{number % CLASSES}" / f"{number:07}.png").write_bytes(contents[number % 64])


def start(folder: Path) -> None:
    """Do with the data what a training does before its first step."""
    data = ImageFolderModule(
        root=str(folder),
        train={"images": "train"},
        val={"images": "val"},
        test={"images": "val"},
        batch_size=64,
        image_size=SIDE,
    )
    data.fingerprint()
    data.first_batch()


def timed_start(folder: Path) -> Values:
    """Return the processor time of one start."""
    return {"s": seconds(lambda: start(folder), rounds=0)}


def measure(count: int, scratch: Path) -> Values:
    """Measure a folder of ``count`` images."""
    folder = scratch / f"images-{count}"
    write_folder(folder, count)
    found: Values = {"listing, s": seconds(lambda: list_files(folder))}
    for name in ("first start", "next start"):  # each in a process of its own: nothing is remembered but on disk
        values, problem = apart(partial(timed_start, folder))
        if problem:
            raise LabError(problem)
        found |= {f"{name}, s": values["s"], f"{name}, MiB": values["memory, MiB"]}
    batches = TrainBatches(count, 64, 0, 1)
    return found | {"order of an epoch, s": seconds(lambda: batches.epoch_order(0))}


STUDIES = [Study("folder of images (8 x 8 px)", "images", (1_000, 10_000, 100_000), (100, 300), measure)]
