"""Deformations against closed forms: arcs, helices, frusta; noise that is one function of the place."""

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.measures import is_watertight, volume
from lab.geometry.mesh import DynamicMesh
from lab.geometry.operations.deform import bend, taper, twist
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.operations.noise import gradient_noise, noise
from lab.geometry.operations.normals import refresh_normals
from lab.geometry.operations.polygons import circle
from lab.geometry.operations.subdivide import subdivide

SQUARE = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]


@pytest.fixture(scope="module")
def rod() -> DynamicMesh:
    return extrude_polygon(0.2 * np.array(SQUARE), height=2, steps=64)


def test_a_bend_is_an_arc_of_the_same_length_and_volume(rod):
    mesh = bend(rod, 90)
    radius = 2 / (np.pi / 2)
    from_centre = np.hypot(mesh.positions[:, 0] - radius, mesh.positions[:, 2])
    np.testing.assert_allclose(np.sort(np.unique(from_centre.round(9))), radius + np.array([-0.1, 0.1]), atol=1e-9)
    assert volume(mesh) == pytest.approx(2 * 0.04, rel=2e-4)  # Pappus; 64 chords: 1 - sin(t) / t = 1.0e-4
    end = mesh.positions[np.isclose(rod.positions[:, 2], 2)]
    np.testing.assert_allclose(end.mean(axis=0), [radius, 0, radius], atol=1e-12)
    assert is_watertight(mesh)


def test_beyond_the_extent_all_goes_on_straight(rod):
    mesh = bend(rod, 90, towards=90, extent=(0.5, 1.0))
    radius = 0.5 / (np.pi / 2)
    end = mesh.positions[np.isclose(rod.positions[:, 2], 2)]
    np.testing.assert_allclose(end.mean(axis=0), [0, radius + 1, 0.5 + radius], atol=1e-12)
    start = rod.positions[:, 2] < 0.5
    np.testing.assert_allclose(mesh.positions[start], rod.positions[start], atol=1e-15)


def test_a_twist_turns_the_end_and_keeps_the_volume(rod):
    mesh = twist(rod, 120)
    assert volume(mesh) == pytest.approx(0.08, rel=0.02)  # 1.1 %: quads are cut along one diagonal
    upper = np.isclose(rod.positions[:, 2], 2)
    turn = np.exp(2j * np.pi / 3)
    before, after = (points[upper] @ [1, 1j, 0] for points in (rod.positions, mesh.positions))
    np.testing.assert_allclose(after, before * turn, atol=1e-14)


def test_a_taper_is_a_frustum_and_a_flare_keeps_both_ends(rod):
    assert volume(taper(rod, 0.5)) == pytest.approx(2 / 3 * 0.04 * (1 + 0.25 + 0.5), abs=1e-14)
    mesh = taper(rod, 3.0, shape="flare")
    widths = [np.abs(mesh.positions[np.isclose(mesh.positions[:, 2], z), 0]).max() for z in (0, 1, 2)]
    assert widths == pytest.approx([0.1, 0.3, 0.1], abs=1e-14)
    sideways = extrude_polygon(SQUARE, height=1)
    assert volume(taper(sideways, 0.5, axis="x")) == pytest.approx(1 / 3 * (1 + 0.25 + 0.5), abs=1e-14)


def test_normals_turn_with_the_surface(rod):
    drum = subdivide(extrude_polygon(circle(0.3, 48), height=2, steps=32), 1)
    for mesh in (bend(drum, 60), twist(drum, 45), taper(drum, 0.5)):
        exact, computed = mesh.normals, refresh_normals(mesh).normals
        np.testing.assert_array_equal(exact.corners, computed.corners)
        assert (exact.elements * computed.elements).sum(axis=1).min() > 0.99
        np.testing.assert_allclose(np.linalg.norm(exact.elements, axis=1), 1, atol=1e-12)
    cone = taper(drum, 0.5)  # the side's slope is 0.15 / 2
    side = cone.normals.elements[cone.normals.corners[cone.polygroups == 0]]
    np.testing.assert_allclose(side[..., 2], 0.075 / np.hypot(1, 0.075), atol=2e-4)


def test_noise_is_a_function_of_the_place_and_the_seed():
    table = np.random.default_rng(0).permutation(256)
    lattice = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(gradient_noise(lattice, table), 0, atol=1e-15)
    points = np.random.default_rng(1).uniform(-20, 20, (4000, 3))
    values = gradient_noise(points, table)
    assert np.abs(values).max() <= 1.04  # Perlin's bound of one octave
    assert abs(values.mean()) < 0.02
    step = 1e-4
    assert np.abs(gradient_noise(points + step, table) - values).max() < 20 * step  # continuous
    slab = subdivide(extrude_polygon(np.array(SQUARE) * 4), 3)
    rough, again = noise(slab, 0.1, 1.3, 3), noise(slab, 0.1, 1.3, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(rough.positions, again.positions)
    assert not np.array_equal(rough.positions, noise(slab, 0.1, 1.3, 3, np.random.default_rng(1)).positions)
    assert is_watertight(rough)
    finer = noise(subdivide(slab, 1), 0.1, 1.3, 3)
    flat = (slab.positions[:, 2] == 1) & (np.abs(slab.positions[:, :2]) < 1.9).all(axis=1)
    np.testing.assert_allclose(finer.positions[: slab.num_vertices][flat], rough.positions[flat], atol=1e-12)


def test_refusals(rod):
    with pytest.raises(GeometryError, match="axis: must be x, y or z, not 'w'"):
        bend(rod, 10, axis="w")
    with pytest.raises(GeometryError, match="extent: has no length: from 1 to 1"):
        twist(rod, 10, extent=(1, 1))
    with pytest.raises(GeometryError, match=r"factor: must be at least 0\.001, not 0"):
        taper(rod, 0)
