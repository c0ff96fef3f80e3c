"""Looking up points of the scene in the feature maps of all cameras, where they are seen.

Wang et al., "DETR3D", CoRL 2021, section 3.2, steps 2 to 4: a reference point is projected into every camera, and
features are interpolated bilinearly at its pixel on every level. A point is seen by one or two of six cameras, so the
sum over cameras and the four neighbours of a pixel is a weighted sum of rows of a table of a level's features. On a CPU
only the rows of cameras that see the point are read, and gradients of features are kept as rows until those of all
layers are known; elsewhere the number of rows is fixed, so that the host does not wait for the device, and those of
other cameras have the weight 0.

Names: B frames, N cameras, Q points, V levels, C channels, P visible pairs of point and camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.ops.precision import full_precision

NEAREST = 1e-5
"""A point is in front of a camera if its depth exceeds this."""


@dataclass
class Views:
    """The features and cameras of a batch, prepared once for all layers of a decoder.

    Attributes:
        tables: of each level (B * N * h * w, C): frame by frame, camera by camera, row by row.
        sizes: (height, width) of each level's maps.
        matrices: (B, N, 3, 4) map a point (x, y, z, 1) in 0..1 of the range to (u d, v d, d): u and v in 0..1 of the
            picture, d the depth.
    """

    tables: tuple[Tensor, ...]
    sizes: tuple[tuple[int, int], ...]
    matrices: Tensor

    @classmethod
    def of(
        cls, maps: Sequence[Tensor], projections: Tensor, point_range: Sequence[float], image_size: tuple[int, int]
    ) -> Views:
        """Prepare a batch.

        Args:
            maps: of each level (B * N, C, h, w).
            projections: (B, N, 4, 4) rig to pixels.
            point_range: (x0, y0, z0, x1, y1, z1) metres.
            image_size: (height, width) of the padded pictures, pixels.
        """
        tables = tuple(table_of(full_precision(level)) for level in maps)
        sizes = tuple((level.shape[2], level.shape[3]) for level in maps)
        return cls(tables, sizes, unit_matrices(projections, point_range, image_size))

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project points (B, Q, 3) in 0..1 of the range.

        Returns:
            Places (B, Q, N, 2), (u, v) in 0..1 of the picture, and which points a camera sees, (B, Q, N) bool.
        """
        points = full_precision(points)
        # Products and sums, which autocast and TF32 leave exact: a product of matrices would be off by many pixels.
        turned = (self.matrices[:, None, :, :, :3] * points[:, :, None, None]).sum(-1)
        projected = turned + self.matrices[:, None, :, :, 3]
        depth = projected[..., 2:]
        places = projected[..., :2] / depth.clamp(min=NEAREST)
        seen = (depth[..., 0] > NEAREST) & ((places > 0) & (places < 1)).all(-1)
        return places, seen

    def sample(self, points: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted sum of the features at each point.

        Args:
            points: (B, Q, 3) in 0..1 of the range.
            weights: (B, Q, N, V) of each camera and level.

        Returns:
            (B, Q, C); zeros for a point that no camera sees.
        """
        places, seen = self.project(points)
        on_host = seen.device.type == "cpu" and not torch.compiler.is_compiling()
        gather = self._visible_pairs if on_host else self._all_pairs
        return self._sum(gather(places, seen, weights), on_host).unflatten(0, seen.shape[:2])

    def _visible_pairs(self, places: Tensor, seen: Tensor, weights: Tensor) -> SeenPairs:
        """Return the pairs of a point and a camera that sees it."""
        frame, point, camera = seen.nonzero(as_tuple=True)
        shares = weights[frame, point, camera].to(places.dtype)
        per_point = seen.sum(-1).flatten()
        view = frame * seen.shape[2] + camera
        return SeenPairs(places[frame, point, camera], view, shares, per_point.cumsum(0) - per_point)

    def _all_pairs(self, places: Tensor, seen: Tensor, weights: Tensor) -> SeenPairs:
        """Return the pairs of every point and every camera; those that do not see each other weigh nothing."""
        num_frames, num_points, num_cameras = seen.shape
        view = torch.arange(num_frames * num_cameras, device=seen.device).view(num_frames, 1, num_cameras)
        places = torch.where(seen[..., None], places, 0.5).flatten(0, 2)
        shares = (weights.to(places.dtype) * seen[..., None]).flatten(0, 2)
        offsets = torch.arange(0, num_frames * num_points * num_cameras, num_cameras, device=seen.device)
        return SeenPairs(places, view.expand_as(seen).flatten(), shares, offsets)

    def _sum(self, pairs: SeenPairs, sparse: bool = False) -> Tensor:
        """Return (B * Q, C) of the pairs' features on all levels; with ``sparse`` gradients of tables are sparse."""
        found = []
        for level, (table, size) in enumerate(zip(self.tables, self.sizes, strict=True)):
            rows, shares = neighbours(pairs.places, pairs.view, size)
            shares = (shares * pairs.shares[:, level, None]).to(table.dtype)
            found.append(
                F.embedding_bag(
                    rows.flatten(),
                    table,
                    pairs.offsets * 4,
                    mode="sum",
                    sparse=sparse and table.requires_grad,
                    per_sample_weights=shares.flatten(),
                )
            )
        return torch.stack(found).sum(0) if len(found) > 1 else found[0]


class SeenPairs(NamedTuple):
    """SeenPairs of points and cameras, the points in their order: B * Q points, P pairs, V levels.

    Attributes:
        places: (P, 2) (u, v) in 0..1 of the picture.
        view: (P,) the number of frame and camera.
        shares: (P, V) the weight of each level.
        offsets: (B * Q,) the first pair of each point.
    """

    places: Tensor
    view: Tensor
    shares: Tensor
    offsets: Tensor


def neighbours(places: Tensor, view: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the four pixels around places (P, 2) in maps of ``size``, and their bilinear shares.

    Pixels outside of a map have the share 0.

    Args:
        places: (P, 2) in 0..1 of the maps.
        view: (P,) the number of the map.
        size: (height, width) of all maps.

    Returns:
        Rows of the maps' table (P, 4) int64, and shares (P, 4).
    """
    height, width = size
    x, y = places[:, 0] * width - 0.5, places[:, 1] * height - 0.5  # pixel centres are at whole numbers
    left, top = x.detach().floor(), y.detach().floor()
    right_share, bottom_share = x - left, y - top
    columns = torch.stack([left, left + 1], 1).long()
    lines = torch.stack([top, top + 1], 1).long()
    column_shares = torch.stack([1 - right_share, right_share], 1) * ((columns >= 0) & (columns < width))
    line_shares = torch.stack([1 - bottom_share, bottom_share], 1) * ((lines >= 0) & (lines < height))
    first = view[:, None] * height + lines.clamp(0, height - 1)
    rows = first[:, :, None] * width + columns.clamp(0, width - 1)[:, None]
    return rows.flatten(1), (line_shares[:, :, None] * column_shares[:, None]).flatten(1)


class _Table(torch.autograd.Function):
    """Maps (M, C, h, w) as a table of pixels (M * h * w, C), whose gradient may be sparse."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.shape = maps.shape
        return maps.permute(0, 2, 3, 1).flatten(0, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        count, channels, height, width = ctx.shape
        grad = grad.to_dense() if grad.is_sparse else grad
        return grad.view(count, height, width, channels).permute(0, 3, 1, 2)


def table_of(maps: Tensor) -> Tensor:
    """Return maps (M, C, h, w) as a table of pixels (M * h * w, C), not copied if they are channels-last."""
    if not maps.requires_grad:
        return maps.permute(0, 2, 3, 1).flatten(0, 2)
    found: Tensor = _Table.apply(maps)
    return found


def unit_matrices(projections: Tensor, point_range: Sequence[float], image_size: tuple[int, int]) -> Tensor:
    """Return (B, N, 3, 4) float32: projections (B, N, 4, 4) from 0..1 of the range to 0..1 of the picture."""
    matrices = projections[..., :3, :].double()
    height, width = image_size
    matrices = matrices / matrices.new_tensor([width, height, 1.0])[:, None]
    low, high = matrices.new_tensor(tuple(point_range)).view(2, 3)
    shift = (matrices[..., :3] * low).sum(-1, keepdim=True) + matrices[..., 3:]
    dtype = torch.float64 if projections.dtype == torch.float64 else torch.float32
    return torch.cat([matrices[..., :3] * (high - low), shift], -1).to(dtype)
