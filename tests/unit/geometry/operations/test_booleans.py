"""Booleans against volumes by hand; what becomes of attributes."""

from dataclasses import replace

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.measures import face_normals, is_watertight, open_edges, surface_area, volume
from lab.geometry.mesh import DynamicMesh, Material, empty_mesh
from lab.geometry.operations.booleans import difference, intersection, trim, union
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.primitives.round import Torus
from lab.geometry.primitives.sphere import Sphere
from lab.geometry.tool import Context
from lab.geometry.topology import unit
from lab.geometry.transforms import pose, transformed, translation

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]


def cube(low: float = 0.0, name: str = "default") -> DynamicMesh:
    mesh = extrude_polygon(SQUARE, material=Material(name))
    return replace(mesh, positions=mesh.positions + low)


def corner_normals_agree(mesh: DynamicMesh) -> bool:
    assert mesh.normals is not None
    at_corners = mesh.normals.elements[mesh.normals.corners]
    return bool(
        (at_corners * face_normals(mesh)[:, None] > -1e-9).all() and np.isclose((at_corners**2).sum(2), 1).all()
    )


@pytest.mark.parametrize(
    ("operation", "cubic", "square"),
    [(union, 15 / 8, 6 + 6 - 6 / 4), (difference, 7 / 8, 6), (intersection, 1 / 8, 6 / 4)],
)
def test_two_cubes_that_overlap_in_an_eighth(operation, cubic, square):
    result = operation(cube(), cube(0.5))
    assert is_watertight(result)
    assert volume(result) == pytest.approx(cubic, abs=1e-14)  # worst error 0
    assert surface_area(result) == pytest.approx(square, abs=1e-14)  # 0
    assert corner_normals_agree(result)


def test_groups_slots_and_uvs_come_from_the_triangle_that_was_cut():
    first, second = cube(name="wood"), cube(0.5, name="steel")
    result = difference(first, second)
    assert [material.name for material in result.materials] == ["wood", "steel"]
    centres = result.positions[result.triangles].mean(axis=1)
    walls = ((centres >= 0.5 - 1e-9).all(axis=1)) & (np.abs(centres - 0.5) < 1e-9).any(axis=1)
    assert walls.sum() == 6  # three squares
    np.testing.assert_array_equal(result.slots, walls)
    np.testing.assert_array_equal(result.polygroups[~walls] < 6, True)
    np.testing.assert_array_equal(result.polygroups[walls] >= 6, True)
    top = (
        result.polygroups
        == first.polygroups[np.abs(first.positions[first.triangles][..., 2] - 1).max(axis=1) < 1e-9][0]
    )
    places = result.positions[result.triangles[top]]
    uv = result.uvs[0].elements[result.uvs[0].corners[top]]
    np.testing.assert_allclose(uv, places[..., :2], atol=1e-14)  # the cap's UVs are its metres


def test_trimming_opens_the_surface_and_takes_nothing_of_the_other():
    outside, inside = trim(cube(), cube(0.5)), trim(cube(), cube(0.5), keep="inside")
    assert surface_area(outside) == pytest.approx(6 - 3 / 4, abs=1e-14)
    assert surface_area(inside) == pytest.approx(3 / 4, abs=1e-14)
    assert len(open_edges(outside)) == len(open_edges(inside)) == 6
    assert set(outside.polygroups) == set(cube().polygroups)


def test_one_line_says_why_a_mesh_is_refused():
    with pytest.raises(GeometryError, match="the other mesh must be watertight and has 6 open edges"):
        union(cube(), trim(cube(), cube(0.5)))
    with pytest.raises(GeometryError, match="nothing is left: the two meshes do not overlap"):
        intersection(cube(), cube(5))
    big = extrude_polygon([(-1, -1), (2, -1), (2, 2), (-1, 2)])
    with pytest.raises(GeometryError, match="nothing is left: the other mesh covers this one"):
        difference(cube(), big)


def test_a_mesh_without_normals_leaves_corners_unset():
    result = union(replace(cube(), normals=None), cube(0.5))
    assert result.normals is not None
    of_first = result.polygroups < 6
    assert (result.normals.corners[of_first] == -1).all()
    assert (result.normals.corners[~of_first] >= 0).all()


def test_volumes_of_curved_shapes_add_up_in_any_pose():
    """|A ∪ B| + |A ∩ B| = |A| + |B| and |A - B| = |A| - |A ∩ B|; worst error 3e-16."""
    random = np.random.default_rng(0)
    for _ in range(4):
        shapes = [tool.apply(empty_mesh(), Context()) for tool in (Torus(), Sphere(radius=0.4, pivot="centre"))]
        first, second = (
            transformed(shape, pose(random.uniform(-0.3, 0.3, 3), random.uniform(0, 360, 3), 1.0)) for shape in shapes
        )
        both = volume(intersection(first, second))
        assert volume(union(first, second)) + both == pytest.approx(volume(first) + volume(second), abs=1e-13)
        result = difference(first, second)
        assert volume(result) == pytest.approx(volume(first) - both, abs=1e-13)
        # What is interpolated on a part of a sphere still points away from its centre.
        walls = result.polygroups > first.polygroups.max()
        centre = second.positions.mean(axis=0)
        inward = unit(centre - result.positions[result.triangles[walls]])
        normals = result.normals.elements[result.normals.corners[walls]]
        assert (normals * inward).sum(axis=2).min() > 0.99


@pytest.mark.parametrize(
    ("offset", "cubic", "square"),
    [((1, 0, 0), 2, 10), ((0.5, 0, 0), 1.5, 8), ((0, 0, 0), 1, 6), ((0.5, 0.5, 0), 1.75, 9.5), ((1, 1, 0), 2, 12)],
)
def test_faces_and_edges_that_lie_in_one_place(offset, cubic, square):
    result = union(cube(), transformed(cube(), translation(offset)))
    assert is_watertight(result)
    assert volume(result) == pytest.approx(cubic, abs=1e-14)
    assert surface_area(result) == pytest.approx(square, abs=1e-13)
