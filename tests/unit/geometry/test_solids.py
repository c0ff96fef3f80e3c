"""The conversions as steps of a script; their losses are measured in the tests of the conversions."""

from __future__ import annotations

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.measures import is_watertight, volume
from lab.geometry.operations.booleans import BooleanDifference
from lab.geometry.primitives.box import Box
from lab.geometry.primitives.primitive import Primitive
from lab.geometry.primitives.sphere import Sphere
from lab.geometry.script import Script
from lab.geometry.solids import ConvexParts, FlatVolume, Solidify, Voxelize
from lab.geometry.tool import Budget, Tool
from lab.geometry.words import tool_class

BOX = Box(size=(1.0, 1.0, 1.0))
STEP = BooleanDifference(other=(Box(size=(1.0, 1.0, 1.0), at=(0.5, 0.0, 0.5)),))
"""What makes an L of the box: 3/4 of its volume."""


@pytest.mark.parametrize(
    ("tool", "most", "least"),
    [
        (Voxelize(size=0.125), 0.7501, 0.7499),
        (Solidify(spacing=0.1), 0.75, 0.70),
        (FlatVolume(), 0.7501, 0.7499),
        (ConvexParts(), 0.7501, 0.745),
    ],
    ids=lambda value: getattr(value, "word", ""),
)
def test_the_volume_stays(tool: Tool, most: float, least: float) -> None:
    script = Script(steps=(BOX, STEP, tool))
    mesh = script.run()
    assert is_watertight(mesh)
    assert least < volume(mesh) < most
    assert tool_class(tool.word) is type(tool)
    assert (set(mesh.polygroups) == {0, 1}) or tool.word != "convex_parts"


def test_solids_grow() -> None:
    grown = Script(steps=(BOX, Solidify(spacing=0.1, distance=0.2))).run()
    # Steiner: a cube grows by its sides, a quarter of a cylinder at each edge, an eighth of a ball at each corner.
    assert volume(grown) == pytest.approx(1 + 6 * 0.2 + 3 * np.pi * 0.2**2 + 4 / 3 * np.pi * 0.2**3, rel=0.02)


def test_the_step_is_named() -> None:
    ball: Primitive = Sphere(sides=32, rings=16)
    with pytest.raises(GeometryError, match=r"steps\[1\]\.flat_volume\.max_triangles: the volume needs \d+ triangles"):
        Script(steps=(ball, FlatVolume())).run()
    with pytest.raises(GeometryError, match=r"steps\[1\]\.voxelize\.size: 1e-05 makes"):
        Script(steps=(BOX, Voxelize(size=1e-5))).run()
    with pytest.raises(GeometryError, match=r"steps\[1\]\.voxelize: makes 49152 triangles; budget\.triangles allows 9"):
        Script(steps=(BOX, Voxelize(size=1 / 64)), budget=Budget(triangles=900)).run()
    with pytest.raises(GeometryError, match=r"solidify: makes a mesh of .* MB; budget\.megabytes allows 10"):
        Script(steps=(BOX, Solidify(spacing=0.01)), budget=Budget(megabytes=10)).run()
