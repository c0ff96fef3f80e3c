"""Shapes by revolving, sweeping and lofting, against volumes and areas by hand."""

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.measures import face_normals, is_watertight, open_edges, surface_area, volume
from lab.geometry.mesh import DynamicMesh
from lab.geometry.operations.fill import fill_holes
from lab.geometry.operations.loft import loft
from lab.geometry.operations.polygons import circle
from lab.geometry.operations.revolve import revolve
from lab.geometry.operations.sweep import sweep

SQUARE = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
SLAB = [(2, 0), (3, 0), (3, 0.5), (2, 0.5)]


def solid(mesh: DynamicMesh, least: float = 0.5) -> float:
    """Return the volume of a mesh that is closed, faces outwards and has sensible normals and UVs."""
    assert is_watertight(mesh)
    assert mesh.normals is not None
    agree = (mesh.normals.elements[mesh.normals.corners] * face_normals(mesh)[:, None]).sum(axis=2)
    assert agree.min() > least
    assert np.isfinite(mesh.uvs[0].elements).all()
    assert (mesh.uvs[0].corners >= 0).all()
    return volume(mesh)


@pytest.mark.parametrize("angle", [360.0, 90.0])
def test_a_revolved_rectangle_is_a_ring_of_prisms(angle):
    mesh = revolve(SLAB, angle=angle, steps=12)
    wedge = np.radians(angle) / 12  # each part is a prism over a trapezoid: (R² - r²) sin(wedge) / 2
    assert solid(mesh) == pytest.approx(12 * (9 - 4) * np.sin(wedge) / 2 * 0.5, abs=1e-13)  # worst error 4e-15
    assert len(np.unique(mesh.polygroups)) == (4 if angle == 360 else 6)


def test_a_revolved_half_circle_is_a_ball_whose_volume_errs_by_the_square_of_the_steps():
    errors = []
    for steps in (16, 32):
        turn = np.linspace(-np.pi / 2, np.pi / 2, steps + 1)
        profile = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        profile[[0, -1], 0] = 0
        mesh = revolve(profile, closed=False, steps=2 * steps)
        errors.append(1 - solid(mesh) / (4 / 3 * np.pi))
        assert len(np.unique(mesh.polygroups)) == 1
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.02)  # 1.9 % and 0.48 %
    assert errors[1] < 0.01


def test_a_cone_has_one_tip():
    mesh = revolve([(0, 0), (1, 0), (0, 3)], steps=6)
    assert mesh.num_vertices == 8
    assert solid(mesh, 0.2) == pytest.approx(6 * np.sin(np.pi / 3) / 2, abs=1e-14)


def test_a_straight_sweep_is_a_prism_and_a_taper_a_frustum():
    assert solid(sweep(SQUARE, [(0, 0, 0), (0, 0, 1), (0, 0, 3)])) == pytest.approx(3, abs=1e-14)
    assert solid(sweep(SQUARE, [(1, 2, 3), (3, 3, 5)])) == pytest.approx(3, abs=1e-14)
    frustum = sweep(SQUARE, [(0, 0, 0), (6, 0, 0)], taper=0.5)
    assert solid(frustum) == pytest.approx(6 / 3 * (1 + 0.25 + 0.5), abs=1e-13)
    hollow = sweep(SQUARE, [(0, 0, 0), (0, 2, 0)], holes=[[(0, 0), (0.25, 0), (0.25, 0.25), (0, 0.25)]])
    assert solid(hollow) == pytest.approx(2 * (1 - 1 / 16), abs=1e-14)


def test_mitred_corners_keep_the_cross_section():
    """Of a profile around the path the volume is its area times the path's length, whatever the corners."""
    path = [(0, 0, 0), (4, 0, 0), (4, 5, 0), (4, 5, 6), (8, 8, 9)]
    mesh = sweep(SQUARE, path)
    length = np.linalg.norm(np.diff(np.array(path, dtype=float), axis=0), axis=1).sum()
    assert solid(mesh) == pytest.approx(length, abs=1e-12)


