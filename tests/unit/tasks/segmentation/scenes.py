"""Generated segmentations for the tests of their metrics: images of unlike sizes, void, crowds, absent classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lab.structures import NO_SEGMENT, SegmentationTruth, Segments

NAMES = ("cat", "dog", "sky", "grass", "nothing")
THINGS = (0, 1)


@dataclass
class Scene:
    """One image: maps (h, w) of segments, -1 for none, and what they are."""

    true: np.ndarray
    true_labels: np.ndarray
    iscrowd: np.ndarray
    found: np.ndarray
    found_labels: np.ndarray

    @property
    def found_classes(self) -> np.ndarray:
        """The predicted class of each pixel, class 3 where there is no segment."""
        return np.where(self.found < 0, 3, np.append(self.found_labels, 3)[self.found])


def scene(index: int) -> Scene:
    """Return a generated image: a grid of cells, some void or crowd, and a prediction that errs in many ways."""
    rng = np.random.RandomState(500 + index)
    height, width = rng.randint(24, 60, 2)
    rows, columns = np.mgrid[:height, :width]
    cells = rows * 3 // height * 3 + columns * 3 // width  # nine of them
    labels = rng.randint(0, 4, 9)
    stuff: dict[int, int] = {}
    true, true_labels = np.full((height, width), NO_SEGMENT), []
    for cell in range(9):
        if rng.uniform() < 0.15:
            continue  # void
        label = int(labels[cell])
        if label in THINGS or label not in stuff:
            true[cells == cell] = stuff[label] = len(true_labels)
            true_labels.append(label)
        else:
            true[cells == cell] = stuff[label]
    true_labels = np.array(true_labels, dtype=np.int64)
    iscrowd = np.zeros(len(true_labels), dtype=bool)
    for label in THINGS:  # at most one crowd of a class, as in COCO
        rows_of = np.flatnonzero(true_labels == label)
        if len(rows_of) and rng.uniform() < 0.4:
            iscrowd[rows_of[-1]] = True
    shift = rng.randint(-5, 6, 2)
    found = np.roll(true, shift, (0, 1))
    found[: rng.randint(1, 6)] = NO_SEGMENT
    found_labels = np.where(rng.uniform(size=len(true_labels)) < 0.8, true_labels, rng.randint(0, 4, len(true_labels)))
    for label in (2, 3):  # one segment for a class of stuff
        same = np.flatnonzero(found_labels == label)
        found[np.isin(found, same)] = same[0] if len(same) else 0
    extra = len(found_labels)
    found[-rng.randint(6, 12) :, : width // 2] = extra  # an object that is not there
    return Scene(true, true_labels, iscrowd, found, np.append(found_labels, rng.randint(0, 2)))


def truth_of(scenes: Sequence[Scene]) -> SegmentationTruth:
    """Return the truth of a batch."""
    return SegmentationTruth(
        torch.cat([torch.from_numpy(item.true).flatten().to(torch.int16) for item in scenes]),
        torch.cat([torch.from_numpy(item.true_labels) for item in scenes]),
        torch.cat([torch.from_numpy(item.iscrowd) for item in scenes]),
        tuple(len(item.true_labels) for item in scenes),
        tuple((item.true.shape[0], item.true.shape[1]) for item in scenes),
    )


def maps_of(scenes: Sequence[Scene]) -> list[torch.Tensor]:
    """Return the predicted classes of a batch."""
    return [torch.from_numpy(item.found_classes).to(torch.int16) for item in scenes]


def segments_of(scenes: Sequence[Scene]) -> list[Segments]:
    """Return the predicted segments of a batch."""
    return [
        Segments(
            torch.from_numpy(item.found).to(torch.int16),
            torch.from_numpy(item.found_labels),
            torch.ones(len(item.found_labels)),
        )
        for item in scenes
    ]
