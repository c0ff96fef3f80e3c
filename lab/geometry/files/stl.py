"""STL: triangles and nothing else, binary or text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lab.errors import GeometryError
from lab.geometry.files.loaded import TriangleSoup
from lab.geometry.mesh import Floats, Material
from lab.geometry.static_mesh import StaticMesh

_FACET = np.dtype([("normal", "<f4", 3), ("points", "<f4", (3, 3)), ("attribute", "<u2")])
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_VERTEX = rf"vertex\s+({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})\s+"
_TEXT = re.compile(
    rf"facet\s+normal\s+\S+\s+\S+\s+\S+\s+outer\s+loop\s+{_VERTEX}{_VERTEX}{_VERTEX}endloop\s+endfacet", re.IGNORECASE
)


def write_stl(mesh: StaticMesh, path: Path) -> None:
    """Write a binary STL: triangles with their own normals."""
    facets = np.zeros(len(mesh.triangles), _FACET)
    points = mesh.positions[mesh.triangles]
    normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    facets["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    facets["points"] = points
    path.write_bytes(b"binary STL, metres, z up".ljust(80) + np.uint32(len(facets)).tobytes() + facets.tobytes())


def read_stl(path: Path) -> tuple[TriangleSoup, list[str]]:
    """Return the triangles of a binary or text STL; the normals that it states are not used.

    Raises:
        GeometryError: the file is neither, or breaks off.
    """
    content = path.read_bytes()
    notes: list[str] = []
    count = int(np.frombuffer(content[80:84], "<u4")[0]) if len(content) >= 84 else -1
    if count >= 0 and len(content) == 84 + 50 * count:
        facets = np.frombuffer(content, _FACET, offset=84)
        points = facets["points"].astype(np.float64)
        attributes = int(np.count_nonzero(facets["attribute"]))
        if attributes:
            notes.append(f"{attributes} triangles have an attribute word (a colour, perhaps), which is left out")
    elif content[:5].lower() == b"solid":
        points = _read_text(content, path)
    else:
        raise GeometryError(
            f"{path}: is no STL: a binary one of {max(count, 0)} triangles has {84 + 50 * max(count, 0)} bytes, "
            f"not {len(content)}"
        )
    zeros = np.zeros(len(points), dtype=np.int64)
    return TriangleSoup(points, None, None, zeros, zeros, (Material(),)), notes


def _read_text(content: bytes, path: Path) -> Floats:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GeometryError(f"{path}: begins as a text STL and has other bytes at {error.start}") from error
    found = _TEXT.findall(text)
    stated = len(re.findall(r"\bfacet\s+normal\b", text, re.IGNORECASE))
    if len(found) != stated or not re.search(r"\bendsolid\b", text, re.IGNORECASE):
        raise GeometryError(f"{path}: {stated} facets begin and {len(found)} are whole: it is damaged or breaks off")
    return np.array(found, dtype=np.float64).reshape(-1, 3, 3)
