from __future__ import annotations

import gc
import sys

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.render import embree, prepared
from lab.geometry.render.embree import InstanceTree, MeshTree
from lab.geometry.render.prepared import PreparedScene
from lab.geometry.render.scene import Instance, Scene
from tests.unit.geometry.render.solids import at, square

pytest.importorskip("embreex")
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
SPLIT = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


@pytest.fixture(scope="module")
def tree() -> InstanceTree:
    """Two squares, at z = 1 and, scaled by two, at z = 3; between them one that is empty."""
    mesh = MeshTree(SQUARE, SPLIT)
    return InstanceTree([mesh, None, mesh], np.stack([at(0, 0, 1), at(0, 0, 2), at(0, 0, 3, scale=2.0)]))


@pytest.mark.parametrize("count", [0, 1, 16, 21])
def test_hits_of_any_number_of_rays(tree: InstanceTree, count: int) -> None:
    generator = np.random.default_rng(count)
    x, y = generator.uniform(-0.5, 2.5, (2, count)).astype(np.float32)
    origins = np.stack([x, y, np.zeros(count, np.float32)])
    hits = tree.closest(origins, np.array([[0], [0], [0.5]], np.float32))
    small, large = (x > 0) & (x < 1) & (y > 0) & (y < 1), (x > 0) & (x < 2) & (y > 0) & (y < 2)
    np.testing.assert_array_equal(hits.instance, np.where(small, 0, np.where(large, 2, -1)))
    # Embree's kernels for AVX2 and for AVX-512 round differently: 6 or 5.9999995.
    distance = np.where(small, 2, np.where(large, 6, np.inf)).astype(np.float32)
    np.testing.assert_array_max_ulp(hits.distance, distance, maxulp=1)
    side = np.where(small, 1, 2)
    for ray in np.flatnonzero(large):
        corners = SQUARE[SPLIT[hits.triangle[ray]]] * side[ray]
        weights = np.array([1 - hits.u[ray] - hits.v[ray], hits.u[ray], hits.v[ray]])
        np.testing.assert_allclose((weights @ corners)[:2], [x[ray], y[ray]], atol=1e-6)
    np.testing.assert_array_equal(tree.blocked(origins, np.array([[0], [0], [1]], np.float32)), large)
    assert not tree.blocked(origins, np.array([[0], [0], [-1]], np.float32)).any()


def test_a_scene_without_triangles_is_empty() -> None:
    rays = np.ones((3, 5), np.float32)
    assert (InstanceTree([], np.zeros((0, 4, 4))).closest(rays, rays).instance == -1).all()


def test_what_belongs_to_a_mesh_goes_with_it() -> None:
    mesh = square()
    key = id(mesh)
    scene = PreparedScene(Scene((Instance(mesh, np.eye(4)), Instance(mesh, at(1, 0, 0)))))
    assert scene.table.shape == (prepared.COLUMNS, 2)  # once
    assert key in prepared._prepared._found
    del mesh
    gc.collect()
    assert key not in prepared._prepared._found
    # The scene still holds the trees that it needs.
    down = np.array([[0], [0], [-1]], np.float32)
    assert scene.tree.closest(-down, down).instance.tolist() in ([0], [1])


def test_a_meshs_own_tree_finds_what_an_instance_in_place_does() -> None:
    rays = np.random.default_rng(0).normal(size=(2, 3, 100)).astype(np.float32)
    mesh = MeshTree(SQUARE, SPLIT)
    own, placed = mesh.closest(*rays), InstanceTree([mesh], np.eye(4)[None]).closest(*rays)
    hit = own.triangle >= 0
    assert 0 < hit.sum() < 100
    assert (own.instance == -1).all()
    np.testing.assert_array_equal(own.triangle, placed.triangle)
    for name in ("distance", "u", "v"):
        np.testing.assert_array_equal(getattr(own, name)[hit], getattr(placed, name)[hit], err_msg=name)
    np.testing.assert_array_equal(mesh.blocked(*rays), hit)


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embreex", None)
    with pytest.raises(GeometryError, match=r"pip install 'lab\[geometry\]'"):
        embree._Library()
