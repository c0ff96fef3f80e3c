"""Shapes against closed forms of their polyhedra: volume, area, closedness, normals, UV, groups."""

from __future__ import annotations

from dataclasses import replace
from math import cos, pi, radians, sin, sqrt
from typing import Any

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.measures import area_vectors, bounds, face_normals, is_watertight, open_edges, surface_area, volume
from lab.geometry.mesh import DynamicMesh, empty_mesh
from lab.geometry.overlays import corner_values
from lab.geometry.primitives.primitive import Primitive
from lab.geometry.tool import Budget, Context
from lab.geometry.words import PRIMITIVES, tool_class

NAMES = sorted(PRIMITIVES)
FLAT = {"disc", "rectangle", "rounded_rectangle"}


def made(word: str, **values: Any) -> DynamicMesh:
    mesh: DynamicMesh = tool_class(word)(**values).apply(empty_mesh(), Context())
    return mesh


def turned_volume(profile: list[tuple[float, float]], sides: int) -> float:
    """Return the volume of a polygon (distance, height) turned in n flat parts, by Pappus and the n-gon's area."""
    r, z = np.array(profile).T
    next_r, next_z = np.roll(r, -1), np.roll(z, -1)
    moment = ((r + next_r) * (r * next_z - next_r * z)).sum() / 6  # of the polygon's area about the axis
    return float(sides * sin(2 * pi / sides) * moment)


def half_circle(radius: float, parts: int, centre: float = 0.0) -> list[tuple[float, float]]:
    turns = np.radians(np.linspace(-90, 90, parts + 1))
    return [(radius * cos(turn), centre + radius * sin(turn)) for turn in turns]


RING = [(2 + 0.5 * cos(turn), 0.5 * sin(turn)) for turn in np.linspace(0, 2 * pi, 8, endpoint=False)]
PILL = half_circle(1, 8)[:5] + [(r, z + 3) for r, z in half_circle(1, 8)[4:]]
VOLUMES = [
    ("box", {"size": (2, 3, 4), "steps": (2, 3, 1)}, 24.0),
    ("sphere", {"radius": 1.5, "sides": 10, "rings": 6}, turned_volume(half_circle(1.5, 6), 10)),
    ("cylinder", {"radius": 2, "height": 3, "sides": 7, "steps": 2}, 3 * 7 / 2 * 4 * sin(2 * pi / 7)),
    ("cone", {"radius": 2, "height": 3, "sides": 8}, 8 / 2 * 4 * sin(pi / 4)),
    ("cone", {"radius": 2, "top_radius": 1, "height": 3, "sides": 8}, (4 + 2 + 1) * 4 * sin(pi / 4)),
    ("capsule", {"radius": 1, "length": 3, "sides": 12, "arc_steps": 4}, turned_volume(PILL, 12)),
    ("torus", {"radius": 2, "tube_radius": 0.5, "sides": 9, "tube_sides": 8}, turned_volume(RING, 9)),
    ("arrow", {"sides": 6}, 6 / 2 * sin(pi / 3) * (0.1**2 * 0.7 + 0.2**2 * 0.3 / 3)),
    ("stairs", {"num_steps": 5, "width": 2, "height": 0.25, "depth": 0.5}, 2 * 0.5 * 0.25 * 15),
    ("curved_stairs", {"num_steps": 4, "angle": 80, "height": 0.5}, (2.5**2 - 1) / 2 * sin(radians(20)) * 0.5 * 10),
]


