"""The parts of an AFNO network: the block, patches of fields, and embeddings of places."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from lab.errors import ConfigError
from lab.layers.dropout import drop_path
from lab.layers.mlp import FeedForward
from lab.layers.norm import LayerNorm
from lab.layers.patches import PatchProjection
from lab.models.afno.filters import AFNO2D

EPSILON = 1e-6
"""Of every layer norm, as published."""
GridSize = tuple[int, int]


class AFNOBlock(nn.Module):
    """Mixing of tokens and a feed-forward net, each after a norm.

    Args:
        dim: C.
        mixer: the mixing of tokens; it adds its own input.
        mlp_ratio: hidden width of the feed-forward net over C.
        double_skip: an identity around each of the two, as in FourCastNet; else one around both (AFNO-transformer).
        dropout: probability, behind the linear layers of the feed-forward net.
        rate: probability of dropping the branch of the feed-forward net; the mixing is never dropped.
    """

    def __init__(
        self, dim: int, mixer: AFNO2D, mlp_ratio: float, double_skip: bool, dropout: float, rate: float
    ) -> None:
        super().__init__()
        self.double_skip = double_skip
        self.drop_path_rate = rate
        self.norm1 = LayerNorm(dim, eps=EPSILON)
        self.filter = mixer
        self.norm2 = LayerNorm(dim, eps=EPSILON)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio), dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        mixed = self.filter(self.norm1(x))
        if self.double_skip:
            mixed = x = mixed + x
        branch = drop_path(self.mlp(self.norm2(mixed)), self.drop_path_rate, self.training)
        return x + branch


class FieldPatches(nn.Module):
    """Patches of a field to tokens."""

    def __init__(self, in_channels: int, embed_dim: int, patch: GridSize) -> None:
        super().__init__()
        self.proj = PatchProjection(in_channels, embed_dim, patch)

    def forward(self, fields: Tensor) -> Tensor:
        """Map (B, in_channels, H, W), whole patches, to (B, H / p1, W / p2, C)."""
        tokens: Tensor = self.proj(fields)
        return tokens


def as_pair(size: int | Sequence[int], axes: int) -> GridSize:
    """Return a patch or grid as (height, width): a series has a height of 1."""
    sizes = (size,) * axes if isinstance(size, int) else tuple(size)
    if len(sizes) != axes or axes not in (1, 2):
        raise ConfigError(f"{sizes}: expected {axes} size{'s' * (axes > 1)}, as many as the grid has axes")
    return (1, sizes[0]) if axes == 1 else (sizes[0], sizes[1])


def grid_of_patches(size: GridSize, patch: GridSize, what: str) -> GridSize:
    """Return the grid (h, w) of whole patches.

    Args:
        size: (H, W) points.
        patch: (p1, p2).
        what: the grid's name for the user.

    Raises:
        ConfigError: the patch does not divide the grid; names the nearest sizes that fit.
    """
    if size[0] % patch[0] == 0 and size[1] % patch[1] == 0 and min(size) > 0:
        return size[0] // patch[0], size[1] // patch[1]
    fitting = [_around(points, side) for points, side in zip(size, patch, strict=True)]
    shown, sides = ("x".join(map(str, pair if size[0] > 1 or pair[0] > 1 else pair[1:])) for pair in (size, patch))
    axes = [
        f"{axis} {' or '.join(map(str, fits))}"
        for axis, fits, points, side in zip(("height", "width"), fitting, size, patch, strict=True)
        if points % side or not points
    ]
    raise ConfigError(f"{what} {shown} is not divided by patch_size={sides}: {', '.join(axes)} would fit")


def _around(points: int, side: int) -> list[int]:
    below = points // side * side
    return [size for size in (below, below + side) if size > 0]


def resample_places(places: Tensor, grid: GridSize, size: GridSize) -> Tensor:
    """Return position embeddings (1, h * w, C) of a grid for another one, bicubic with antialiasing.

    Args:
        places: (1, h * w, C).
        grid: (h, w).
        size: the other grid (h', w').

    Returns:
        (1, h', w', C).
    """
    maps = places.unflatten(1, grid)
    if grid == size:
        return maps
    resized = F.interpolate(maps.permute(0, 3, 1, 2).float(), size=size, mode="bicubic", antialias=True)
    return resized.permute(0, 2, 3, 1).to(places.dtype)
