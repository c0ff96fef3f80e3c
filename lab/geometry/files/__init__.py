"""Meshes in files: GLB, PLY, OBJ, STL. What a file has and a mesh has not is counted and said; damage is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.errors import GeometryError, closest
from lab.geometry.files.glb import read_glb, write_glb, write_glb_scene
from lab.geometry.files.loaded import LoadedMesh, TriangleSoup, joined_parts
from lab.geometry.files.obj import read_obj, write_obj
from lab.geometry.files.ply import read_ply, write_ply
from lab.geometry.files.stl import read_stl, write_stl
from lab.geometry.render.scene import Instance
from lab.geometry.static_mesh import StaticMesh

__all__ = ["LoadedMesh", "TriangleSoup", "joined_parts", "read_mesh", "write_mesh", "write_scene"]

_WRITERS = {".glb": write_glb, ".ply": write_ply, ".obj": write_obj, ".stl": write_stl}
_READERS = {".glb": read_glb, ".ply": read_ply, ".obj": read_obj, ".stl": read_stl}


def write_mesh(mesh: StaticMesh, path: str | Path) -> None:
    """Write a mesh to a file of the kind that its ending names; positions are float32, so nothing is rounded.

    GLB keeps all but the levels' order in the scene: y is up there, levels and collision stand beside the scene. PLY
    keeps materials but for textures. OBJ has materials and textures in files beside it, no tangents. STL has triangles
    only.

    Args:
        mesh: to write.
        path: ends in .glb, .ply, .obj or .stl.

    Raises:
        GeometryError: the ending is none of these, or the file cannot be written.
    """
    path = Path(path)
    writer = _WRITERS[_ending(path)]
    try:
        writer(mesh, path)
    except OSError as error:
        raise GeometryError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_scene(instances: Sequence[Instance], path: str | Path, names: Sequence[str] | None = None) -> None:
    """Write what is rendered as a GLB: each instance is a node; materials are multiplied by its tint.

    Args:
        instances: of a ``render.scene.Scene``; lights and sky have no place in the file.
        path: ends in .glb.
        names: of the nodes; ``0``, ``1``, ... if not given.

    Raises:
        GeometryError: the ending is another, a name is missing, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".glb":
        raise GeometryError(f"{path}: a scene is kept in a .glb")
    names = [str(number) for number in range(len(instances))] if names is None else names
    if len(names) != len(instances) or not instances:
        raise GeometryError(f"{path}: {len(instances)} instances have {len(names)} names")
    try:
        write_glb_scene(instances, path, names)
    except OSError as error:
        raise GeometryError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_mesh(path: str | Path) -> LoadedMesh:
    """Return the mesh of a file, editable: vertices at exactly one place are one, seams stay in normals and UV.

    Args:
        path: ends in .glb, .ply, .obj or .stl.

    Raises:
        GeometryError: the file cannot be read, is damaged, or needs what this reader does not know.
    """
    path = Path(path)
    reader = _READERS[_ending(path)]
    try:
        parts, notes = reader(path)
    except OSError as error:
        raise GeometryError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return LoadedMesh(joined_parts(parts), tuple(notes))
    except GeometryError as error:
        raise GeometryError(f"{path}: {error}") from error


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    if ending not in _READERS:
        known = closest(ending, _READERS) or f"; there are {', '.join(_READERS)}"
        raise GeometryError(f"{path}: no mesh is kept in a file that ends in {ending!r}{known}")
    return ending
