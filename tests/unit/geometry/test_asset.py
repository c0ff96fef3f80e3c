"""A mesh that is accepted gets what was asked for."""

from __future__ import annotations

import numpy as np

from lab.geometry.asset import AssetOptions, accept
from lab.geometry.bake import bake
from lab.geometry.collision import CollisionOptions
from lab.geometry.mesh import empty_mesh
from lab.geometry.primitives.sphere import Sphere
from lab.geometry.tool import Context


def test_an_accepted_mesh_has_levels_and_collision() -> None:
    ball = Sphere(sides=16, rings=8).apply(empty_mesh(), Context())
    plain = accept(ball)
    np.testing.assert_array_equal(plain.positions, bake(ball).positions)
    assert (plain.levels, plain.collision) == ((), ())
    options = AssetOptions(levels=(0.5, 0.2), collision=CollisionOptions(method="hull"))
    static = accept(ball, options)
    assert [len(level.triangles) <= most for level, most in zip(static.levels, (112, 45), strict=True)] == [True, True]
    assert len(static.collision) == 1
    np.testing.assert_array_equal(static.positions, plain.positions)
