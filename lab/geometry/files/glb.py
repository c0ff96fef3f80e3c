"""GLB, written: glTF 2.0 in one file, with normals, tangents, UV, materials and textures.

glTF has y up and v down: positions are turned about x by -90 degrees, v becomes 1 - v. Levels of detail and convex
parts are nodes beside the scene, so that a viewer shows the finest mesh only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lab.geometry.files.glb_reader import read_glb
from lab.geometry.files.pictures import write_picture
from lab.geometry.mesh import Material
from lab.geometry.static_mesh import StaticMesh

__all__ = ["read_glb", "write_glb"]

_FLOAT, _UNSIGNED = 5126, 5125
_VERTICES, _INDICES = 34962, 34963  # targets of buffer views
_LINEAR, _MIPMAPS, _REPEAT = 9729, 9987, 10497


class _Writer:
    """Collects the parts of a file."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []

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

    def material(self, material: Material) -> dict[str, Any]:
        surface: dict[str, Any] = {"baseColorFactor": [*map(float, material.color), 1.0]}
        surface |= {"metallicFactor": 0.0, "roughnessFactor": float(material.roughness)}
        if material.texture is not None:
            surface["baseColorTexture"] = {"index": len(self.images)}
            self.images.append({"bufferView": self.view(write_picture(material.texture)), "mimeType": "image/png"})
        return {"name": material.name, "pbrMetallicRoughness": surface}

    def mesh(self, mesh: StaticMesh, name: str) -> dict[str, Any]:
        attributes = {
            "POSITION": self.accessor(upright(mesh.positions), ranged=True),
            "NORMAL": self.accessor(upright(mesh.normals)),
            "TANGENT": self.accessor(np.column_stack([upright(mesh.tangents[:, :3]), mesh.tangents[:, 3]])),
            "TEXCOORD_0": self.accessor(np.column_stack([mesh.uvs[:, 0], 1.0 - mesh.uvs[:, 1].astype(np.float64)])),
        }
        primitives = []
        for slot in np.unique(mesh.slots).tolist():
            indices = self.accessor(mesh.triangles[mesh.slots == slot].reshape(-1))
            primitives.append({"attributes": attributes, "indices": indices, "material": slot, "mode": 4})
        return {"name": name, "primitives": primitives}

    def hull(self, points: np.ndarray, triangles: np.ndarray, name: str) -> dict[str, Any]:
        attributes = {"POSITION": self.accessor(upright(points), ranged=True)}
        return {
            "name": name,
            "primitives": [{"attributes": attributes, "indices": self.accessor(triangles.reshape(-1)), "mode": 4}],
        }


def upright(vectors: np.ndarray) -> np.ndarray:
    """Return (n, 3) vectors of z up as glTF has them, y up: (x, y, z) becomes (x, z, -y)."""
    return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], -1) + np.float32(0)


def write_glb(mesh: StaticMesh, path: Path) -> None:
    """Write a GLB; the nodes are called after the file."""
    writer = _Writer()
    name = path.stem
    meshes = [writer.mesh(mesh, name)]
    meshes += [writer.mesh(level, f"{name}_LOD{number}") for number, level in enumerate(mesh.levels, 1)]
    meshes += [writer.hull(*part, f"UCX_{name}_{number:02}") for number, part in enumerate(mesh.collision)]
    found: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "lab"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": number, "name": part["name"]} for number, part in enumerate(meshes)],
        "meshes": meshes,
        "materials": [writer.material(material) for material in mesh.materials],
    }
    if writer.images:
        found["images"] = writer.images
        found["samplers"] = [{"magFilter": _LINEAR, "minFilter": _MIPMAPS, "wrapS": _REPEAT, "wrapT": _REPEAT}]
        found["textures"] = [{"source": number, "sampler": 0} for number in range(len(writer.images))]
    found |= {"accessors": writer.accessors, "bufferViews": writer.views, "buffers": [{"byteLength": writer.size}]}
    text = json.dumps(found, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = [np.array([len(text), 0x4E4F534A], "<u4").tobytes(), text]
    chunks += [np.array([writer.size, 0x004E4942], "<u4").tobytes(), *writer.parts]
    size = 12 + sum(map(len, chunks))
    path.write_bytes(b"".join([b"glTF", np.array([2, size], "<u4").tobytes(), *chunks]))
