"""An exported file in the place of a task's network, so that it is measured by the task's own metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.export.description import ExportDescription

EngineRunner = Callable[[Tensor], Sequence[Tensor]]
"""Runs an engine on images (B, 3, H, W) and returns the outputs of the network in the order."""
ColorStatistics = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of red, green and blue, from 0 to 1."""
EngineOutputs = tuple[tuple[Tensor, ...], tuple[float, float]]
"""What a file gives for one image, without the batch, and (height, width) of the image, unpadded, in its input."""


class EngineNetwork(nn.Module, ABC):
    """Runs a file on the images of a batch, one by one; a kind of problem says what its outputs become.

    Args:
        run: runs the file.
        statistics: what the task's images lose; the file wants them back.
        description: of the file.

    Attributes:
        image_statistics: those, which the task asks for.
    """

    def __init__(self, run: EngineRunner, statistics: ColorStatistics, description: ExportDescription) -> None:
        super().__init__()
        self.run, self.description, self.image_statistics = run, description, statistics
        self.mean, self.std = (torch.tensor(tuple(values)).view(3, 1, 1) for values in statistics)

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> Any:
        """Return what the task's network returns for normalised images (B, 3, H, W).

        Padding is cut off, except where the file wants its images padded to one size.
        """
        colours = (images.cpu() * self.std + self.mean).clamp(0, 1)
        found: list[EngineOutputs] = []
        for place, image in enumerate(colours):
            height, width = image.shape[-2:]
            if padding_mask is not None:
                seen = ~padding_mask[place].cpu()
                height, width = int(seen.any(dim=1).sum()), int(seen.any(dim=0).sum())
            if self.description.resize.how != "letterbox":
                image = image[:, :height, :width]
            given = self._sized(image[None])
            ratios = [given.shape[axis] / image.shape[axis] for axis in (-2, -1)]
            outputs = tuple(part[0] for part in self.run(given))
            found.append((outputs, (height * ratios[0], width * ratios[1])))
        return self.joined(found)

    @abstractmethod
    def joined(self, found: list[EngineOutputs]) -> Any:
        """Return the outputs of a batch as the task takes them."""

    def _sized(self, image: Tensor) -> Tensor:
        """Return an image in a size that the file takes."""
        wanted = [
            side if axis in self.description.dynamic else fixed
            for axis, side, fixed in zip(("height", "width"), image.shape[-2:], self.description.size, strict=True)
        ]
        if wanted != list(image.shape[-2:]):
            image = F.interpolate(image, size=wanted, mode="bilinear", antialias=True).clamp(0, 1)
        return image
