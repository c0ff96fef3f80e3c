"""Shapes turned about the z axis: cylinder, cone, capsule, torus, arrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import Floats
from lab.geometry.primitives.patches import Patch, arc, cap_patch, straight, turned_patch
from lab.geometry.primitives.primitive import Around, Length, Primitive, Reach, Steps


@dataclass(frozen=True, kw_only=True)
class Turned(Primitive):
    """A shape turned about the z axis.

    Attributes:
        sides: into how many parts the circle is cut.
    """

    sides: Around = 24

    def side(self, profile: Floats, normals: Floats | None = None) -> Patch:
        """Return a profile turned; UV goes around it and along it."""
        around = 2 * np.pi * float(profile[:, 0].max())
        length = float(np.hypot(*np.diff(profile, axis=0).T).sum())
        return turned_patch(profile, self.sides, self.extent(around, length), normals=normals)

    def cap(self, inner: float, outer: float, height: float, up: bool) -> Patch:
        """Return a level ring that faces up or down."""
        rim, middle = (outer, height), (inner, height)
        profile = straight(rim, middle) if up else straight(middle, rim)
        return cap_patch(profile, self.sides, self.extent(2 * outer, 2 * outer))


@dataclass(frozen=True, kw_only=True)
class Cylinder(Turned):
    """A prism of ``sides`` sides whose corners lie on a cylinder.

    Attributes:
        radius: metres.
        height: metres.
        steps: along the height.
        capped: closed at both ends.
    """

    word: ClassVar[str] = "cylinder"

    radius: Length = 0.5
    height: Length = 1.0
    steps: Steps = 1
    capped: bool = True

    def num_quads(self) -> int:
        """Return how many quads the side and the caps have."""
        return self.sides * (self.steps + 2 * self.capped)

    def patches(self) -> list[Patch]:
        """Return the side, and the caps: bottom, top."""
        side = self.side(straight((self.radius, 0), (self.radius, self.height), self.steps))
        caps = [self.cap(0, self.radius, 0, up=False), self.cap(0, self.radius, self.height, up=True)]
        return [side, *caps] if self.capped else [side]


@dataclass(frozen=True, kw_only=True)
class Cone(Turned):
    """A pyramid of ``sides`` sides whose corners lie on a cone, or a part of one.

    Attributes:
        radius: of the base, metres.
        top_radius: 0 for a tip.
        height: metres.
        steps: along the height.
        capped: closed at both ends.
    """

    word: ClassVar[str] = "cone"

    radius: Length = 0.5
    top_radius: Reach = 0.0
    height: Length = 1.0
    steps: Steps = 1
    capped: bool = True

    def num_quads(self) -> int:
        """Return how many quads the side and the caps have."""
        return self.sides * (self.steps + 2 * self.capped)

    def patches(self) -> list[Patch]:
        """Return the side, and the caps: bottom, and top if there is no tip."""
        faces = [self.side(straight((self.radius, 0), (self.top_radius, self.height), self.steps))]
        if self.capped:
            faces.append(self.cap(0, self.radius, 0, up=False))
        if self.capped and self.top_radius:
            faces.append(self.cap(0, self.top_radius, self.height, up=True))
        return faces


@dataclass(frozen=True, kw_only=True)
class Capsule(Turned):
    """A cylinder between two half spheres.

    Attributes:
        radius: metres.
        length: of the cylinder, metres; the whole is two radii higher.
        steps: along the cylinder.
        arc_steps: along each quarter circle.
    """

    word: ClassVar[str] = "capsule"

    radius: Length = 0.5
    length: Length = 1.0
    steps: Steps = 1
    arc_steps: Steps = 6

    def num_quads(self) -> int:
        """Return how many quads the three faces have."""
        return self.sides * (self.steps + 2 * self.arc_steps)

    def patches(self) -> list[Patch]:
        """Return the faces: lower half sphere, cylinder, upper half sphere."""
        low, high = self.radius, self.radius + self.length
        return [
            self.side(*arc(low, self.radius, (-90, 0), self.arc_steps)),
            self.side(straight((self.radius, low), (self.radius, high), self.steps)),
            self.side(*arc(high, self.radius, (0, 90), self.arc_steps)),
        ]


@dataclass(frozen=True, kw_only=True)
class Torus(Turned):
    """A ring.

    Attributes:
        radius: of the circle along the middle of the tube, metres.
        tube_radius: metres, at most ``radius``.
        tube_sides: into how many parts the tube's circle is cut.
    """

    word: ClassVar[str] = "torus"

    radius: Length = 0.5
    tube_radius: Length = 0.2
    tube_sides: Around = 12

    def check(self) -> None:
        """Refuse a tube that meets itself."""
        super().check()
        if self.tube_radius >= self.radius:
            raise GeometryError(f"must be below radius, {self.radius:g}, not {self.tube_radius:g}", "tube_radius")

    def num_quads(self) -> int:
        """Return how many quads the tube has."""
        return self.sides * self.tube_sides

    def patches(self) -> list[Patch]:
        """Return the tube."""
        profile, normals = arc(self.tube_radius, self.tube_radius, (0, 360), self.tube_sides)
        profile[-1], normals[-1] = profile[0], normals[0]
        return [self.side(np.array([self.radius, 0.0]) + profile, normals)]


@dataclass(frozen=True, kw_only=True)
class Arrow(Turned):
    """An arrow that points up.

    Attributes:
        shaft_radius: metres.
        shaft_length: metres.
        head_radius: metres, above ``shaft_radius``.
        head_length: metres.
        steps: along the shaft, and along the head.
    """

    word: ClassVar[str] = "arrow"

    shaft_radius: Length = 0.1
    shaft_length: Length = 0.7
    head_radius: Length = 0.2
    head_length: Length = 0.3
    steps: Steps = 1

    def check(self) -> None:
        """Refuse a head that is narrower than the shaft."""
        super().check()
        if self.head_radius <= self.shaft_radius:
            raise GeometryError(f"must be above shaft_radius, {self.shaft_radius:g}", "head_radius")

    def num_quads(self) -> int:
        """Return how many quads the four faces have."""
        return self.sides * (2 * self.steps + 2)

    def patches(self) -> list[Patch]:
        """Return the faces: bottom, shaft, underside of the head, head."""
        thin, wide, neck = self.shaft_radius, self.head_radius, self.shaft_length
        return [
            self.cap(0, thin, 0, up=False),
            self.side(straight((thin, 0), (thin, neck), self.steps)),
            self.cap(thin, wide, neck, up=False),
            self.side(straight((wide, neck), (0, neck + self.head_length), self.steps)),
        ]
