"""Tools that rearrange: by hand-calculated volumes, areas and groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.copies import placed_copies
from lab.geometry.edits import AppendMesh, Delete, MirrorMesh, PaintTriangles, Regroup, Repeat, TransformMesh, Weld
from lab.geometry.joining import append
from lab.geometry.measures import bounds, face_normals, is_watertight, open_edges, surface_area, volume
from lab.geometry.mesh import DynamicMesh, Material, Overlay, empty_mesh
from lab.geometry.overlays import corner_values
from lab.geometry.paint import Paint, Pattern
from lab.geometry.primitives.box import Box
from lab.geometry.primitives.flat import FlatRectangle
from lab.geometry.primitives.round import Cylinder
from lab.geometry.primitives.sphere import Sphere
from lab.geometry.script import Script
from lab.geometry.selection import Selection
from lab.geometry.tool import Budget, Tool
from lab.geometry.transforms import pose, transformed

RED = Paint(name="red", color=(1, 0, 0))


def built(*steps: Tool, **options: Any) -> DynamicMesh:
    return Script(steps=steps, **options).run()


def test_appending_merges_materials_by_name_and_keeps_groups_apart() -> None:
    mesh = built(Box(material=RED), Box(at=(3, 0, 0)), AppendMesh(other=(Cylinder(material=RED),), at=(0, 5, 0)))
    assert [material.name for material in mesh.materials] == ["red", "rgb 0.7 0.7 0.7"]
    assert np.bincount(mesh.slots).tolist() == [12 + 96, 12]
    assert np.unique(mesh.polygroups).tolist() == list(range(6 + 6 + 3))
    assert mesh.normals is not None
    np.testing.assert_allclose(np.linalg.norm(mesh.normals.elements, axis=1), 1)


def test_materials_of_one_name_must_look_the_same() -> None:
    with pytest.raises(GeometryError, match=r"steps\[1\]\.box: there are two materials of the name 'red'"):
        built(Box(material=RED), Box(material=Paint(name="red", color=(0.9, 0, 0))))
    plain = Paint(name="tiles", pattern=Pattern())
    assert len(built(Box(material=plain), Box(material=plain)).materials) == 1
    with pytest.raises(GeometryError, match="two materials of the name 'tiles'"):
        built(Box(material=plain), Box(material=Paint(name="tiles", pattern=Pattern(kind="bricks"))))


def test_normals_follow_the_inverse_transpose() -> None:
    """On an ellipsoid the normal at (x, y, z) is along (x / a^2, y / b^2, z / c^2)."""
    mesh = built(Sphere(radius=1, pivot="centre", sides=8, rings=4), TransformMesh(scale=(1, 2, 5)))
    assert mesh.normals is not None
    corners = mesh.positions[mesh.triangles] / [1, 4, 25]
    expected = corners / np.linalg.norm(corners, axis=-1, keepdims=True)
    np.testing.assert_allclose(corner_values(mesh.normals), expected, atol=1e-12)


def test_a_mirrored_mesh_keeps_its_outside() -> None:
    mesh = built(Box(), TransformMesh(scale=(-1, 1, 2), rotate=(0, 30, 0), at=(1, 2, 3)))
    assert volume(mesh) == pytest.approx(2)
    assert mesh.normals is not None
    np.testing.assert_allclose(corner_values(mesh.normals)[:, 1], face_normals(mesh), atol=1e-12)


def test_rotations_are_about_the_worlds_axes_in_turn() -> None:
    """(1, 0, 0) by 90 degrees about y is (0, 0, -1), about z then stays; about x then y: (0, 1, 0) -> z -> x."""
    mesh = built(Box(size=(2, 4, 6), pivot="centre"), TransformMesh(rotate=(90, 90, 0), at=(0, 0, 1)))
    np.testing.assert_array_equal(np.ptp(bounds(mesh), axis=0), [4, 6, 2])
    point = built(FlatRectangle(at=(1, 0, 0)), TransformMesh(rotate=(0, 90, 0), about=(1, 0, 0)))
    np.testing.assert_allclose(point.positions[:, 0], 1, atol=1e-12)


def test_a_mirror_joins_the_halves() -> None:
    half = (Box(at=(0.5, 0, 0)), Delete(select=Selection(facing=(-1, 0, 0))))
    assert len(open_edges(built(*half))) == 4
    whole = built(*half, MirrorMesh())
    assert is_watertight(whole)
    assert volume(whole) == pytest.approx(2)
    assert len(open_edges(built(*half, MirrorMesh(weld=0)))) == 8


def test_copies_are_repeated_around_a_circle() -> None:
    wheel = Repeat(other=(Box(at=(3, 0, 0)),), count=8, rotate=(0, 0, 45), at=(0, 0, 1))
    mesh = built(wheel)
    assert volume(mesh) == pytest.approx(8)
    centres = mesh.positions.reshape(8, 8, 3).mean(1)
    np.testing.assert_allclose(np.linalg.norm(centres[:, :2], axis=1), 3)
    np.testing.assert_allclose(centres[:, 2], np.arange(8) + 0.5)
    with pytest.raises(GeometryError, match=r"steps\[0\]\.repeat: makes 96 triangles; budget.triangles allows 50"):
        built(wheel, budget=Budget(triangles=50))


def test_copies_are_what_appending_each_makes() -> None:
    """Mirrored, turned and scaled copies, and a part whose second UV layer and normals are not set everywhere."""
    part = built(Sphere(sides=6, rings=4), Box(at=(2, 0, 0), material=RED))
    assert part.normals is not None
    unset = part.normals.corners.copy()
    unset[:5] = -1
    part = replace(part, normals=Overlay(part.normals.elements, unset))
    step = pose((1, 2, 3), (10, 20, 30), (-1, 1.5, 0.5))
    places = np.stack([np.eye(4), step, step @ step])
    expected = empty_mesh()
    for place in places:
        expected = append(expected, transformed(part, place))
    copies = placed_copies(part, places)
    for name in ("triangles", "polygroups", "slots"):
        np.testing.assert_array_equal(getattr(copies, name), getattr(expected, name))
    np.testing.assert_allclose(copies.positions, expected.positions, atol=1e-12)
    assert copies.normals is not None
    assert expected.normals is not None
    np.testing.assert_allclose(copies.normals.elements, expected.normals.elements, atol=1e-12)
    np.testing.assert_array_equal(copies.normals.corners, expected.normals.corners)
    np.testing.assert_array_equal(copies.uvs[0].corners, expected.uvs[0].corners)
    with pytest.raises(GeometryError, match=r"repeat\.scale: copy 2 would be too large"):
        built(Repeat(other=(Box(),), count=40, scale=(1e4, 1e6, 1)))


def test_two_boxes_side_by_side_are_welded() -> None:
    """Their common face stays, twice: eight corners of sixteen are left over after twelve."""
    mesh = built(Box(), Box(at=(1, 0, 0)), Weld())
    assert mesh.num_vertices == 12
    assert surface_area(mesh) == pytest.approx(12)


def test_paint_takes_the_place_of_materials() -> None:
    mesh = built(Box(), PaintTriangles(material=RED, select=Selection(facing=(0, 0, 1))))
    assert np.bincount(mesh.slots).tolist() == [10, 2]
    everything = built(Box(), PaintTriangles(material=RED))
    assert everything.materials == (Material("red", (1, 0, 0), 0.8),)
    assert not everything.slots.any()


@pytest.mark.parametrize(
    ("regroup", "count"),
    [
        (Regroup(), 3 + 6),
        (Regroup(by="one"), 1),
        (Regroup(by="connected"), 2),
        (Regroup(by="triangle"), 96 + 12),
        (Regroup(by="material"), 2),
        (Regroup(angle=10), 2 + 24 + 6),
        (Regroup(by="one", select=Selection(materials=("red",))), 1 + 6),
    ],
)
def test_groups(regroup: Regroup, count: int) -> None:
    mesh = built(Cylinder(material=RED), Box(at=(2, 0, 0)), regroup)
    assert len(np.unique(mesh.polygroups)) == count


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        (Selection(polygroups=(0, 5)), 4),
        (Selection(polygroups=(0, 5), invert=True), 8),
        (Selection(box=((0, 0, 0.9), (9, 9, 9)), facing=(0, 0, 1), within=5), 0),
        (Selection(box=((-1, -1, 0.9), (9, 9, 9))), 2),
        (Selection(facing=(1, 1, 0), within=46), 4),
        (Selection(polygroups=(9,)), "select.polygroups[0]: there is no polygroup 9; there are 0, 1, 2, 3, 4, 5"),
        (Selection(materials=("reed",)), "select.materials[0]: there is no material 'reed'; did you mean 'red'?"),
    ],
)
def test_selections(selection: Selection, count: int | str) -> None:
    if isinstance(count, str) or not count:
        with pytest.raises(GeometryError) as caught:
            built(Box(material=RED), Delete(select=selection))
        assert str(caught.value) == f"steps[1].delete.{count or 'select: selects none of the 12 triangles'}"
    else:
        assert built(Box(material=RED), Delete(select=selection)).num_triangles == 12 - count


def test_patterns_have_two_colours() -> None:
    for kind, share in (("checker", 0.5), ("stripes", 0.5), ("bricks", 1 - 0.94 * 0.88)):
        texture = Pattern(kind=kind, color=(0, 0, 0), repeats=(3, 2), pixels=32).texture()  # type: ignore[arg-type]
        assert texture.shape == (64, 96, 3)
        assert (texture == 0).mean() == pytest.approx(share, abs=0.02)


def test_an_empty_mesh_can_be_transformed_and_joined() -> None:
    assert built(TransformMesh(at=(1, 0, 0)), Weld()).num_triangles == 0
    assert empty_mesh().materials
