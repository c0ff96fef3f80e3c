"""A small backbone for a CPU: patches, then stages of two 3x3 convolutions with group norm."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lab.checking import check_some
from lab.errors import ConfigError

PATCH = 4
GROUPS = 8


class ConvStem(nn.Module):
    """Patches of 4x4 pixels, then stages of two 3x3 convolutions with group norm.

    The first stage keeps the patches' resolution, each further one halves it. A sample's result does not depend on the
    rest of the batch, so training is the same on any number of ranks.

    Args:
        widths: channels of each stage, multiples of 8.
        out_indices: which stages' maps, counted from 1 (stride 4) as in every backbone here; all by default.

    Attributes:
        num_channels: channels of each returned map.
        strides: stride of each returned map with respect to the image.

    Raises:
        ConfigError: a width is not a multiple of 8, or an index is unknown.
    """

    def __init__(self, widths: Sequence[int] = (64, 96), out_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        if not widths or any(width < GROUPS or width % GROUPS for width in widths):
            raise ConfigError(f"widths={tuple(widths)} of conv_stem: expected a multiple of {GROUPS} for each stage")
        known = range(1, len(widths) + 1)
        self.out_indices = tuple(known if out_indices is None else out_indices)
        check_some("out_indices", self.out_indices, known, "stages")
        self.num_channels = tuple(widths[index - 1] for index in self.out_indices)
        self.strides = tuple(PATCH * 2 ** (index - 1) for index in self.out_indices)
        stages: list[nn.Module] = []
        before = 3
        for index, width in enumerate(widths[: max(self.out_indices)]):
            first = (PATCH, PATCH, 0) if index == 0 else (3, 2, 1)
            stages.append(nn.Sequential(*convolution(before, width, *first), *convolution(width, width, 3, 1, 1)))
            before = width
        self.stages = nn.Sequential(*stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to the maps of ``out_indices``, each (B, C, h, w); incomplete patches are ignored."""
        maps = []
        x = images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [maps[index - 1] for index in self.out_indices]


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
    """Return a convolution, a group norm of 8 groups, and ReLU."""
    return [
        nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False),
        nn.GroupNorm(GROUPS, out_channels),
        nn.ReLU(inplace=True),
    ]
