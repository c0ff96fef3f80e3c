"""What a file for another engine computes: images in, tensors out, normalisation and decoding inside.

Letters in shapes: B images, H and W pixels, K classes, N boxes of an image.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lab.export.description import ResizeRule
from lab.layers.folding import fold_norms

ColorStatistics = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of red, green and blue, from 0 to 1."""


@dataclass(frozen=True)
class Inputs:
    """What a network needs of its images, and what comes after its outputs.

    Attributes:
        statistics: mean and standard deviation that the images lose.
        resize: how images of any size become its own.
        size: (height, width) of the images of its evaluation.
        thresholds: what is applied after the outputs, by name.
    """

    statistics: ColorStatistics
    resize: ResizeRule
    size: tuple[int, int]
    thresholds: Mapping[str, float]


class KindOfExport(ABC):
    """How the networks of a kind of problem are exported; a kind names its own in its ``TaskSpec``.

    Attributes:
        outputs: the name of each output, and what its dimensions are.
    """

    outputs: ClassVar[Mapping[str, str]]

    @abstractmethod
    def tensors(self, net: nn.Module, given: Tensor, images: Tensor) -> tuple[Tensor, ...]:
        """Run a network and return its outputs, in the order of ``outputs``.

        Args:
            net: the network.
            given: (B, 3, H, W) what it takes: the images without its statistics.
            images: (B, 3, H, W) from 0 to 1, for their size.
        """

    @abstractmethod
    def inputs(self, net: nn.Module, task: Any = None) -> Inputs:
        """Return what a network needs of its images.

        Args:
            net: the network.
            task: the task that has it; None for a network alone, of which only its own attributes are known.
        """


class ExportNetwork(nn.Module):
    """A network as engines run it: one tensor in, a tuple of tensors out. Made by ``export_network``.

    Args:
        net: the network.
        kind: of its kind of problem.
        statistics: what its images lose.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, kind: KindOfExport, statistics: ColorStatistics) -> None:
        super().__init__()
        self.net, self.kind = net, kind
        mean, std = (torch.tensor(tuple(values), dtype=torch.float32).view(3, 1, 1) for values in statistics)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.changes_colours = bool(mean.any()) or bool((std != 1).any())

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of what ``forward`` returns, in its order."""
        return tuple(self.kind.outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the network on images (B, 3, H, W) float32, RGB from 0 to 1; return the outputs of its kind."""
        given = (images - self.mean) / self.std if self.changes_colours else images
        return self.kind.tensors(self.net, given, images)


def export_network(
    net: nn.Module, kind: KindOfExport, statistics: ColorStatistics, size: tuple[int, int]
) -> ExportNetwork:
    """Return a copy of a network to export: in evaluation mode, its constant batch norms folded into its layers.

    Args:
        net: a network.
        kind: of its kind of problem.
        statistics: what its images lose.
        size: (height, width) of images that it can be called with.
    """
    copied = copy.deepcopy(net).to("cpu", torch.float32).eval().requires_grad_(False)
    example = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    fold_norms(copied, (example,))
    return ExportNetwork(copied, kind, statistics).eval()