@pytest.mark.parametrize(("word", "values", "expected"), VOLUMES)
def test_a_volume_is_that_of_the_polyhedron(word: str, values: dict[str, Any], expected: float) -> None:
    """The worst relative error is 6.7e-16 (2026-11-29)."""
    mesh = made(word, **values)
    assert is_watertight(mesh)
    assert volume(mesh) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("word", "values", "volume_of", "area_of"),
    [
        ("sphere", {"radius": 1, "sides": 128, "rings": 64}, 4 / 3 * pi, 4 * pi),
        ("box_sphere", {"radius": 1, "steps": 40}, 4 / 3 * pi, 4 * pi),
        ("cylinder", {"radius": 1, "height": 2, "sides": 128}, 2 * pi, 6 * pi),
        ("cone", {"radius": 1, "height": 2, "sides": 128}, 2 / 3 * pi, pi * (1 + sqrt(5))),
        ("capsule", {"radius": 1, "length": 2, "sides": 128, "arc_steps": 32}, 10 / 3 * pi, 8 * pi),
        ("torus", {"radius": 2, "tube_radius": 0.5, "sides": 128, "tube_sides": 64}, pi**2, 4 * pi**2),
    ],
)
def test_many_sides_approach_the_round_shape(
    word: str, values: dict[str, Any], volume_of: float, area_of: float
) -> None:
    """From below: the corners lie on the round shape. Worst: 2.0e-3, the volume of the torus (2026-11-29)."""
    mesh = made(word, **values)
    assert 0 < 1 - volume(mesh) / volume_of < 2.5e-3
    assert 0 < 1 - surface_area(mesh) / area_of < 2.5e-3


@pytest.mark.parametrize(
    ("word", "values", "area", "edges"),
    [
        ("rectangle", {"size": (2, 3), "steps": (2, 4)}, 6.0, 12),
        ("disc", {"radius": 2, "sides": 12, "rings": 3}, 6 * 4 * sin(pi / 6), 12),
        ("disc", {"radius": 2, "hole_radius": 1, "sides": 12}, 6 * 3 * sin(pi / 6), 24),
        ("disc", {"radius": 2, "angles": (30, 120), "sides": 3}, 1.5 * 4 * sin(pi / 6), 5),
        ("rounded_rectangle", {"size": (3, 2), "corner_radius": 0.5, "corner_steps": 2}, 5 + sin(pi / 4), 12),
        ("rounded_rectangle", {"size": (2, 2), "corner_radius": 1, "corner_steps": 2}, 4 * sin(pi / 4), 8),
    ],
)
def test_a_flat_shape_faces_up(word: str, values: dict[str, Any], area: float, edges: int) -> None:
    mesh = made(word, **values)
    np.testing.assert_allclose(area_vectors(mesh).sum(0), [0, 0, area], atol=1e-12)
    assert len(open_edges(mesh)) == edges


def test_the_underside_of_floating_stairs_is_a_slope() -> None:
    """The slope lies a thickness below the inner corners; the triangles between them and the treads are the rest."""
    mesh = made("floating_stairs", num_steps=4, width=2, height=0.5, depth=1, thickness=0.5)
    # Columns of the solid stairs, 0.5 * (1 + 2 + 3 + 4), less the triangle under each slope: 0 -> 0, 0 -> .5, ...
    assert volume(mesh) == pytest.approx(2 * (5 - (0 + 0.25 + 0.75 + 1.25)))
    assert is_watertight(mesh)


@pytest.mark.parametrize("clockwise", [False, True])
def test_spiral_stairs_turn_twice(clockwise: bool) -> None:
    values = {"num_steps": 24, "angle": 720, "thickness": 0.15, "inner_radius": 0.5, "clockwise": clockwise}
    mesh = made("spiral_stairs", **values)
    assert is_watertight(mesh)
    assert volume(mesh) > 0
    np.testing.assert_allclose(bounds(mesh)[:, 2], [0, 24 * 0.2])
    start = mesh.positions[mesh.positions[:, 2] < 0.25]
    assert (start[:, 1].min() < -1e-9) == clockwise  # the first steps lead to the left, or to the right


@pytest.mark.parametrize("word", NAMES)
def test_every_shape_is_sound(word: str) -> None:
    """Vertices are used, normals have length 1 and point outward, UV lie in 0..1, triangles have area."""
    mesh = made(word)
    assert mesh.normals is not None
    assert is_watertight(mesh) == (word not in FLAT)
    np.testing.assert_array_equal(np.unique(mesh.triangles), np.arange(mesh.num_vertices))
    normals = corner_values(mesh.normals)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-12)
    least = (normals * face_normals(mesh)[:, None]).sum(-1).min()
    assert least > (0.5 if word == "spiral_stairs" else 0.9)
    uvs = corner_values(mesh.uvs[0])
    assert uvs.min() > -1e-12
    assert uvs.max() < 1 + 1e-12
    assert (np.linalg.norm(area_vectors(mesh), axis=1) > 1e-9).all()


