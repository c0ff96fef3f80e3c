"""A task that finds known boxes in image files, without a network."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from PIL import Image
from torch import Tensor

from lab.data.datamodule import DataModule
from lab.data.images.files import ImageFiles
from lab.structures import DataSpec, DetectionPredictions

NAMES = ("cat", "d\u00f6g")


def found_in(number: int, count: int = 7) -> DetectionPredictions:
    """Return what is found in an image: boxes (1, count, 4), the same on any rank."""
    generator = torch.Generator().manual_seed(number)
    corners = torch.rand(1, count, 2, generator=generator) * 4
    boxes = torch.cat([corners, corners + 1 + torch.rand(1, count, 2, generator=generator)], 2)
    scores = torch.rand(1, count, generator=generator)
    return DetectionPredictions(boxes, scores, torch.arange(count)[None] % 3)


@dataclass
class Numbers:
    """A batch: the numbers (b,) of images."""

    image_ids: Tensor
    valid: Tensor | None = None


class Keys(ImageFiles):
    """Image files of which the numbers are all that is wanted."""

    def __getitem__(self, key: tuple[int, int]) -> int:
        return self.read(key[1])[1]


class Files(DataModule):
    """Plays a DataModule of image files."""

    task = "detection"

    @property
    def spec(self) -> DataSpec:
        """No network is made."""
        raise NotImplementedError

    def build(self, split: str) -> Any:
        """Nothing is trained."""
        raise NotImplementedError

    def build_inputs(self, paths: list[Path]) -> Any:
        """Return the files."""
        return Keys(paths)

    def collate(self, samples: Sequence[int]) -> Numbers:
        """Return a batch."""
        return Numbers(torch.tensor(samples))


class Finds(pl.LightningModule):
    """Finds what ``found_in`` says, and counts the predictions that are alive at once.

    Args:
        fail_at: the number of an image at which it fails.
        error: what it raises there; a full disk if left out.
    """

    class_names = NAMES

    def __init__(self, fail_at: int | None = None, error: BaseException | None = None) -> None:
        super().__init__()
        self.fail_at, self.error = fail_at, error or OSError(28, "No space left on device")
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.most = 0

    def predict_step(self, batch: Numbers, batch_idx: int) -> tuple[Tensor, list[DetectionPredictions]]:
        """Return numbers and predictions, without images that only fill up."""
        assert batch.valid is not None
        numbers = batch.image_ids[batch.valid]
        if self.fail_at in numbers.tolist():
            raise self.error
        predictions = [Held.of(found_in(int(number))) for number in numbers]
        self.alive.update(predictions)
        self.most = max(self.most, len(self.alive))
        return numbers, list(predictions)


class Held(DetectionPredictions):
    """Predictions that are counted while they are alive."""

    __hash__ = object.__hash__

    @classmethod
    def of(cls, found: DetectionPredictions) -> Held:
        """Return the same predictions."""
        return cls(found.boxes, found.scores, found.labels)


def make_photos(folder: Path, count: int, bad: Sequence[int] = ()) -> Path:
    """Write small images, some of which cannot be read."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:03d}.png"
        Image.new("RGB", (6, 5), (number % 256, 90, 90)).save(path)
        if number in bad:
            path.write_bytes(b"no image")
    return folder
