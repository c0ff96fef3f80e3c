"""Areas, volumes and open edges by hand, and as trimesh has them."""

from __future__ import annotations

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.joining import append, with_triangles
from lab.geometry.measures import bounds, is_watertight, open_edges, require_watertight, surface_area, volume
from lab.geometry.mesh import DynamicMesh, empty_mesh
from lab.geometry.primitives.box import Box
from lab.geometry.tool import Context
from lab.geometry.transforms import inside_out


@pytest.fixture(scope="module")
def box() -> DynamicMesh:
    return Box(size=(2, 3, 4), steps=(2, 1, 3)).apply(empty_mesh(), Context())


def test_a_box_is_measured_by_hand(box: DynamicMesh) -> None:
    assert volume(box) == pytest.approx(24, abs=1e-12)
    assert volume(inside_out(box)) == pytest.approx(-24, abs=1e-12)
    assert surface_area(box) == pytest.approx(2 * (6 + 8 + 12), abs=1e-12)
    np.testing.assert_array_equal(bounds(box), [[-1, -1.5, 0], [1, 1.5, 4]])
    assert is_watertight(box)


def test_open_edges_are_counted(box: DynamicMesh) -> None:
    without_one = with_triangles(box, np.arange(1, box.num_triangles))
    assert len(open_edges(without_one)) == 3
    with pytest.raises(GeometryError, match="must be watertight and has 3 open edges"):
        require_watertight(without_one)
    assert not is_watertight(empty_mesh())
    assert is_watertight(append(box, box))


def test_a_triangle_that_faces_the_other_way_opens_its_edges(box: DynamicMesh) -> None:
    turned = box.triangles.copy()
    turned[0] = turned[0, ::-1]
    wrong = DynamicMesh(box.positions, turned, box.polygroups, box.slots)
    assert len(open_edges(wrong)) == 6
