"""Looking up points of the scene in the feature maps of all cameras, where they are seen.

Wang et al., "DETR3D", CoRL 2021, section 3.2, steps 2 to 4: a reference point is projected into every camera, and
features are interpolated bilinearly at its pixel on every level. A point is seen by one or two of six cameras, so the
sum over cameras, levels and the four neighbours of a pixel is one weighted sum of rows of a table of all features. On a
CPU only the rows of cameras that see the point are read; elsewhere the number of rows is fixed, so that the host does
not wait for the device, and those of other cameras have the weight 0.

Names: B frames, N cameras, Q points, V levels, C channels, P visible pairs of point and camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        table: (R, C) the features of all pixels: level by level, frame by frame, camera by camera, row by row.
        sizes: (height, width) of each level's maps.
        matrices: (B, N, 3, 4) map a point (x, y, z, 1) in 0..1 of the range to (u d, v d, d): u and v in 0..1 of the
            picture, d the depth.
    """

    table: Tensor
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
        table = torch.cat([level.permute(0, 2, 3, 1).flatten(0, 2) for level in maps])
        sizes = tuple((level.shape[2], level.shape[3]) for level in maps)
        return cls(table, sizes, unit_matrices(projections, point_range, image_size))

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project points (B, Q, 3) in 0..1 of the range.

        Returns:
            Places (B, Q, N, 2), (u, v) in 0..1 of the picture, and which points a camera sees, (B, Q, N) bool.
        """
        points = full_precision(points)
        projected = torch.einsum("bnij,bqj->bqni", self.matrices[..., :3], points) + self.matrices[:, None, :, :, 3]
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
        return weighted_rows(self.table, *gather(places, seen, weights)).unflatten(0, seen.shape[:2])

    def _visible_pairs(self, places: Tensor, seen: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows, their weights and where each point's rows begin, of the cameras that see the point."""
        num_cameras = seen.shape[2]
        frame, point, camera = seen.nonzero(as_tuple=True)
        rows, shares = self._neighbours(places[frame, point, camera], frame * num_cameras + camera)
        shares = shares * weights[frame, point, camera].to(shares.dtype)[..., None]
        per_point = seen.sum(-1).flatten() * (4 * len(self.sizes))
        return rows, shares, per_point.cumsum(0) - per_point

    def _all_pairs(self, places: Tensor, seen: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the same of all cameras; the rows of those that do not see the point have the weight 0."""
        num_frames, num_points, num_cameras = seen.shape
        view = torch.arange(num_frames * num_cameras, device=seen.device).view(num_frames, 1, num_cameras)
        places = torch.where(seen[..., None], places, 0.5)
        rows, shares = self._neighbours(places, view.expand_as(seen))
        shares = shares * (weights.to(shares.dtype) * seen[..., None])[..., None]
        per_point = num_cameras * len(self.sizes) * 4
        offsets = torch.arange(0, num_frames * num_points * per_point, per_point, device=seen.device)
        return rows, shares, offsets

    def _neighbours(self, places: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Return the four neighbours of places (..., 2) on every level, and their bilinear shares.

        A neighbour outside of a map has the share 0. ``view`` (...,) is the number of frame and camera.

        Returns:
            Rows of the table (..., V, 4) int64, and shares (..., V, 4).
        """
        num_views = self.matrices.shape[0] * self.matrices.shape[1]
        size = torch.tensor(self.sizes, device=places.device)  # (V, 2)
        area = size.prod(1)
        start = (area.cumsum(0) - area) * num_views
        limits = size.flip(1)  # (V, 2) width and height
        pixel = places[..., None, :] * limits - 0.5  # (..., V, 2): pixel centres are at whole numbers
        low = pixel.detach().floor()
        part = pixel - low
        corner = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=places.device)
        at = low[..., None, :].long() + corner  # (..., V, 4, 2)
        inside = ((at >= 0) & (at < limits[:, None])).all(-1)
        share = torch.where(corner == 1, part[..., None, :], 1 - part[..., None, :]).prod(-1) * inside
        at = torch.minimum(at.clamp(min=0), limits[:, None] - 1)
        rows = (start + view[..., None] * area)[..., None] + at[..., 1] * limits[:, :1] + at[..., 0]
        return rows, share


def unit_matrices(projections: Tensor, point_range: Sequence[float], image_size: tuple[int, int]) -> Tensor:
    """Return (B, N, 3, 4) float32: projections (B, N, 4, 4) from 0..1 of the range to 0..1 of the picture."""
    matrices = projections[..., :3, :].double()
    height, width = image_size
    matrices = matrices / matrices.new_tensor([width, height, 1.0])[:, None]
    low, high = matrices.new_tensor(tuple(point_range)).view(2, 3)
    shift = (matrices[..., :3] * low).sum(-1, keepdim=True) + matrices[..., 3:]
    dtype = torch.float64 if projections.dtype == torch.float64 else torch.float32
    return torch.cat([matrices[..., :3] * (high - low), shift], -1).to(dtype)


def weighted_rows(table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """Return weighted sums of rows of a table.

    Args:
        table: (R, C).
        rows: (...) int64, sum after sum.
        weights: of each row, of the same shape.
        offsets: (S,) where each sum begins in the flat ``rows``.

    Returns:
        (S, C).
    """
    table = full_precision(table)
    return F.embedding_bag(
        rows.flatten(), table, offsets, mode="sum", per_sample_weights=weights.to(table.dtype).flatten()
    )
