"""Meshes in files: GLB, PLY, OBJ, STL. What a file has and a mesh has not is counted and said; damage is refused."""

from __future__ import annotations

from pathlib import Path

from lab.errors import GeometryError, closest
from lab.geometry.files.glb import read_glb, write_glb
from lab.geometry.files.loaded import LoadedMesh, Parts, joined_parts
from lab.geometry.files.obj import read_obj, write_obj
from lab.geometry.files.ply import read_ply, write_ply
from lab.geometry.files.stl import read_stl, write_stl
from lab.geometry.static_mesh import StaticMesh

__all__ = ["LoadedMesh", "Parts", "joined_parts", "read_mesh", "write_mesh"]

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
