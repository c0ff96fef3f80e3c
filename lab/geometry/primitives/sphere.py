"""Spheres: by latitude and longitude, and from a cube."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lab.geometry.mesh import Floats
from lab.geometry.primitives.box import Box
from lab.geometry.primitives.patches import Patch, arc, turned_patch
from lab.geometry.primitives.primitive import Around, Length, Primitive, Steps, TwoOrMore


@dataclass(frozen=True, kw_only=True)
class Sphere(Primitive):
    """A sphere of circles of latitude and longitude; its poles are fans of triangles.

    Attributes:
        radius: metres, of the corners.
        sides: into how many parts the equator is cut.
        rings: into how many parts a meridian is cut.
    """

    word: ClassVar[str] = "sphere"

    radius: Length = 0.5
    sides: Around = 24
    rings: TwoOrMore = 12

    def num_quads(self) -> int:
        """Return how many quads the sphere has, those with a side at a pole included."""
        return self.sides * self.rings

    def patches(self) -> list[Patch]:
        """Return the one face."""
        profile, normals = arc(self.radius, self.radius, (-90, 90), self.rings)
        extent = self.extent(2 * np.pi * self.radius, np.pi * self.radius)
        return [turned_patch(profile, self.sides, extent, normals=normals)]


@dataclass(frozen=True, kw_only=True)
class BoxSphere(Primitive):
    """A sphere from a cube: six faces of quads of similar size, no poles.

    The cube's points go to the sphere by x' = x sqrt(1 - y^2 / 2 - z^2 / 2 + y^2 z^2 / 3), as UE5's cube mapping.

    Attributes:
        radius: metres, of the corners.
        steps: quads along each edge of the cube.
    """

    word: ClassVar[str] = "box_sphere"

    radius: Length = 0.5
    steps: Steps = 8

    def num_quads(self) -> int:
        """Return how many quads the six faces have."""
        return 6 * self.steps**2

    def patches(self) -> list[Patch]:
        """Return the faces: -x, +x, -y, +y, bottom, top."""
        cube = Box(size=(2, 2, 2), steps=(self.steps,) * 3).patches()
        extent = self.extent(np.pi * self.radius / 2, np.pi * self.radius / 2)
        directions = [_on_sphere(face.points - [0, 0, 1]) for face in cube]
        up = np.array([0, 0, 1])
        return [
            Patch(self.radius * (direction + up), direction, face.uvs * extent)
            for direction, face in zip(directions, cube, strict=True)
        ]


def _on_sphere(points: Floats) -> Floats:
    x, y, z = np.moveaxis(points**2, -1, 0)
    factors = np.stack(
        [1 - y / 2 - z / 2 + y * z / 3, 1 - z / 2 - x / 2 + z * x / 3, 1 - x / 2 - y / 2 + x * y / 3], -1
    )
    return np.asarray(points * np.sqrt(factors))