def test_a_closed_path_is_a_torus():
    steps = 24
    path = np.column_stack([circle(3.0, steps), np.zeros(steps)])
    mesh = sweep(0.5 * circle(1.0, 8), path, closed=True)
    area = 8 * np.sin(np.pi / 4) / 2 * 0.25
    assert solid(mesh) == pytest.approx(area * steps * 6 * np.sin(np.pi / steps), abs=1e-12)
    knot_turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    knot = np.stack(
        [
            (2 + np.cos(3 * knot_turn)) * np.cos(2 * knot_turn),
            (2 + np.cos(3 * knot_turn)) * np.sin(2 * knot_turn),
            np.sin(3 * knot_turn),
        ],
        axis=1,
    )
    length = np.linalg.norm(knot - np.roll(knot, 1, axis=0), axis=1).sum()
    square = 0.2 * np.array(SQUARE)
    # Opposite corners of a quad twist, so the volume is near the area times the length, not equal.
    assert solid(sweep(square, knot, closed=True)) == pytest.approx(
        0.04 * length, rel=0.02
    )  # 1.7 % with quads cut along one diagonal


def test_frames_do_not_turn_about_the_path():
    """On a straight path after any bend in a plane, what pointed out of the plane still does."""
    turn = np.linspace(0, np.pi / 2, 9)
    path = np.stack([np.sin(turn), 1 - np.cos(turn), np.zeros(9)], axis=1)
    mesh = sweep(SQUARE, 10 * path, up=(0, 0, 1))
    assert set(np.unique(mesh.positions[:, 2].round(12))) == {-0.5, 0.5}


def test_a_loft_between_squares_is_a_frustum_and_between_unlike_rings_closed():
    ring, high = (np.column_stack([np.array(SQUARE), np.full(4, z)]) for z in (0.0, 3.0))
    for rings in ([2 * ring, high], [(2 * ring)[::-1], high[::-1]]):
        assert solid(loft(rings)) == pytest.approx(3 / 3 * (4 + 1 + 2), abs=1e-13)
    mesh = loft([ring, np.column_stack([circle(1.0, 12), np.full(12, 2.0)])])
    assert 2 < solid(mesh) < 2 * np.pi
    assert len(open_edges(loft([ring, high], caps=False))) == 8


def test_points_on_straight_lines_stay_in_caps():
    """An ear clipper may leave them out, and the solid would not be closed."""
    mesh = revolve([(1, 0), (2, 0), (3, 0), (3, 1), (1, 1)], angle=90, steps=2)
    assert is_watertight(mesh)


def test_filling_holes_closes_a_tube():
    tube = revolve([(1, 2), (1, 0)][::-1], closed=False, steps=8)
    assert len(open_edges(tube)) == 16
    filled = fill_holes(tube)
    assert solid(filled) == pytest.approx(2 * 8 * np.sin(np.pi / 4) / 2, abs=1e-14)
    assert surface_area(filled) == pytest.approx(surface_area(tube) + 8 * np.sin(np.pi / 4), abs=1e-13)
    assert set(filled.polygroups) == {0, 1, 2}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: revolve([(-1, 0), (1, 0), (1, 1)]), "profile: r is below 0: -1"),
        (lambda: revolve(SLAB, angle=400), "angle: must be above 0 and at most 360 degrees, not 400"),
        (lambda: revolve(SLAB, steps=2), "steps: must be at least 3, not 2"),
        (lambda: sweep(SQUARE, [(0, 0, 0), (0, 0, 0)]), r"path\[1\]: is the same point as the one before"),
        (lambda: sweep(SQUARE, [(0, 0, 0), (1, 0, 0), (0, 0, 0)]), r"path\[1\]: the path turns back on itself"),
        (lambda: sweep(SQUARE, [(0, 0, 0), (1, 0, 0)], up=(2, 0, 0)), "up: must not point along the path's start"),
        (lambda: loft([[(0, 0, 0), (1, 0, 0), (0, 1, 0)]]), "outlines: must be at least 2, not 1"),
        (lambda: revolve([(0, 0), (1, np.nan), (1, 1)]), r"profile\[1\]: is not finite"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(GeometryError, match=message):
        make()
