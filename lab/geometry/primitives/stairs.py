"""Stairs: straight, floating, curved, spiral. They begin at the origin and rise along x, or around z."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.primitives.patches import Patch, quad_patch
from lab.geometry.primitives.primitive import Length, Primitive, Steps
from lab.ranges import Gt, Le, Lt


@dataclass(frozen=True, kw_only=True)
class Stairs(Primitive):
    """Steps with treads, risers, two sides, an underside and a back; each tread and riser is a face.

    Attributes:
        num_steps: how many.
        width: of a step, metres.
        height: of a step, metres.
    """

    num_steps: Steps = 8
    width: Length = 1.5
    height: Length = 0.2

    @abstractmethod
    def border(self, index: int, left: bool) -> tuple[float, float]:
        """Return x and y of the left or right end of the edge before a step, seen by whoever goes up."""

    @abstractmethod
    def going(self, left: bool) -> float:
        """Return metres from one edge to the next at the left or right side."""

    def underside(self, index: int) -> float:
        """Return the height of the underside below the edge before a step."""
        del index
        return 0.0

    def num_quads(self) -> int:
        """Return how many quads there are, those of a side that are triangles included."""
        return 7 * self.num_steps + 1

    def patches(self) -> list[Patch]:
        """Return the faces: sides, underside, back, then tread and riser of each step."""
        return list(self._faces())

    def _faces(self) -> Iterator[Patch]:
        count, rise = self.num_steps, self.height
        for index in range(count):
            yield from self._step(index)
        (left, right), low = self._ends(count), self.underside(count)
        height = count * rise - low
        yield self._quad(
            [(right, low), (left, low), (left, low + height), (right, low + height)], 3, self.width, height
        )

    def _step(self, index: int) -> Iterator[Patch]:
        (left, right), (next_left, next_right) = self._ends(index), self._ends(index + 1)
        foot, top = index * self.height, (index + 1) * self.height
        low, next_low = self.underside(index), self.underside(index + 1)
        deep_left, deep_right = self.going(left=True), self.going(left=False)
        deep, rise, width, face = max(deep_left, deep_right), self.height, self.width, 4 + 2 * index
        yield self._quad([(right, top), (next_right, top), (next_left, top), (left, top)], face, deep, width)
        yield self._quad([(left, foot), (right, foot), (right, top), (left, top)], face + 1, width, rise)
        yield self._quad([(left, low), (next_left, next_low), (next_right, next_low), (right, low)], 2, deep, width)
        yield self._quad([(right, foot), (next_right, top), (next_right, top), (right, top)], 0, deep_right, rise)
        yield self._quad([(next_left, top), (left, foot), (left, top), (next_left, top)], 1, deep_left, rise)
        wall = [(right, low), (next_right, next_low), (next_right, top), (right, foot)]
        yield self._quad(wall, 0, deep_right, top - low)
        wall = [(next_left, next_low), (left, low), (left, foot), (next_left, top)]
        yield self._quad(wall, 1, deep_left, top - low)

    def _ends(self, index: int) -> tuple[tuple[float, float], tuple[float, float]]:
        return self.border(index, left=True), self.border(index, left=False)

    def _quad(self, corners: list[tuple[tuple[float, float], float]], face: int, width: float, height: float) -> Patch:
        points = np.array([(*place, z) for place, z in corners])
        return quad_patch(points, self.extent(width, height), face)


@dataclass(frozen=True, kw_only=True)
class StraightStairs(Stairs):
    """Straight stairs, solid down to the ground.

    Attributes:
        depth: of a step, metres.
    """

    word: ClassVar[str] = "stairs"

    depth: Length = 0.3

    def border(self, index: int, left: bool) -> tuple[float, float]:
        """Return x and y of an end of the edge before a step."""
        return (index - self.num_steps / 2) * self.depth, self.width / 2 if left else -self.width / 2

    def going(self, left: bool) -> float:
        """Return the depth."""
        del left
        return self.depth


@dataclass(frozen=True, kw_only=True)
class FloatingStairs(StraightStairs):
    """Straight stairs with a sloping underside.

    Attributes:
        thickness: from an inner corner down to the underside, metres.
    """

    word: ClassVar[str] = "floating_stairs"

    thickness: Length = 0.1

    def underside(self, index: int) -> float:
        """Return the height of the slope, the ground at least."""
        return max(0.0, index * self.height - self.thickness)


@dataclass(frozen=True, kw_only=True)
class CurvedStairs(Stairs):
    """Stairs around a column, solid down to the ground.

    Attributes:
        inner_radius: from the axis to the inner side, metres.
        angle: degrees that all steps together turn.
        clockwise: seen from above, going up.
    """

    word: ClassVar[str] = "curved_stairs"

    inner_radius: Length = 1.0
    angle: Annotated[float, Gt(0), Lt(360)] = 90.0
    clockwise: bool = False

    def check(self) -> None:
        """Refuse steps that turn by half a turn or more."""
        super().check()
        if self.angle >= 180 * self.num_steps:
            raise GeometryError(f"turns each of {self.num_steps} steps by 180 degrees or more", "angle")

    def border(self, index: int, left: bool) -> tuple[float, float]:
        """Return x and y of an end of the edge before a step."""
        inner = left != self.clockwise
        radius = self.inner_radius + (0.0 if inner else self.width)
        turn = np.radians(self.angle * index / self.num_steps) * (-1 if self.clockwise else 1)
        return float(radius * np.cos(turn)), float(radius * np.sin(turn))

    def going(self, left: bool) -> float:
        """Return the chord of a step at one side."""
        radius = self.inner_radius + (0.0 if left != self.clockwise else self.width)
        return float(2 * radius * np.sin(np.radians(self.angle / self.num_steps / 2)))


@dataclass(frozen=True, kw_only=True)
class SpiralStairs(CurvedStairs):
    """Stairs around a column with a sloping underside, for any number of turns.

    Attributes:
        angle: degrees that all steps together turn.
        thickness: from an inner corner down to the underside, metres.
    """

    word: ClassVar[str] = "spiral_stairs"

    angle: Annotated[float, Gt(0), Le(36000)] = 360.0
    thickness: Length = 0.1

    def underside(self, index: int) -> float:
        """Return the height of the slope, the ground at least."""
        return max(0.0, index * self.height - self.thickness)
