"""Noise along the normals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Floats, Integers
from lab.geometry.operations.normals import refresh_normals
from lab.geometry.operations.shaped import Distance
from lab.geometry.tool import Context, Tool
from lab.geometry.topology import vertex_normals
from lab.ranges import Ge, Gt, Le


def noise(
    mesh: DynamicMesh,
    magnitude: float,
    frequency: float = 1.0,
    octaves: int = 1,
    random: np.random.Generator | None = None,
) -> DynamicMesh:
    """Return the mesh with vertices moved along their normals by gradient noise of their place.

    Polygroups, slots and UVs stay; normals are computed anew with their seams kept. The noise is a function of the
    place and the generator, so a finer mesh has the same bumps. Ken Perlin, "Improving Noise" (2002).

    Args:
        mesh: any.
        magnitude: metres; the first octave stays within it.
        frequency: bumps to a metre, about.
        octaves: each has twice the frequency and half the magnitude of the one before.
        random: chooses the noise; None for the one of seed 0.

    Raises:
        GeometryError: a frequency or octaves that cannot be.
    """
    if not frequency > 0:
        raise GeometryError(f"must be above 0, not {frequency:g}", "frequency")
    if octaves < 1:
        raise GeometryError(f"must be at least 1, not {octaves}", "octaves")
    table = (random or np.random.default_rng(0)).permutation(256)
    height = sum(gradient_noise(mesh.positions * (frequency * 2**k) + 31.7 * k, table) / 2**k for k in range(octaves))
    normals = vertex_normals(mesh.positions, mesh.triangles)
    return refresh_normals(replace(mesh, positions=mesh.positions + magnitude * np.asarray(height)[:, None] * normals))


def gradient_noise(points: Floats, table: Integers) -> Floats:
    """Return (N,) smooth noise in -1..1 of points (N, 3), 0 at whole numbers; ``table`` is a permutation of 0..255."""
    cell = np.floor(points).astype(np.int64)
    local = points - cell
    fade = local**3 * (local * (local * 6 - 15) + 10)
    total = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        x, y, z = (cell + corner).T & 255
        gradient = _GRADIENTS[table[(table[(table[x] + y) & 255] + z) & 255] & 15]
        weight = np.where(corner, fade, 1 - fade).prod(axis=1)
        total += weight * (gradient * (local - corner)).sum(axis=1)
    return total


_EDGES = [(x, y, 0) for x in (1, -1) for y in (1, -1)]
_EDGES = [*_EDGES, *((x, 0, z) for x, z, _ in _EDGES), *((0, x, z) for x, z, _ in _EDGES)]
_GRADIENTS = np.array([*_EDGES, (1, 1, 0), (-1, 1, 0), (0, -1, 1), (0, -1, -1)], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Noise(Tool):
    """Moves vertices along their normals by smooth noise, drawn from the seed and the place of the step.

    Attributes:
        magnitude: metres.
        frequency: bumps to a metre.
        octaves: of ever finer bumps.
    """

    word: ClassVar[str] = "noise"

    magnitude: Distance = 0.1
    frequency: Annotated[float, Gt(0), Le(1e6)] = 1.0
    octaves: Annotated[int, Ge(1), Le(16)] = 1

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the rough mesh."""
        return noise(mesh, self.magnitude, self.frequency, self.octaves, context.random())
