"""How far what an engine computes from a file is from what the network itself computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.errors import ExportError

TOLERANCE = 1e-4
"""Of logits relative to the largest one, of boxes relative to the longer side of the images, of scores."""

BOXES = ("boxes", "scores", "labels")


@dataclass(frozen=True)
class OutputDifference:
    """How far one run is from another.

    Attributes:
        worst: the largest difference of each output, as ``TOLERANCE`` says; of labels the share that differs.
        moved: boxes that stand in another place of the list, because their scores are equal but for rounding.
    """

    worst: Mapping[str, float]
    moved: int = 0

    @property
    def largest(self) -> float:
        """The largest difference of all outputs."""
        return max(self.worst.values())

    def joined(self, other: OutputDifference) -> OutputDifference:
        """Return the larger differences of two."""
        worst = {name: max(value, other.worst[name]) for name, value in self.worst.items()}
        return OutputDifference(worst, self.moved + other.moved)


def compare(
    names: Sequence[str], found: Sequence[Tensor], wanted: Sequence[Tensor], side: int, tolerance: float = TOLERANCE
) -> OutputDifference:
    """Compare the outputs of an exported file with those of the network.

    Args:
        names: of the outputs; ``BOXES`` are compared as such, all others relative to the largest value.
        found: logits, or boxes, scores and labels, of the file.
        wanted: of the network.
        side: the longer side of the images in pixels.
        tolerance: where rows differ by more, boxes are compared as sets.

    Raises:
        ExportError: the outputs have other shapes, or are not finite where the network's are.
    """
    for one, other in zip(found, wanted, strict=True):
        if one.shape != other.shape:
            raise ExportError(
                f"the file gives a tensor {tuple(one.shape)} where the network gives {tuple(other.shape)}"
            )
        if not torch.equal(one.isfinite(), other.isfinite()):
            raise ExportError("the file gives numbers that are not finite where the network does not, or the reverse")
    if tuple(names) != BOXES:
        worst = {}
        for name, one, other in zip(names, found, wanted, strict=True):
            worst[name] = float((one - other).abs().max()) / max(1.0, float(other.abs().max()))
        return OutputDifference(worst)
    moved = 0
    worst = dict.fromkeys(BOXES, 0.0)
    for rows in zip(*found, *wanted, strict=True):
        one, other = _image(rows[:3], side), _image(rows[3:], side)
        apart = (one - other).abs()
        if len(apart) and float(apart.max()) > tolerance:
            place = torch.cdist(other, one, p=float("inf")).argmin(dim=1)
            back = torch.cdist(one, other, p=float("inf")).amin(dim=1)  # a box that the network has not
            apart = (one[place] - other).abs()
            apart[:, 0] = torch.maximum(apart[:, 0], back)
            moved += int((place != torch.arange(len(place))).sum())
        if len(apart):
            worst["boxes"] = max(worst["boxes"], float(apart[:, :4].max()))
            worst["scores"] = max(worst["scores"], float(apart[:, 4].max()))
            worst["labels"] = max(worst["labels"], float((apart[:, 5] > 0).double().mean()))
    return OutputDifference(worst, moved)


def _image(parts: Sequence[Tensor], side: int) -> Tensor:
    """Return (N, 6): boxes relative to the longer side of the image, scores, labels."""
    boxes, scores, labels = (part.double().nan_to_num() for part in parts)
    return torch.cat((boxes / side, scores[:, None], labels[:, None]), dim=1)
