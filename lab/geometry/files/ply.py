"""PLY: vertices with normals and UV, faces with a material; text or binary, of either byte order."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lab.errors import GeometryError
from lab.geometry.files.loaded import TriangleSoup, unique_names
from lab.geometry.files.polygons import fans
from lab.geometry.mesh import Floats, Integers, Material
from lab.geometry.static_mesh import StaticMesh

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_UVS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_MATERIAL = "lab material "


def write_ply(mesh: StaticMesh, path: Path) -> None:
    """Write a binary PLY; materials stand in comments, and their slots with the faces."""
    vertices = np.concatenate([mesh.positions, mesh.normals, mesh.uvs], axis=1).astype("<f4")
    faces = np.zeros(len(mesh.triangles), [("count", "u1"), ("corners", "<i4", 3), ("material", "<i4")])
    faces["count"], faces["corners"], faces["material"] = 3, mesh.triangles, mesh.slots
    lines = ["ply", "format binary_little_endian 1.0", "comment metres, z up"]
    for material in mesh.materials:
        values = {"name": material.name, "color": material.color, "roughness": material.roughness}
        lines.append(f"comment {_MATERIAL}{json.dumps(values)}")
    lines += [f"element vertex {len(vertices)}"]
    lines += [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz", "s", "t")]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "property int material_index"]
    lines += ["end_header", ""]
    path.write_bytes("\n".join(lines).encode("ascii") + vertices.tobytes() + faces.tobytes())


@dataclass
class _Element:
    name: str
    count: int
    properties: list[tuple[str, str, str]] = field(default_factory=list)  # name, type, type of the count or ""


@dataclass
class _Header:
    order: str
    elements: list[_Element]
    comments: list[str]
    end: int


def read_ply(path: Path) -> tuple[TriangleSoup, list[str]]:
    """Return the faces of a PLY; polygons are cut into fans.

    Raises:
        GeometryError: it is no PLY, breaks off, or has no vertices and faces.
    """
    content = path.read_bytes()
    header = _header(content, path)
    body = _Text(content, header, path) if not header.order else _Binary(content, header, path)
    tables = {element.name: body.table(element) for element in header.elements}
    body.finish()
    if "vertex" not in tables or "face" not in tables:
        raise GeometryError(f"{path}: has no faces: a mesh has the elements 'vertex' and 'face'")
    vertices, faces = tables.pop("vertex"), tables.pop("face")
    notes = [f"the element {name!r} is left out" for name in tables]
    return _parts(vertices, faces, header.comments, notes, path), notes


def _header(content: bytes, path: Path) -> _Header:
    end = content.find(b"end_header")
    newline = content.find(b"\n", end)
    if not content.startswith(b"ply") or end < 0 or newline < 0:
        raise GeometryError(f"{path}: is no PLY: it begins with 'ply' and has a line 'end_header'")
    header = _Header("?", [], [], newline + 1)
    for line in content[:end].decode("latin-1").splitlines()[1:]:
        words = line.split()
        match words:
            case ["format", order, "1.0"] if order in _ORDERS:
                header.order = _ORDERS[order]
            case ["comment" | "obj_info", *_]:
                header.comments.append(line.partition(" ")[2])
            case ["element", name, count] if count.isdigit():
                header.elements.append(_Element(name, int(count)))
            case ["property", "list", counted, kind, name] if header.elements and {counted, kind} <= _TYPES.keys():
                header.elements[-1].properties.append((name, _TYPES[kind], _TYPES[counted]))
            case ["property", kind, name] if header.elements and kind in _TYPES:
                header.elements[-1].properties.append((name, _TYPES[kind], ""))
            case []:
                pass
            case _:
                raise GeometryError(f"{path}: a line of its header is not understood: {line!r}")
    if header.order == "?":
        raise GeometryError(f"{path}: its header names no format of {', '.join(_ORDERS)}")
    return header


class _Binary:
    def __init__(self, content: bytes, header: _Header, path: Path) -> None:
        self._content, self._order, self._path, self._place = content, header.order, path, header.end

    def table(self, element: _Element) -> dict[str, Any]:
        if not any(counted for _, _, counted in element.properties):
            kind = np.dtype([(name, self._order + code) for name, code, _ in element.properties])
            rows = self._take(kind, element.count, element)
            return {name: rows[name] for name, _, _ in element.properties}
        table = self._triangles(element) if element.count else None
        return self._rows(element) if table is None else table

    def _triangles(self, element: _Element) -> dict[str, Any] | None:
        """Return the table if every list in it has three values, else None."""
        parts: list[Any] = []
        for name, code, counted in element.properties:
            parts += [(f"{name} count", self._order + counted), (name, self._order + code, 3)] if counted else []
            parts += [] if counted else [(name, self._order + code)]
        kind = np.dtype(parts)
        if self._place + kind.itemsize * element.count > len(self._content):
            return None
        rows = np.frombuffer(self._content, kind, element.count, self._place)
        if any((rows[f"{name} count"] != 3).any() for name, _, counted in element.properties if counted):
            return None
        self._place += kind.itemsize * element.count
        return {name: rows[name] for name, _, _ in element.properties}

    def _rows(self, element: _Element) -> dict[str, Any]:
        table: dict[str, list[Any]] = {name: [] for name, _, _ in element.properties}
        for _ in range(element.count):
            for name, code, counted in element.properties:
                count = int(self._take(np.dtype(self._order + counted), 1, element)[0]) if counted else 1
                values = self._take(np.dtype(self._order + code), max(count, 0), element)
                table[name].append(values if counted else values[0])
        return _columns_of(element, table)

    def _take(self, kind: np.dtype[Any], count: int, element: _Element) -> np.ndarray:
        if self._place + kind.itemsize * count > len(self._content):
            raise GeometryError(f"{self._path}: breaks off within its {element.count} rows of {element.name!r}")
        rows = np.frombuffer(self._content, kind, count, self._place)
        self._place += kind.itemsize * count
        return rows

    def finish(self) -> None:
        if self._place != len(self._content):
            raise GeometryError(f"{self._path}: has {len(self._content) - self._place} bytes after its last element")


class _Text:
    def __init__(self, content: bytes, header: _Header, path: Path) -> None:
        self._words, self._path, self._place = content[header.end :].split(), path, 0

    def table(self, element: _Element) -> dict[str, Any]:
        table: dict[str, list[Any]] = {name: [] for name, _, _ in element.properties}
        for _ in range(element.count):
            for name, code, counted in element.properties:
                count = int(self._take(1, "i8", element)[0]) if counted else 1
                values = self._take(max(count, 0), code, element)
                table[name].append(values if counted else values[0])
        return _columns_of(element, table)

    def _take(self, count: int, code: str, element: _Element) -> np.ndarray:
        words = self._words[self._place : self._place + count]
        self._place += count
        if len(words) < count:
            raise GeometryError(f"{self._path}: breaks off within its {element.count} rows of {element.name!r}")
        try:
            return np.array(words, dtype="S").astype("f8" if code[0] == "f" else "i8") if words else np.zeros(0)
        except ValueError as error:
            raise GeometryError(f"{self._path}: {b' '.join(words).decode('latin-1')!r} are no numbers") from error

    def finish(self) -> None:
        if self._place != len(self._words):
            raise GeometryError(f"{self._path}: has {len(self._words) - self._place} words after its last element")


def _columns_of(element: _Element, table: dict[str, list[Any]]) -> dict[str, Any]:
    return {name: table[name] if counted else np.array(table[name]) for name, _, counted in element.properties}


def _parts(
    vertices: dict[str, Any], faces: dict[str, Any], comments: list[str], notes: list[str], path: Path
) -> TriangleSoup:
    lists = next((faces.pop(name) for name in ("vertex_indices", "vertex_index") if name in faces), None)
    if lists is None or not {"x", "y", "z"} <= vertices.keys():
        raise GeometryError(f"{path}: vertices have x, y, z, and faces a list 'vertex_indices'")
    positions = _columns(vertices, ("x", "y", "z"))
    whole = _whole(lists, path) if isinstance(lists, np.ndarray) else [_whole(row, path) for row in lists]
    triangles, of_face = fans(whole, positions, str(path))
    normals = _columns(vertices, ("nx", "ny", "nz")) if {"nx", "ny", "nz"} <= vertices.keys() else None
    pair = next((pair for pair in _UVS if set(pair) <= vertices.keys()), None)
    uvs = None if pair is None else _columns(vertices, pair)
    materials = _materials(comments, path)
    slots = np.zeros(len(triangles), dtype=np.int64)
    if "material_index" in faces and len(materials) > 1:
        slots = _whole(faces.pop("material_index"), path)[of_face]
    faces.pop("material_index", None)
    notes += [f"the property {name!r} of vertices is left out" for name in vertices]
    notes += [f"the property {name!r} of faces is left out" for name in faces]
    if len(triangles) and not (slots.min() >= 0 and slots.max() < len(materials)):
        raise GeometryError(f"{path}: a material_index is not among the {len(materials)} materials")
    return TriangleSoup(
        positions[triangles],
        None if normals is None else normals[triangles],
        None if uvs is None else uvs[triangles],
        slots,
        np.zeros(len(triangles), dtype=np.int64),
        materials,
    )


def _whole(values: np.ndarray, path: Path) -> Integers:
    if values.dtype.kind not in "iu" and len(values):
        raise GeometryError(f"{path}: an index of a face is no whole number")
    return np.asarray(values, dtype=np.int64)


def _columns(table: dict[str, Any], names: tuple[str, ...]) -> Floats:
    with np.errstate(invalid="ignore"):  # of a NaN that signals; what is not finite is refused later
        return np.stack([np.asarray(table.pop(name), dtype=np.float64) for name in names], -1)


def _materials(comments: list[str], path: Path) -> tuple[Material, ...]:
    found = []
    for comment in comments:
        if not comment.startswith(_MATERIAL):
            continue
        try:
            values = json.loads(comment.removeprefix(_MATERIAL))
            red, green, blue = (float(part) for part in values["color"])
            found.append(Material(str(values["name"]), (red, green, blue), float(values["roughness"])))
        except (ValueError, KeyError, TypeError) as error:
            raise GeometryError(f"{path}: a comment describes no material: {comment!r}") from error
    return unique_names(found) or (Material(),)
