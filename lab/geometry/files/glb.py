"""GLB, written: glTF 2.0 in one file, with normals, tangents, UV, materials and textures.

glTF has y up and v down: positions are turned about x by -90 degrees, v becomes 1 - v. Levels of detail and convex
parts are nodes beside the scene, so that a viewer shows the finest mesh only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.geometry.files.glb_reader import read_glb
from lab.geometry.files.pictures import write_picture
from lab.geometry.mesh import Material
from lab.geometry.render.scene import Instance
from lab.geometry.static_mesh import StaticMesh

__all__ = ["read_glb", "write_glb", "write_glb_scene"]

_FLOAT, _UNSIGNED = 5126, 5125
_VERTICES, _INDICES = 34962, 34963  # targets of buffer views
_UPRIGHT = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
_LINEAR, _MIPMAPS, _REPEAT = 9729, 9987, 10497


class _GlbWriter:
    """Collects the parts of a file."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.materials: list[dict[str, Any]] = []
        self._slots: dict[tuple[Any, ...], int] = {}
        self._pictures: dict[int, int] = {}

    def view(self, content: bytes, target: int | None = None) -> int:
        self.views.append({"buffer": 0, "byteOffset": self.size, "byteLength": len(content)})
        if target is not None:
            self.views[-1]["target"] = target
        padded = content + bytes(-len(content) % 4)
        self.parts.append(padded)
        self.size += len(padded)
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, ranged: bool = False) -> int:
        indices = values.ndim == 1
        values = np.ascontiguousarray(values, dtype="<u4" if indices else "<f4")
        found: dict[str, Any] = {
            "bufferView": self.view(values.tobytes(), _INDICES if indices else _VERTICES),
            "componentType": _UNSIGNED if indices else _FLOAT,
            "count": len(values),
            "type": "SCALAR" if indices else f"VEC{values.shape[1]}",
        }
        if ranged:
            found |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(found)
        return len(self.accessors) - 1

    def material(self, material: Material, tint: tuple[float, float, float]) -> int:
        color = [min(float(part) * float(factor), 1.0) for part, factor in zip(material.color, tint, strict=True)]
        key = (material.name, *color, material.roughness, id(material.texture))
        if key not in self._slots:
            surface: dict[str, Any] = {"baseColorFactor": [*color, 1.0]}
            surface |= {"metallicFactor": 0.0, "roughnessFactor": float(material.roughness)}
            if material.texture is not None:
                surface["baseColorTexture"] = {"index": self.image(material.texture)}
            self._slots[key] = len(self.materials)
            self.materials.append({"name": material.name, "pbrMetallicRoughness": surface})
        return self._slots[key]

    def image(self, texture: NDArray[np.uint8]) -> int:
        if id(texture) not in self._pictures:
            self._pictures[id(texture)] = len(self.images)
            self.images.append({"bufferView": self.view(write_picture(texture)), "mimeType": "image/png"})
        return self._pictures[id(texture)]

    def mesh(self, mesh: StaticMesh, name: str, tint: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> dict[str, Any]:
        attributes = {
            "POSITION": self.accessor(upright(mesh.positions), ranged=True),
            "NORMAL": self.accessor(upright(mesh.normals)),
            "TANGENT": self.accessor(np.column_stack([upright(mesh.tangents[:, :3]), mesh.tangents[:, 3]])),
            "TEXCOORD_0": self.accessor(np.column_stack([mesh.uvs[:, 0], 1.0 - mesh.uvs[:, 1].astype(np.float64)])),
        }
        primitives = []
        for slot in np.unique(mesh.slots).tolist():
            indices = self.accessor(mesh.triangles[mesh.slots == slot].reshape(-1))
            material = self.material(mesh.materials[slot], tint)
            primitives.append({"attributes": attributes, "indices": indices, "material": material, "mode": 4})
        return {"name": name, "primitives": primitives}

    def hull(self, points: np.ndarray, triangles: np.ndarray, name: str) -> dict[str, Any]:
        attributes = {"POSITION": self.accessor(upright(points), ranged=True)}
        return {
            "name": name,
            "primitives": [{"attributes": attributes, "indices": self.accessor(triangles.reshape(-1)), "mode": 4}],
        }

    def file(self, nodes: list[dict[str, Any]], roots: list[int], meshes: list[dict[str, Any]]) -> bytes:
        """Return the whole file: a scene of the nodes ``roots``."""
        found: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "lab"},
            "scene": 0,
            "scenes": [{"nodes": roots}],
            "nodes": nodes,
            "meshes": meshes,
            "materials": self.materials,
        }
        if self.images:
            found["images"] = self.images
            found["samplers"] = [{"magFilter": _LINEAR, "minFilter": _MIPMAPS, "wrapS": _REPEAT, "wrapT": _REPEAT}]
            found["textures"] = [{"source": number, "sampler": 0} for number in range(len(self.images))]
        found |= {"accessors": self.accessors, "bufferViews": self.views, "buffers": [{"byteLength": self.size}]}
        text = json.dumps(found, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        chunks = [np.array([len(text), 0x4E4F534A], "<u4").tobytes(), text]
        chunks += [np.array([self.size, 0x004E4942], "<u4").tobytes(), *self.parts]
        size = 12 + sum(map(len, chunks))
        return b"".join([b"glTF", np.array([2, size], "<u4").tobytes(), *chunks])


def upright(vectors: np.ndarray) -> np.ndarray:
    """Return (n, 3) vectors of z up as glTF has them, y up: (x, y, z) becomes (x, z, -y)."""
    return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], -1) + np.float32(0)


def write_glb(mesh: StaticMesh, path: Path) -> None:
    """Write a GLB; the nodes are called after the file."""
    writer = _GlbWriter()
    name = path.stem
    meshes = [writer.mesh(mesh, name)]
    meshes += [writer.mesh(level, f"{name}_LOD{number}") for number, level in enumerate(mesh.levels, 1)]
    meshes += [writer.hull(*part, f"UCX_{name}_{number:02}") for number, part in enumerate(mesh.collision)]
    nodes = [{"mesh": number, "name": part["name"]} for number, part in enumerate(meshes)]
    path.write_bytes(writer.file(nodes, [0], meshes))


def write_glb_scene(instances: Sequence[Instance], path: Path, names: Sequence[str]) -> None:
    """Write a GLB of several meshes, each stored once for each tint; nodes stand where the instances do."""
    writer = _GlbWriter()
    numbers: dict[tuple[int, tuple[float, ...]], int] = {}
    meshes: list[dict[str, Any]] = []
    nodes = []
    for instance, name in zip(instances, names, strict=True):
        key = (id(instance.mesh), instance.tint)
        if key not in numbers:
            numbers[key] = len(meshes)
            meshes.append(writer.mesh(instance.mesh, name, instance.tint))
        matrix = _UPRIGHT @ np.asarray(instance.pose, dtype=np.float64) @ _UPRIGHT.T
        nodes.append({"mesh": numbers[key], "name": name, "matrix": matrix.T.reshape(-1).tolist()})
    path.write_bytes(writer.file(nodes, list(range(len(nodes))), meshes))
