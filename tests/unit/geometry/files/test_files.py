"""Files of meshes: written and read back, by lab and by trimesh; what trimesh writes is read; damage is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.bake import bake
from lab.geometry.files import read_mesh, write_mesh, write_scene
from lab.geometry.loading import LoadFile
from lab.geometry.measures import is_watertight, surface_area, volume
from lab.geometry.mesh import DynamicMesh
from lab.geometry.overlays import corner_values
from lab.geometry.paint import Paint, Pattern
from lab.geometry.primitives.box import Box
from lab.geometry.primitives.round import Cylinder
from lab.geometry.render.portrait import portrait
from lab.geometry.render.scene import Instance
from lab.geometry.script import Script
from lab.geometry.static_mesh import StaticMesh
from lab.geometry.transforms import pose

ENDINGS = ("glb", "ply", "obj", "stl")
trimesh: Any = pytest.importorskip("trimesh")


@pytest.fixture(scope="module")
def mesh() -> DynamicMesh:
    tiles = Paint(name="tiles", color=(0.123456, 0.5, 1.0), roughness=0.25, pattern=Pattern(color=(0, 0, 0.2)))
    red = Paint(name="rusty red", color=(0.8, 0.1, 0.05))
    return Script(
        steps=(
            Box(size=(1, 2, 0.3), material=tiles),
            Cylinder(at=(3, 0, 0.1), sides=7, material=red),
            Box(at=(9, 0, 0)),
        )
    ).run()


@pytest.fixture(scope="module")
def static(mesh: DynamicMesh) -> StaticMesh:
    return bake(mesh)


def corners(mesh: DynamicMesh) -> np.ndarray:
    return mesh.positions[mesh.triangles]


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_is_read_back(mesh: DynamicMesh, static: StaticMesh, ending: str, tmp_path: Path) -> None:
    """Positions are those of the static mesh, float32, bit by bit; v of GLB is off by 3e-8 at most (1 - v)."""
    path = tmp_path / f"part.{ending}"
    write_mesh(static, path)
    loaded = read_mesh(path)
    again = loaded.mesh
    assert loaded.notes == ()
    order = np.argsort(static.slots, kind="stable") if ending in ("glb", "obj") else np.arange(len(static.slots))
    np.testing.assert_array_equal(corners(again).astype(np.float32), static.positions[static.triangles][order])
    assert is_watertight(again)
    assert volume(again) == pytest.approx(volume(mesh), rel=1e-6)
    assert again.num_vertices == mesh.num_vertices
    if ending == "stl":
        assert again.normals is None
        return
    assert again.normals is not None
    np.testing.assert_allclose(corner_values(again.normals), static.normals[static.triangles][order], atol=1e-7)
    np.testing.assert_allclose(corner_values(again.uvs[0]), static.uvs[static.triangles][order], atol=3e-8)
    np.testing.assert_array_equal(again.slots, static.slots[order])
    for read, written in zip(again.materials, static.materials, strict=True):
        assert read == written
        texture = None if ending == "ply" else written.texture
        assert (read.texture is None) == (texture is None)
        if texture is not None:
            np.testing.assert_array_equal(read.texture, texture)


@pytest.mark.parametrize("ending", ENDINGS)
def test_trimesh_reads_what_is_written(mesh: DynamicMesh, static: StaticMesh, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"part.{ending}"
    write_mesh(static, path)
    scene = trimesh.load_scene(path)
    whole = scene.to_geometry()
    assert len(whole.faces) == mesh.num_triangles
    assert whole.volume == pytest.approx(volume(mesh), rel=1e-6)
    assert whole.area == pytest.approx(surface_area(mesh), rel=1e-6)
    up = 1 if ending == "glb" else 2
    np.testing.assert_allclose(whole.bounds[:, up], [0, 1.1], atol=1e-6)
    if ending in ("glb", "obj"):
        tiles = next(part for part in scene.geometry.values() if part.visual.material.name == "tiles")
        assert tiles.volume == pytest.approx(0.6, rel=1e-6)
        uvs = np.sort(np.unique(tiles.visual.uv[tiles.faces].reshape(-1, 2).round(6), axis=0), axis=0)
        np.testing.assert_allclose(uvs, [[0, 0], [0, 0], [1, 1], [1, 1]], atol=1e-6)
        picture = tiles.visual.material.baseColorTexture if ending == "glb" else tiles.visual.material.image
        assert picture.size == (64, 64)
    if ending == "glb":
        assert tiles.visual.material.roughnessFactor == 0.25
        normals = tiles.vertex_normals[tiles.faces.reshape(-1)]
        np.testing.assert_allclose(np.abs(normals).max(1), 1, atol=1e-6)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_trimesh_writes_is_read(ending: str, tmp_path: Path) -> None:
    shape = trimesh.creation.capsule(height=2.0, radius=0.5, count=[8, 8])
    shape.visual = trimesh.visual.TextureVisuals(uv=np.column_stack([shape.vertices[:, 0], shape.vertices[:, 2]]))
    scene = trimesh.Scene()
    scene.add_geometry(shape, transform=trimesh.transformations.translation_matrix([1, 2, 3]))
    path = tmp_path / f"capsule.{ending}"
    (scene if ending == "glb" else scene.to_geometry()).export(path)
    again = read_mesh(path).mesh
    assert again.num_triangles == len(shape.faces)
    assert is_watertight(again)
    assert volume(again) == pytest.approx(shape.volume, rel=1e-6)
    low = again.positions.min(0)
    expected = shape.bounds[0] + [1, 2, 3]
    np.testing.assert_allclose(
        low, [expected[0], -(shape.bounds[1][2] + 3), expected[1]] if ending == "glb" else expected, atol=1e-6
    )
    if ending in ("glb", "obj"):
        points, uvs = corners(again), corner_values(again.uvs[0])
        inner = points - [1, -3, 2] if ending == "glb" else points - [1, 2, 3]
        height = -inner[..., 1] if ending == "glb" else inner[..., 2]
        np.testing.assert_allclose(uvs, np.stack([inner[..., 0], height], -1), atol=1e-5)


def test_levels_and_convex_parts_stand_beside_the_scene(static: StaticMesh, tmp_path: Path) -> None:
    part = (static.positions[:4], np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32))
    write_mesh(dataclasses.replace(static, levels=(static,), collision=(part,)), tmp_path / "car.glb")
    content = (tmp_path / "car.glb").read_bytes()
    description = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    assert [node["name"] for node in description["nodes"]] == ["car", "car_LOD1", "UCX_car_00"]
    assert description["scenes"] == [{"nodes": [0]}]
    assert read_mesh(tmp_path / "car.glb").mesh.num_triangles == len(static.triangles)


def test_a_scene_has_a_node_for_each_instance(static: StaticMesh, mesh: DynamicMesh, tmp_path: Path) -> None:
    turned = pose((5, 1, 2), (0, 0, 90), (2, 2, 2))
    instances = [Instance(static, np.eye(4)), Instance(static, turned, tint=(0.5, 1, 1)), Instance(static, turned)]
    write_scene(instances, tmp_path / "street.glb", ["car", "car red", "car 2"])
    again = read_mesh(tmp_path / "street.glb").mesh
    assert volume(again) == pytest.approx((1 + 8 + 8) * volume(mesh), rel=1e-6)
    scene = trimesh.load_scene(tmp_path / "street.glb")
    assert {"car", "car red", "car 2"} <= set(scene.graph.nodes)
    expected = np.vstack([static.positions, static.positions @ turned[:3, :3].T + turned[:3, 3]])
    np.testing.assert_allclose([again.positions.min(0), again.positions.max(0)], [expected.min(0), expected.max(0)])
    colors = {material.name: material.color for material in again.materials}
    assert colors["rusty red 2"] == pytest.approx((0.4, 0.1, 0.05))
    with pytest.raises(GeometryError, match="3 instances have 1 names"):
        write_scene(instances, tmp_path / "street.glb", ["car"])


def test_polygons_are_cut_and_concave_ones_refused(tmp_path: Path) -> None:
    text = "v 0 0 0\nv 2 0 0\nv 2 2 0\nv 1 0.5 0\nv 0 2 0\nvt 0 0\nf 1/1 2/1 3/1 5/1\ng two\nf -5 -4 -1\n"
    (tmp_path / "a.obj").write_text(text + "l 1 2\nvp 1\n")
    loaded = read_mesh(tmp_path / "a.obj")
    assert surface_area(loaded.mesh) == pytest.approx(6)
    assert loaded.mesh.polygroups.tolist() == [0, 0, 0]
    assert loaded.notes == ("1 lines 'l' are left out", "1 lines 'vp' are left out")
    assert (loaded.mesh.uvs[0].corners == -1).sum() == 3
    (tmp_path / "b.obj").write_text("v 0 0 0\nv 2 0 0\nv 2 2 0\nv 1 0.5 0\nv 0 2 0\nf 1 2 3 4 5\n")
    with pytest.raises(GeometryError, match=r"b\.obj: face 0 of 5 corners is not convex; cut it into triangles"):
        read_mesh(tmp_path / "b.obj")
    ply = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    ply += "property uchar red\nelement face 2\nproperty list uchar int vertex_index\nend_header\n"
    ply += "0 0 0 1\n1 0 0 2\n1 1 0 3\n0 1 0 4\n4 0 1 2 3\n3 0 1 2\n"
    (tmp_path / "a.ply").write_text(ply)
    loaded = read_mesh(tmp_path / "a.ply")
    assert loaded.mesh.num_triangles == 3
    assert loaded.notes == ("the property 'red' of vertices is left out",)


def test_a_text_stl_is_read(tmp_path: Path) -> None:
    shape = trimesh.creation.box()
    (tmp_path / "box.stl").write_text(trimesh.exchange.stl.export_stl_ascii(shape))
    assert volume(read_mesh(tmp_path / "box.stl").mesh) == pytest.approx(1)


def glb_with(static: StaticMesh, path: Path, change: Any) -> None:
    """Write a GLB whose description was changed."""
    write_mesh(static, path)
    content = path.read_bytes()
    size = int.from_bytes(content[12:16], "little")
    description = json.loads(content[20 : 20 + size])
    change(description)
    text = json.dumps(description).encode()
    text += b" " * (-len(text) % 4)
    rest = content[20 + size :]
    head = b"glTF" + np.array([2, 20 + len(text) + len(rest), len(text), 0x4E4F534A], "<u4").tobytes()
    path.write_bytes(head + text + rest)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("extensionsRequired",), ["KHR_draco_mesh_compression"], "needs the extensions KHR_draco_mesh_compression"),
        (("accessors", 0, "count"), 10**9, "an accessor of 1000000000 values reaches beyond its"),
        (("accessors", 0, "bufferView"), 99, "its description is damaged: IndexError 99 is not among"),
        (("accessors", 0, "type"), "VEC2", "an accessor is VEC2 where VEC3 must be"),
        (("accessors", 0, "sparse"), {}, "has a sparse accessor"),
        (("bufferViews", 0, "byteLength"), 10**9, "a view reaches beyond the"),
        (("bufferViews", 0, "byteOffset"), -4, "a view reaches beyond the"),
        (("buffers", 0, "uri"), "../secret.bin", "keeps numbers in a second file, '../secret.bin'"),
        (("meshes", 0, "primitives", 0, "mode"), 1, "a primitive of mode 1 is no list of triangles"),
        (("nodes", 0, "children"), [0], "its nodes hang in a circle"),
        (("nodes", 0, "scale"), [1, 0, 1], "its matrix does not invert"),
        (("nodes", 0, "mesh"), "x", "its description is damaged: IndexError 'x' is not among"),
        (("meshes",), None, "its description is damaged: TypeError"),
        (("scenes", 0, "nodes"), [], "its scene shows no triangles"),
        (("images", 0), {"uri": "a.png"}, "keeps a texture in a second file, 'a.png'"),
        (("images", 0, "bufferView"), 0, "a texture: is no PNG or JPEG"),
    ],
)
def test_a_glb_that_cannot_be_used_is_refused(
    static: StaticMesh, path: tuple[Any, ...], value: Any, message: str, tmp_path: Path
) -> None:
    def change(description: Any) -> None:
        for part in path[:-1]:
            description = description[part]
        description[path[-1]] = value

    glb_with(static, tmp_path / "a.glb", change)
    with pytest.raises(GeometryError) as caught:
        read_mesh(tmp_path / "a.glb")
    assert message in str(caught.value)


def test_nodes_place_their_meshes(static: StaticMesh, mesh: DynamicMesh, tmp_path: Path) -> None:
    """A mirrored node keeps its outside; a child stands in its parent's frame (checked against trimesh)."""

    def change(description: dict[str, Any]) -> None:
        half = float(np.sqrt(0.5))
        parent = {"rotation": [0, half, 0, half], "translation": [1, 2, 3], "children": [0]}
        description["nodes"][0]["scale"] = [-1, 2, 1]
        description["nodes"].append(parent)
        description["scenes"][0]["nodes"] = [1]

    glb_with(static, tmp_path / "a.glb", change)
    again = read_mesh(tmp_path / "a.glb").mesh
    assert volume(again) == pytest.approx(2 * volume(mesh), rel=1e-6)
    low, high = trimesh.load_scene(tmp_path / "a.glb").bounds
    expected = np.array([[low[0], -high[2], low[1]], [high[0], -low[2], high[1]]])
    np.testing.assert_allclose([again.positions.min(0), again.positions.max(0)], expected, atol=1e-5)
    assert again.normals is not None
    points = corners(again)
    faces = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    assert (corner_values(again.normals) * faces[:, None]).sum(-1).min() > 0


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_breaks_off_is_refused(static: StaticMesh, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"part.{ending}"
    write_mesh(static, path)
    content = path.read_bytes()
    for size in (0, 3, 30, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:size])
        if ending == "obj" and size > 30:
            continue  # its lines say nothing of how many there are
        with pytest.raises(GeometryError, match=rf"part\.{ending}: "):
            read_mesh(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.obj", "v 0 0\nf 1 1 1", "a.obj line 1: 'v' has 3 numbers, not 2"),
        ("a.obj", "v 0 0 x", "a.obj line 1: '0 0 x' are no numbers"),
        ("a.obj", "v 0 0 0\nf 1 2 3", "a.obj line 2: '2' is no corner of the 1 'v' so far"),
        ("a.obj", "v 0 0 0\nf 0 1 1", "a.obj line 2: '0' is no corner of the 1 'v' so far"),
        ("a.obj", "v 0 0 0\nf -2 1 1", "a.obj line 2: '-2' is no corner of the 1 'v' so far"),
        ("a.obj", "v 0 0 0\nf 1 1", "face 0 has 2 corners"),
        ("a.obj", "v 0 0 0\nf", "face 0 has 0 corners"),
        ("a.obj", "v 0 0 0\nvn 0 0 inf\nf 1//1 1//1 1//1", "a normal is not finite"),
        ("a.obj", "v 0 0 nan\nf 1 1 1", "a corner of triangle 0 is at [0.0, 0.0, nan]: not finite"),
        ("a.obj", "v 0 0 0", "it has no line 'f'"),
        ("a.ply", "ply\nformat ascii 2.0\nend_header\n", "a line of its header is not understood: 'format ascii 2.0'"),
        ("a.ply", "ply\nformat ascii 1.0\nend_header\n", "has no faces"),
        ("a.stl", "solid a\nfacet normal 0 0 1\nendsolid", "1 facets begin and 0 are whole"),
        ("a.fbx", "", "no mesh is kept in a file that ends in '.fbx'"),
        ("a.glb", "{}", "is no GLB"),
    ],
)
def test_a_text_that_is_no_mesh(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(GeometryError) as caught:
        read_mesh(tmp_path / name)
    assert message in str(caught.value)


def test_materials_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.mtl").write_text("newmtl a\nKd 1 0 0\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.obj").write_text("mtllib ../secret.mtl\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    loaded = read_mesh(inner / "a.obj")
    assert loaded.mesh.materials[0].color == (0.7, 0.7, 0.7)
    assert "'../secret.mtl' are not beside it" in loaded.notes[0]


def test_a_missing_file_and_a_folder_that_is_not_there(static: StaticMesh, tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="cannot be read: No such file"):
        read_mesh(tmp_path / "none.glb")
    with pytest.raises(GeometryError, match="cannot be written: No such file"):
        write_mesh(static, tmp_path / "none" / "a.glb")


def test_a_script_loads_a_file(mesh: DynamicMesh, static: StaticMesh, tmp_path: Path) -> None:
    path = tmp_path / "part.obj"
    write_mesh(static, path)
    loaded = Script(steps=(Box(at=(0, 0, 5)), LoadFile(file=str(path), scale=(2, 2, 2)))).run()
    assert volume(loaded) == pytest.approx(1 + 8 * volume(mesh), rel=1e-6)
    path.write_text(path.read_text() + "l 1 2\n")
    with pytest.warns(UserWarning, match=r"part\.obj: 1 lines 'l' are left out"):
        Script(steps=(LoadFile(file=str(path)),)).run()
    with pytest.raises(GeometryError, match=r"steps\[0\]\.load\.file: none\.glb: cannot be read"):
        Script(steps=(LoadFile(file="none.glb"),)).run()


@pytest.mark.parametrize("ending", ["glb", "obj"])
def test_a_file_looks_as_the_mesh_does(static: StaticMesh, ending: str, tmp_path: Path) -> None:
    """Pictures with textures, of the mesh and of what is read back. Measured: all bytes equal (2026-11-29)."""
    write_mesh(static, tmp_path / f"part.{ending}")
    before, after = (portrait(mesh, size=96) for mesh in (static, bake(read_mesh(tmp_path / f"part.{ending}").mesh)))
    assert before.std() > 10
    assert np.abs(before.astype(int) - after.astype(int)).max() <= 2
