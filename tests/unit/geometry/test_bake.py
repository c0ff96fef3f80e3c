from dataclasses import replace

import numpy as np
import pytest

from lab.geometry.bake import bake
from lab.geometry.mesh import UNSET, DynamicMesh, Overlay

CUBE = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]


def cube() -> DynamicMesh:
    triangles = np.array([face for a, b, c, d in QUADS for face in ((a, b, c), (a, c, d))])
    corners = np.array([face for side in range(6) for face in ((0, 1, 2), (0, 2, 3))])
    return DynamicMesh(
        CUBE,
        triangles,
        np.repeat(np.arange(6), 2),
        np.zeros(12, np.int64),
        uvs=(Overlay(np.array([[0.0, 0.0], [1, 0], [1, 1], [0, 1]]), corners),),
    )


def test_a_flat_cube_has_four_vertices_on_each_side():
    baked = bake(cube())
    assert baked.positions.shape == (24, 3)
    points = baked.positions[baked.triangles]
    np.testing.assert_array_equal(points, CUBE[cube().triangles])
    outward = points.mean(1) - 0.5
    corner_normals = baked.normals[baked.triangles]
    assert (np.einsum("fcd,fd->fc", corner_normals, outward) > 0.4).all()
    assert set(map(tuple, np.abs(baked.normals).round(6))) == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_tangents_of_a_cube_are_the_edges_along_which_u_grows():
    baked = bake(cube())
    for triangle in baked.triangles:
        positions, uvs = baked.positions[triangle], baked.uvs[triangle]
        # Solve edge = du * tangent + dv * bitangent, by hand for each triangle.
        tangent, bitangent = np.linalg.solve((uvs[1:] - uvs[0]).astype(float), (positions[1:] - positions[0]))
        np.testing.assert_allclose(baked.tangents[triangle, :3], np.broadcast_to(tangent, (3, 3)), atol=1e-6)
        made = np.cross(baked.normals[triangle], baked.tangents[triangle, :3]) * baked.tangents[triangle, 3:]
        np.testing.assert_allclose(made, np.broadcast_to(bitangent, (3, 3)), atol=1e-6)


def test_mirrored_uv_have_the_other_sign_and_split_the_vertices():
    mesh = cube()
    mirrored = mesh.uvs[0].elements * (-1, 1)
    baked = bake(replace(mesh, uvs=(replace(mesh.uvs[0], elements=mirrored),)))
    np.testing.assert_array_equal(baked.tangents[:, 3], -bake(mesh).tangents[:, 3])


def test_tangents_of_a_globe_point_east() -> None:
    """A sphere with its own normals, u the longitude and v the latitude; at the poles there is no east."""
    steps = 24
    latitude, longitude = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, steps + 1), np.linspace(0, 2 * np.pi, 2 * steps + 1), indexing="ij"
    )
    ring = np.cos(latitude)
    points = np.stack([ring * np.cos(longitude), ring * np.sin(longitude), np.sin(latitude)], axis=-1).reshape(-1, 3)
    uvs = np.stack([longitude / (2 * np.pi), latitude / np.pi + 0.5], axis=-1).reshape(-1, 2)
    number = np.arange(len(points)).reshape(steps + 1, -1)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    triangles = np.stack([a, b, c, a, c, d], axis=-1).reshape(-1, 3)
    zeros = np.zeros(len(triangles), np.int64)
    overlays = {"normals": Overlay(points, triangles), "uvs": (Overlay(uvs, triangles),)}
    baked = bake(DynamicMesh(points, triangles, zeros, zeros, **overlays))
    away = np.abs(baked.positions[:, 2]) < 0.98
    angle = baked.uvs[away, 0] * 2 * np.pi
    east = np.stack([-np.sin(angle), np.cos(angle), np.zeros_like(angle)], axis=1)
    # Worst error 4.3e-7, but 0.061 at the seam: vertices there have triangles on one side only, half a sector off.
    np.testing.assert_allclose(baked.tangents[away, :3], east, atol=0.07)
    inner = (baked.uvs[away, 0] > 0.01) & (baked.uvs[away, 0] < 0.99)
    np.testing.assert_allclose(baked.tangents[away, :3][inner], east[inner], atol=1e-5)
    assert (baked.tangents[:, 3] == 1).all()


def test_smooth_normals_share_vertices():
    mesh = cube()
    elements = (CUBE - 0.5) * 7
    baked = bake(replace(mesh, normals=Overlay(elements, mesh.triangles), uvs=()))
    assert len(baked.positions) == 8
    np.testing.assert_allclose(baked.normals, np.sign(baked.positions - 0.5) / np.sqrt(3), atol=1e-6)
    assert np.abs((baked.tangents[:, :3] * baked.normals).sum(1)).max() < 1e-6


def test_unset_corners_are_flat_and_have_no_uv():
    mesh = cube()
    nothing = np.full((12, 3), UNSET)
    overlay = Overlay(np.zeros((0, 3)), nothing)
    baked = bake(replace(mesh, normals=overlay, uvs=(Overlay(np.zeros((0, 2)), nothing),)))
    plain = bake(replace(mesh, uvs=()))
    np.testing.assert_array_equal(baked.positions, plain.positions)
    np.testing.assert_array_equal(baked.normals, plain.normals)
    assert not baked.uvs.any()


def test_arrays_are_read_only_and_an_empty_mesh_bakes():
    baked = bake(cube())
    with pytest.raises(ValueError, match="read-only"):
        baked.positions[0] = 1
    none = np.zeros((0, 3))
    empty = bake(DynamicMesh(none, none.astype(np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)))
    assert empty.positions.shape == (0, 3)
    assert empty.tangents.shape == (0, 4)
