"""Shapes of a colour, with which the programs of objects are written: tools of ``lab.geometry``."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from lab.geometry.paint import Paint
from lab.geometry.parameters import Vector
from lab.geometry.primitives.box import Box
from lab.geometry.primitives.round import Cone, Cylinder
from lab.geometry.primitives.sphere import Sphere
from lab.geometry.tool import Tool

Color: TypeAlias = tuple[float, float, float]
Program: TypeAlias = list[Tool]
Random: TypeAlias = np.random.Generator

BLACK: Color = (0.02, 0.02, 0.02)
GLASS: Color = (0.05, 0.07, 0.1)
STEEL: Color = (0.35, 0.36, 0.38)
WHITE: Color = (0.85, 0.85, 0.85)
RED: Color = (0.75, 0.03, 0.03)
LAMP: Color = (1.0, 0.95, 0.7)
ORANGE: Color = (0.9, 0.22, 0.02)
YELLOW: Color = (0.85, 0.5, 0.03)
SKIN: Color = (0.6, 0.4, 0.3)
_SIDES = 10


def box(size: Vector, at: Vector, color: Color, rotate: Vector = (0.0, 0.0, 0.0)) -> Tool:
    """Return a box; ``at`` is the middle of its base."""
    return Box(size=size, at=at, rotate=rotate, material=Paint(color=color))


def rod(radius: float, length: float, at: Vector, color: Color, rotate: Vector = (0.0, 0.0, 0.0)) -> Tool:
    """Return an upright cylinder; ``at`` is its centre, about which it is turned."""
    return Cylinder(
        radius=radius, height=length, at=at, rotate=rotate, pivot="centre", sides=_SIDES, material=Paint(color=color)
    )


def wheel(radius: float, width: float, x: float, y: float) -> Tool:
    """Return a wheel that stands on the ground and rolls along x."""
    return rod(radius, width, (x, y, radius), BLACK, (90.0, 0.0, 0.0))


def spike(radius: float, top: float, height: float, at: Vector, color: Color) -> Tool:
    """Return a cone that is cut off at the radius ``top``; ``at`` is the middle of its base."""
    return Cone(radius=radius, top_radius=top, height=height, at=at, sides=_SIDES, material=Paint(color=color))


def ball(radius: float, at: Vector, color: Color) -> Tool:
    """Return a sphere; ``at`` is its centre."""
    return Sphere(radius=radius, at=at, pivot="centre", sides=_SIDES, rings=6, material=Paint(color=color))


def paint(random: Random) -> Color:
    """Return a colour as cars have them: every other one is white, grey or black."""
    if random.random() < 0.5:
        shade = float(random.choice([0.05, 0.2, 0.45, 0.8]))
        return shade, shade, shade
    red, green, blue = (random.uniform(0.03, 0.75, 3)).tolist()
    return red, green, blue
