"""UV projections: areas and seams by hand."""

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.measures import face_areas
from lab.geometry.mesh import DynamicMesh
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.operations.polygons import circle
from lab.geometry.operations.project_uv import project_uv
from lab.geometry.transforms import pose

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]


def uv_areas(mesh: DynamicMesh, layer: int = 0) -> np.ndarray:
    """Return signed areas of triangles in UV, positive where they are not mirrored."""
    a, b, c = np.moveaxis(mesh.uvs[layer].elements[mesh.uvs[layer].corners], 1, 0)
    one, other = b - a, c - a
    return (one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) / 2


def test_a_box_is_unfolded_without_stretch_or_mirroring():
    cube = extrude_polygon([(0, 0), (3, 0), (3, 2), (0, 2)])
    mesh = project_uv(cube, "box", size=0.5)
    np.testing.assert_allclose(uv_areas(mesh), face_areas(mesh) / 0.25, atol=1e-13)
    np.testing.assert_array_equal(mesh.triangles, cube.triangles)
    turned = project_uv(cube, "box", frame=pose((1, 2, 3), (0, 0, 90), 1.0))
    np.testing.assert_allclose(uv_areas(turned), face_areas(cube), atol=1e-13)


def test_a_plane_flattens_what_stands_on_it():
    mesh = project_uv(extrude_polygon(SQUARE), "planar", layer=1)
    areas = uv_areas(mesh, 1)
    np.testing.assert_allclose(areas[mesh.polygroups == 5], 0.5, atol=1e-15)
    np.testing.assert_allclose(areas[mesh.polygroups == 4], -0.5, atol=1e-15)
    np.testing.assert_allclose(areas[mesh.polygroups < 4], 0, atol=1e-15)
    assert len(mesh.uvs) == 2


def test_a_cylinder_is_unrolled_once_with_one_seam_at_its_back():
    drum = extrude_polygon(circle(2.0, 24), height=3)
    mesh = project_uv(drum, "cylindrical", size=1.5)
    side = mesh.polygroups == 0
    uv = mesh.uvs[0].elements[mesh.uvs[0].corners[side]]
    assert (uv[..., 0].min(), uv[..., 0].max()) == pytest.approx((0, 1), abs=1e-12)
    assert uv_areas(mesh)[side].sum() == pytest.approx(1 * 3 / 1.5, abs=1e-12)
    np.testing.assert_allclose(np.ptp(uv[..., 0], axis=1), 1 / 24, atol=1e-12)
    np.testing.assert_allclose(uv_areas(mesh)[~side], face_areas(mesh)[~side] / 1.5**2, atol=1e-12)
    elements = np.unique(mesh.uvs[0].corners[side])
    assert len(elements) == 2 * 25


def test_other_faces_keep_their_uvs():
    cube = extrude_polygon(SQUARE)
    mesh = project_uv(cube, "planar", size=10, chosen=cube.polygroups == 5)
    before, after = (one.uvs[0].elements[one.uvs[0].corners] for one in (cube, mesh))
    kept = cube.polygroups != 5
    np.testing.assert_array_equal(before[kept], after[kept])
    np.testing.assert_allclose(after[~kept], before[~kept] / 10)


def test_refusals():
    with pytest.raises(GeometryError, match="method: must be planar, box, cylindrical, not 'sphere'"):
        project_uv(extrude_polygon(SQUARE), "sphere")
    with pytest.raises(GeometryError, match="size: must be above 0, not 0"):
        project_uv(extrude_polygon(SQUARE), size=0)
