"""GLB, read: the meshes of its scene where their nodes stand; what a mesh cannot hold is left out and said."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lab.errors import GeometryError
from lab.geometry.files.loaded import TriangleSoup, unique_names
from lab.geometry.files.pictures import read_picture
from lab.geometry.mesh import Floats, Material

_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_MAX_NODES = 100_000
_MAX_TRIANGLES = 50_000_000
_LEFT_OUT = ("animations", "cameras", "skins")


def read_glb(path: Path) -> tuple[TriangleSoup, list[str]]:
    """Return the triangles of a GLB's scene; each primitive of a node is a polygroup.

    Raises:
        GeometryError: it is no GLB of version 2, is damaged, or needs an extension or a second file.
    """
    try:
        file = _Glb(path)
        parts = file.parts()
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, GeometryError):
            raise
        raise GeometryError(f"{path}: its description is damaged: {type(error).__name__} {error}") from error
    return parts, file.notes()


class _Glb:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.left_out: Counter[str] = Counter()
        content = path.read_bytes()
        if content[:4] != b"glTF" or len(content) < 20:
            raise GeometryError(f"{path}: is no GLB: it does not begin with 'glTF'")
        version, size = (int(number) for number in np.frombuffer(content, "<u4", 2, 4))
        if version != 2:
            raise GeometryError(f"{path}: is glTF of version {version}; this reads version 2")
        if size != len(content):
            raise GeometryError(f"{path}: has {len(content)} bytes where its header says {size}: it breaks off")
        chunks = self._chunks(content)
        if not chunks or chunks[0][0] != 0x4E4F534A:
            raise GeometryError(f"{path}: its first part is no description")
        self.json: dict[str, Any] = json.loads(chunks[0][1].decode("utf-8"))
        self.binary = next((part for kind, part in chunks[1:] if kind == 0x004E4942), b"")
        if required := self.json.get("extensionsRequired"):
            raise GeometryError(f"{path}: needs the extensions {', '.join(map(str, required))}, which this cannot read")
        for name in _LEFT_OUT:
            self.left_out[name] += len(self.json.get(name, ()))

    def _chunks(self, content: bytes) -> list[tuple[int, bytes]]:
        found, place = [], 12
        while place + 8 <= len(content):
            size, kind = (int(number) for number in np.frombuffer(content, "<u4", 2, place))
            if place + 8 + size > len(content):
                raise GeometryError(f"{self.path}: a part of {size} bytes breaks off")
            found.append((kind, content[place + 8 : place + 8 + size]))
            place += 8 + size
        return found

    def parts(self) -> TriangleSoup:
        """Return all triangles of the scene."""
        found: list[tuple[Floats, Floats | None, Floats | None, int]] = []
        total = 0
        for index, matrix in self._nodes():
            for primitive in self.json["meshes"][index]["primitives"]:
                found.append(self._primitive(primitive, matrix))
                total += len(found[-1][0])
                if total > _MAX_TRIANGLES:
                    raise GeometryError(f"{self.path}: shows more than {_MAX_TRIANGLES} triangles")
        if not total:
            raise GeometryError(f"{self.path}: its scene shows no triangles")
        sizes = [len(points) for points, _, _, _ in found]
        used = sorted({slot for *_, slot in found})
        slots = np.repeat([used.index(slot) for *_, slot in found], sizes)
        return TriangleSoup(
            np.concatenate([points for points, _, _, _ in found]),
            _filled([normals for _, normals, _, _ in found], sizes, 3),
            _filled([uvs for _, _, uvs, _ in found], sizes, 2),
            slots,
            np.repeat(np.arange(len(found)), sizes),
            unique_names([self._material(slot) for slot in used]),
        )

    def _nodes(self) -> list[tuple[int, Floats]]:
        """Return the meshes of the scene, each with its place in our frame."""
        nodes = self.json.get("nodes", [])
        scenes = self.json.get("scenes")
        roots = scenes[self.json.get("scene", 0)].get("nodes", []) if scenes else range(len(nodes))
        turn = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
        found, waiting, visits = [], [(_index(root, nodes), turn) for root in roots], 0
        while waiting:
            number, above = waiting.pop(0)
            visits += 1
            if visits > min(_MAX_NODES, len(nodes)):
                raise GeometryError(f"{self.path}: its nodes hang in a circle, or there are too many")
            node = nodes[number]
            matrix = above @ _matrix(node)
            if "mesh" in node:
                found.append((_index(node["mesh"], self.json["meshes"]), matrix))
            waiting += [(_index(child, nodes), matrix) for child in node.get("children", [])]
        return found

    def _primitive(self, primitive: dict[str, Any], matrix: Floats) -> tuple[Floats, Floats | None, Floats | None, int]:
        if primitive.get("mode", 4) != 4:
            raise GeometryError(f"{self.path}: a primitive of mode {primitive['mode']} is no list of triangles")
        self.left_out["morph targets"] += len(primitive.get("targets", ()))
        attributes = primitive["attributes"]
        known = ("POSITION", "NORMAL", "TEXCOORD_0", "TANGENT")
        self.left_out.update(f"attributes {name}" for name in attributes if name not in known)
        positions = self._accessor(attributes["POSITION"], "VEC3")
        if "indices" in primitive:
            corners = self._accessor(primitive["indices"], "SCALAR")[:, 0].astype(np.int64)
        else:
            corners = np.arange(len(positions))
        if len(corners) % 3 or (len(corners) and corners.max() >= len(positions)):
            raise GeometryError(f"{self.path}: {len(corners)} indices are no triangles of {len(positions)} vertices")
        triangles = corners.reshape(-1, 3)
        if np.linalg.det(matrix[:3, :3]) < 0:
            triangles = triangles[:, ::-1]
        points = positions @ matrix[:3, :3].T + matrix[:3, 3]
        normals = uvs = None
        if "NORMAL" in attributes:
            normals = self._of_vertices(attributes["NORMAL"], "VEC3", len(positions)) @ np.linalg.inv(matrix[:3, :3])
        if "TEXCOORD_0" in attributes:
            uvs = self._of_vertices(attributes["TEXCOORD_0"], "VEC2", len(positions)) * [1, -1] + [0, 1]
        slot = int(primitive.get("material", -1))
        return (
            points[triangles],
            None if normals is None else normals[triangles],
            None if uvs is None else uvs[triangles],
            slot,
        )

    def _of_vertices(self, number: int, kind: str, count: int) -> Floats:
        values = self._accessor(number, kind)
        if len(values) != count:
            raise GeometryError(f"{self.path}: an attribute has {len(values)} values for {count} vertices")
        return values

    def _accessor(self, number: int, kind: str) -> Floats:
        """Return (n, width) float64 of an accessor; exact for 32-bit indices too."""
        accessor = self.json["accessors"][_index(number, self.json["accessors"])]
        if accessor["type"] != kind:
            raise GeometryError(f"{self.path}: an accessor is {accessor['type']} where {kind} must be")
        if "sparse" in accessor or "bufferView" not in accessor:
            raise GeometryError(f"{self.path}: has a sparse accessor, which this cannot read")
        code = np.dtype(_COMPONENTS[accessor["componentType"]])
        width, count = _WIDTHS[kind], int(accessor["count"])
        content, stride = self._view(accessor["bufferView"])
        start, size = int(accessor.get("byteOffset", 0)), width * code.itemsize
        stride = stride or size
        if count < 1 or start < 0 or stride < size or start + stride * (count - 1) + size > len(content):
            raise GeometryError(f"{self.path}: an accessor of {count} values reaches beyond its {len(content)} bytes")
        rows = np.ndarray((count, width), code, content, start, (stride, code.itemsize))
        with np.errstate(invalid="ignore"):  # of a NaN that signals
            rows = rows.astype(np.float64)
        if not np.isfinite(rows).all():
            raise GeometryError(f"{self.path}: an accessor has a number that is not finite")
        if accessor.get("normalized") and code.kind in "iu":
            rows = np.maximum(rows / np.iinfo(code).max, -1.0)
        return rows

    def _view(self, number: int) -> tuple[bytes, int]:
        view = self.json["bufferViews"][_index(number, self.json["bufferViews"])]
        buffer = self.json["buffers"][_index(view["buffer"], self.json["buffers"])]
        if "uri" in buffer or view["buffer"] != 0:
            raise GeometryError(f"{self.path}: keeps numbers in a second file, {str(buffer.get('uri'))[:60]!r}")
        start, size = int(view.get("byteOffset", 0)), int(view["byteLength"])
        if start < 0 or size < 0 or start + size > len(self.binary):
            raise GeometryError(f"{self.path}: a view reaches beyond the {len(self.binary)} bytes that there are")
        return self.binary[start : start + size], int(view.get("byteStride", 0))

    def _material(self, number: int) -> Material:
        if number == -1:
            return Material()
        material = self.json["materials"][_index(number, self.json["materials"])]
        surface = material.get("pbrMetallicRoughness", {})
        red, green, blue, alpha = (float(part) for part in surface.get("baseColorFactor", (1, 1, 1, 1)))
        for name in ("normalTexture", "occlusionTexture", "emissiveTexture"):
            self.left_out[f"{name}s"] += name in material
        self.left_out["metallicRoughnessTextures"] += "metallicRoughnessTexture" in surface
        self.left_out["transparent materials' alpha"] += alpha < 1
        texture = None
        if "baseColorTexture" in surface:
            texture = self._texture(surface["baseColorTexture"])
        name = str(material.get("name") or f"material {number}")
        return Material(name, (red, green, blue), float(surface.get("roughnessFactor", 1.0)), texture)

    def _texture(self, info: dict[str, Any]) -> Any:
        if info.get("texCoord", 0) != 0:
            self.left_out["textures of other UV layers"] += 1
            return None
        textures = self.json["textures"]
        image = self.json["images"][_index(textures[_index(info["index"], textures)]["source"], self.json["images"])]
        if "bufferView" not in image:
            raise GeometryError(f"{self.path}: keeps a texture in a second file, {str(image.get('uri'))[:60]!r}")
        return read_picture(self._view(image["bufferView"])[0], f"{self.path}: a texture")

    def notes(self) -> list[str]:
        """Return what was left out, with its count."""
        return [f"{count} {name} are left out" for name, count in self.left_out.items() if count]


def _index(number: Any, among: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(among):
        raise IndexError(f"{number!r} is not among {len(among)}")
    return number


def _matrix(node: dict[str, Any]) -> Floats:
    if "matrix" in node:
        matrix = np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    else:
        x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), dtype=np.float64)
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        matrix = np.eye(4)
        matrix[:3, :3] = rotation * np.array(node.get("scale", (1, 1, 1)), dtype=np.float64)
        matrix[:3, 3] = node.get("translation", (0, 0, 0))
    if not np.isfinite(matrix).all() or not np.linalg.det(matrix[:3, :3]):
        raise GeometryError(f"the node {str(node.get('name', ''))!r} has no place: its matrix does not invert")
    return matrix


def _filled(values: list[Floats | None], sizes: list[int], width: int) -> Floats | None:
    if all(value is None for value in values):
        return None
    return np.concatenate(
        [
            np.full((size, 3, width), np.nan) if value is None else value
            for value, size in zip(values, sizes, strict=True)
        ]
    )