@pytest.mark.parametrize("word", NAMES)
def test_the_number_of_triangles_is_known_before(word: str) -> None:
    tool: Primitive = tool_class(word)()
    count = made(word).num_triangles
    assert count <= 2 * tool.num_quads() <= 2 * count + 200
    with pytest.raises(GeometryError, match=r"budget\.triangles allows 2$" if word != "rectangle" else "allows 1$"):
        tool.apply(empty_mesh(), Context(budget=Budget(triangles=1 if word == "rectangle" else 2)))


@pytest.mark.parametrize(("groups", "count"), [("shape", 1), ("face", 3), ("quad", 24 * 4)])
def test_polygroups_follow_shape_face_or_quad(groups: str, count: int) -> None:
    mesh = made("cylinder", groups=groups, steps=2)
    assert len(np.unique(mesh.polygroups)) == count


@pytest.mark.parametrize(("word", "count"), [("box", 6), ("sphere", 1), ("arrow", 4), ("stairs", 4 + 16), ("cone", 2)])
def test_faces_are_counted(word: str, count: int) -> None:
    assert len(np.unique(made(word).polygroups)) == count


@pytest.mark.parametrize(("pivot", "low"), [("base", 0), ("centre", -1), ("top", -2)])
def test_the_pivot_is_what_is_placed(pivot: str, low: float) -> None:
    mesh = made("cone", height=2, pivot=pivot, at=(5, 0, 10))
    np.testing.assert_allclose(bounds(mesh)[:, 2], [10 + low, 12 + low], atol=1e-12)
    turned = made("cone", height=2, pivot=pivot, rotate=(180, 0, 0), scale=(1, 1, 3))
    np.testing.assert_allclose(bounds(turned)[:, 2], [-3 * (2 + low), -3 * low], atol=1e-12)


def test_uv_in_metres() -> None:
    uvs = made("cylinder", radius=1, height=3, uv="metres").uvs[0].elements
    assert uvs.max(0).tolist() == pytest.approx([2 * pi, 3])
    assert made("box", size=(2, 3, 4), uv="metres").uvs[0].elements.max() == 4


def test_a_room_is_seen_from_within() -> None:
    mesh = made("box", size=(2, 2, 2), inward=True)
    assert volume(mesh) == pytest.approx(-8)
    assert mesh.normals is not None
    np.testing.assert_allclose(corner_values(mesh.normals)[:, 0], face_normals(mesh), atol=1e-12)


def test_a_torus_is_smooth_where_its_grid_closes() -> None:
    mesh = made("torus", sides=8, tube_sides=6)
    assert mesh.normals is not None
    assert len(mesh.normals.elements) == mesh.num_vertices == 48
    assert len(mesh.uvs[0].elements) == 9 * 7


@pytest.mark.parametrize(
    ("word", "values", "message"),
    [
        ("torus", {"tube_radius": 0.5}, "tube_radius: must be below radius, 0.5, not 0.5"),
        ("disc", {"hole_radius": 1}, "hole_radius: must be below radius"),
        ("disc", {"angles": (90, 0)}, "angles: must end after they begin"),
        ("arrow", {"head_radius": 0.1}, "head_radius: must be above shaft_radius, 0.1"),
        ("rounded_rectangle", {"corner_radius": 0.6}, "corner_radius: must be at most half of the shorter side, 0.5"),
        ("spiral_stairs", {"num_steps": 2}, "angle: turns each of 2 steps by 180 degrees or more"),
        ("box", {"pivot": "center"}, "pivot: must be base, centre, top, not 'center'; did you mean 'centre'?"),
        ("box", {"steps": (1, 1)}, "steps: must be 3 values, not 2"),
        ("box", {"size": (1, 1, float("nan"))}, r"size\[2\]: must be a finite number, not nan"),
        (
            "box",
            {"material": {"colour": (1, 1, 1)}},
            r"material\.colour: there is no such parameter; did you mean",
        ),
        ("sphere", {"sides": 2.5}, "sides: must be a whole number, not 2.5"),
        ("box", {"inward": 1}, "inward: must be true or false, not 1"),
    ],
)
def test_parameters_that_cannot_be(word: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        tool_class(word)(**values)
    with pytest.raises(GeometryError, match="must not be 0 along any axis"):
        replace(tool_class(word)(), scale=(1, 0, 1))
