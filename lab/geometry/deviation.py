"""How far two meshes are apart: what a conversion has lost, in one measure for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab.geometry.measures import surface_area, volume
from lab.geometry.mesh import DynamicMesh
from lab.geometry.queries import SpatialIndex, sample_surface


@dataclass(frozen=True)
class Deviation:
    """What a mesh has lost against another.

    Attributes:
        mean: of the distances between the surfaces, over points drawn on both, metres.
        largest: of these distances and of those of all vertices, metres.
        volume: the mesh's volume over the other's, less 1; NaN where the other one encloses none.
        area: the mesh's surface over the other's, less 1.
    """

    mean: float
    largest: float
    volume: float
    area: float


def deviation(mesh: DynamicMesh, truth: DynamicMesh, points: int = 2000, seed: int = 0) -> Deviation:
    """Measure how far a mesh is from another one.

    Args:
        mesh: with area.
        truth: with area; what the shares refer to.
        points: that are drawn on each of them.
        seed: of the draws.

    Raises:
        GeometryError: a mesh has no area.
    """
    random = np.random.default_rng(seed)
    drawn, largest = [], 0.0
    for one, other in ((mesh, truth), (truth, mesh)):
        index = SpatialIndex(other)
        drawn.append(index.distances(sample_surface(one, points, random).points))
        largest = max(largest, float(drawn[-1].max()), float(index.distances(one.positions).max()))
    before = volume(truth)
    change = volume(mesh) / before - 1 if before else float("nan")
    return Deviation(float(np.mean(drawn)), largest, change, surface_area(mesh) / surface_area(truth) - 1)
