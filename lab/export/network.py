"""What a file for another engine computes: images in, tensors out, normalisation and decoding inside.

Letters in shapes: B images, H and W pixels, K classes, N boxes of an image.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lab.layers.folding import fold_norms
from lab.structures import DetectionPredictions
from lab.structures.detection import Suppressing

OUTPUTS = {"classification": ("logits",), "detection": ("boxes", "scores", "labels")}
"""The names of what a network of each kind of problem returns; other kinds are not exported."""
ColorStatistics = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of red, green and blue, from 0 to 1."""


class NamedOutputs(nn.Module):
    """A network that returns a tuple of tensors for a tensor of images."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of what ``forward`` returns, in its order."""
        raise NotImplementedError


class ExportNetwork(NamedOutputs):
    """A classifier or detector as engines run it: one tensor in, a tuple of tensors out. Made by ``export_network``.

    Args:
        net: the network.
        task: ``classification`` or ``detection``.
        statistics: what its images lose.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, task: str, statistics: ColorStatistics) -> None:
        super().__init__()
        self.net, self.task = net, task
        mean, std = (torch.tensor(tuple(values), dtype=torch.float32).view(3, 1, 1) for values in statistics)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.changes_colours = bool(mean.any()) or bool((std != 1).any())

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of what ``forward`` returns, in its order."""
        return OUTPUTS[self.task]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Args:
            images: (B, 3, H, W) float32, RGB from 0 to 1.

        Returns:
            Of a classifier the logits (B, K); of a detector boxes (B, N, 4) xyxy in pixels of the images, their scores
            (B, N) from 0 to 1 and labels (B, N) int64, before suppression where the network suppresses.
        """
        given = (images - self.mean) / self.std if self.changes_colours else images
        outputs = self.net(given)
        if self.task == "classification":
            return (outputs,)
        found = candidates(self.net, outputs, images)
        return found.boxes, found.scores, found.labels


def candidates(net: nn.Module, outputs: object, images: Tensor) -> DetectionPredictions:
    """Return what a detector finds in pixels of its input, before suppression where it suppresses."""
    if isinstance(net, Suppressing):
        return net.candidates(outputs)
    height, width = images.shape[-2:]
    sizes = torch.ones_like(images[:, 0, :2, 0]) * torch.stack((_number(height, images), _number(width, images)))
    found: DetectionPredictions = net.predict(outputs, sizes)  # type: ignore[operator]
    return found


def _number(value: int, like: Tensor) -> Tensor:
    """Return a size as a tensor (), of which the graph keeps what it was computed from."""
    return torch.full((), value, dtype=torch.float32, device=like.device)


def export_network(net: nn.Module, task: str, statistics: ColorStatistics, size: tuple[int, int]) -> ExportNetwork:
    """Return a copy of a network to export: in evaluation mode, its constant batch norms folded into its layers.

    Args:
        net: a classifier or a detector.
        task: its kind of problem, of those in ``OUTPUTS``.
        statistics: what its images lose.
        size: (height, width) of images that it can be called with.
    """
    copied = copy.deepcopy(net).to("cpu", torch.float32).eval().requires_grad_(False)
    example = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    fold_norms(copied, (example,))
    return ExportNetwork(copied, task, statistics).eval()
