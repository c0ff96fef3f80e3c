"""A batch of MixMatch, from stored images to what the network reads, against one image after the other.

The peer does what the loaders of the popular port (YU1ut/MixMatch-pytorch) do: images are kept as normalised floats;
each is padded by reflection, cropped, flipped and copied with NumPy, an unlabelled one twice, and torch's loader stacks
them. It makes lab's random choices, after drawing its own, so that the results can be compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lab.ops.images import normalize_images
from lab.tasks.classification.data.arrays import ArrayDataset, Arrays
from lab.tasks.classification.data.augmentation import MovesOptions
from lab.tasks.classification.data.collate import collate_classification
from lab.tasks.classification.data.transforms import EvalTransform
from lab.tasks.classification.data.unlabelled import PartlyLabelled
from lab.tasks.classification.semi.mixmatch import moved_parts

Size = tuple[int, int]
Made = tuple[Callable[[], Tensor], Callable[[], Tensor], float]
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
LABELS, VIEWS, SHIFT = 250, 2, 4


def mixmatch_batch(batch: int, size: Size, device: torch.device) -> Made:
    """``batch`` labelled images and two views of as many unlabelled ones, of ``size`` pixels."""
    images = np.random.default_rng(0).integers(0, 256, (4096, 3, *size), dtype=np.uint8)
    arrays = Arrays(images, np.arange(4096) % 10, "", "")
    moves = MovesOptions(shift=SHIFT, padding_mode="reflect")
    rows = np.arange(4096)
    parts = [
        ArrayDataset(arrays, part, tuple("0123456789"), EvalTransform(size), moves, 0)
        for part in (rows[:LABELS], rows[LABELS:])
    ]
    dataset = PartlyLabelled(*parts, VIEWS, moves, 0)
    keys = [(0, index) for index in range(0, 31 * batch, 31)]

    loader = iter(DataLoader(dataset, batch_sampler=Again(keys), collate_fn=collate_classification))

    def ours() -> Tensor:
        found = next(loader).to(device)
        return normalize_images(moved_parts(found, found.unlabelled).flatten(0, 1), mean=MEAN, std=STD)

    floats = ((images / 255 - 0.5) / 0.5).astype(np.float32)
    example = dataset.__getitems__(keys)
    assert example.unlabelled is not None
    labelled = OneByOne(floats, example.image_ids.tolist(), [example.moves])
    unlabelled = OneByOne(floats, [LABELS + index for _, index in keys], example.unlabelled.moves.unbind(1))
    loaders = [iter(DataLoader(part, batch_sampler=Again(list(range(batch))))) for part in (labelled, unlabelled)]

    def peer() -> Tensor:
        return torch.cat([view for each in loaders for view in next(each)[0]]).to(device)

    return ours, peer, float((ours() - peer()).abs().max())


class Again(Sampler):
    """The same batch without end: a training makes one iterator."""

    def __init__(self, keys: list[Any]) -> None:
        self.keys = keys

    def __iter__(self) -> Iterator[list[Any]]:
        return itertools.repeat(self.keys)


class OneByOne(Dataset):
    """Normalised images, each augmented when it is read, once for each list of choices; and its label."""

    def __init__(self, images: np.ndarray, rows: list[int], moves: Sequence[Tensor]) -> None:
        self.images, self.rows, self.choices = images, rows, [of_view.tolist() for of_view in moves]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        image = self.images[self.rows[index]]
        return [moved(image, *of_view[index]) for of_view in self.choices], self.rows[index] % 10


def moved(image: np.ndarray, mirrored: int, down: int, right: int, reflected: int) -> Tensor:
    """Return an image (3, h, w), padded by reflection, cropped and flipped."""
    np.random.randint(0, 2 * SHIFT + 1), np.random.randint(0, 2 * SHIFT + 1), np.random.rand()
    height, width = image.shape[1:]
    image = image[:, :, ::-1] if mirrored else image
    padded = np.pad(image, [(0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)], mode="reflect")
    top, left = SHIFT - down, SHIFT - right
    return torch.from_numpy(padded[:, top : top + height, left : left + width].copy())
