"""Flat shapes that face up: rectangle, rounded rectangle, disc. They have open edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import Floats
from lab.geometry.primitives.patches import Patch, cap_patch, flat_patch, straight
from lab.geometry.primitives.primitive import Around, Length, Primitive, Reach, Steps
from lab.ranges import Ge, Le


@dataclass(frozen=True, kw_only=True)
class FlatRectangle(Primitive):
    """A rectangle.

    Attributes:
        size: metres along x and y.
        steps: quads along x and y.
    """

    word: ClassVar[str] = "rectangle"

    size: tuple[Length, Length] = (1.0, 1.0)
    steps: tuple[Steps, Steps] = (1, 1)

    def num_quads(self) -> int:
        """Return how many quads it has."""
        return self.steps[0] * self.steps[1]

    def patches(self) -> list[Patch]:
        """Return the one face."""
        x, y = np.array([self.size[0], 0, 0]), np.array([0, self.size[1], 0])
        return [flat_patch(-(x + y) / 2, x, y, self.steps, self.extent(*self.size))]


@dataclass(frozen=True, kw_only=True)
class RoundedRectangle(Primitive):
    """A rectangle with round corners.

    Attributes:
        size: metres along x and y, corners included.
        corner_radius: metres, at most half of the shorter side.
        steps: quads along the straight parts.
        corner_steps: into how many parts each quarter circle is cut.
    """

    word: ClassVar[str] = "rounded_rectangle"

    size: tuple[Length, Length] = (1.0, 1.0)
    corner_radius: Length = 0.1
    steps: tuple[Steps, Steps] = (1, 1)
    corner_steps: Steps = 6

    def check(self) -> None:
        """Refuse corners that do not fit."""
        super().check()
        if 2 * self.corner_radius > min(self.size):
            raise GeometryError(f"must be at most half of the shorter side, {min(self.size) / 2:g}", "corner_radius")

    def num_quads(self) -> int:
        """Return how many quads it has, those of a corner that are triangles included."""
        x, y = self.steps
        return x * y + 2 * (x + y) + 4 * self.corner_steps

    def patches(self) -> list[Patch]:
        """Return the one face, of a middle, four sides and four corners."""
        radius = self.corner_radius
        (half_x, half_y), (nx, ny) = (side / 2 - radius for side in self.size), self.steps
        x, y = np.linspace(-half_x, half_x, nx + 1), np.linspace(-half_y, half_y, ny + 1)
        rims = [np.array([-half_x - radius, -half_x]), np.array([half_x, half_x + radius])]
        ends = [np.array([-half_y - radius, -half_y]), np.array([half_y, half_y + radius])]
        grids = [(x, y), (rims[0], y), (rims[1], y), (x, ends[0]), (x, ends[1])]
        parts = [self._level(np.stack(np.meshgrid(*grid, indexing="ij"), -1)) for grid in grids]
        for quarter, (sign_x, sign_y) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)]):
            turns = np.radians(90 * quarter + np.linspace(0, 90, self.corner_steps + 1))
            arc = radius * np.stack([np.cos(turns), np.sin(turns)], -1)
            corner = np.array([sign_x * half_x, sign_y * half_y])
            parts.append(self._level(np.stack([corner + arc, corner + 0 * arc], 1)))
        return parts

    def _level(self, points: Floats) -> Patch:
        uvs = (points / self.size + 0.5) * self.extent(*self.size)
        flat = np.concatenate([points, np.zeros((*points.shape[:2], 1))], -1)
        return Patch(flat, np.broadcast_to([0.0, 0.0, 1.0], flat.shape), uvs, face=0)


@dataclass(frozen=True, kw_only=True)
class Disc(Primitive):
    """A disc, a ring or a sector.

    Attributes:
        radius: metres.
        hole_radius: below ``radius``; 0 for none.
        angles: degrees from x towards y, where it begins and ends: at most a whole turn.
        sides: into how many parts the arc is cut.
        rings: from the rim to the middle.
    """

    word: ClassVar[str] = "disc"

    radius: Length = 0.5
    hole_radius: Reach = 0.0
    angles: tuple[Annotated[float, Ge(-3600), Le(3600)], Annotated[float, Ge(-3600), Le(3600)]] = (0.0, 360.0)
    sides: Around = 24
    rings: Steps = 1

    def check(self) -> None:
        """Refuse a hole as large as the disc, and an arc that is none."""
        super().check()
        if self.hole_radius >= self.radius:
            raise GeometryError(f"must be below radius, {self.radius:g}, not {self.hole_radius:g}", "hole_radius")
        if not 0 < self.angles[1] - self.angles[0] <= 360:
            raise GeometryError("must end after they begin, by 360 at most", "angles")

    def num_quads(self) -> int:
        """Return how many quads it has, those at the middle that are triangles included."""
        return self.sides * self.rings

    def patches(self) -> list[Patch]:
        """Return the one face."""
        profile = straight((self.radius, 0), (self.hole_radius, 0), self.rings)
        return [cap_patch(profile, self.sides, self.extent(2 * self.radius, 2 * self.radius), self.angles)]
