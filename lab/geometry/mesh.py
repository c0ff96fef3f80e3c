"""The editable triangle mesh: positions, triangles and attribute overlays, as UE5's dynamic mesh has them.

V vertices, F triangles, E elements of an overlay. A mesh is a value: its arrays are read-only, and every operation
returns a new one, so that a script's steps can be undone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Kind = TypeVar("Kind", bound=np.generic)
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Flags = NDArray[np.bool_]

UNSET = -1
"""The element of a corner that an overlay says nothing about."""


def frozen(values: ArrayLike, kind: type[Kind]) -> NDArray[Kind]:
    """Return values as a contiguous array of a dtype that cannot be written to; an array of it is not copied."""
    view = np.ascontiguousarray(values, dtype=kind).view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True)
class Material:
    """What a material slot is painted with.

    Attributes:
        name: of the slot; slots of the same name are one when meshes are joined.
        color: RGB in 0..1, linear.
        roughness: 0 (mirror) to 1 (matt), for files.
        texture: (h, w, 3) uint8 RGB over UV layer 0, which ``color`` multiplies; None for a plain colour.
    """

    name: str = "default"
    color: tuple[float, float, float] = (0.7, 0.7, 0.7)
    roughness: float = 0.8
    texture: NDArray[np.uint8] | None = field(default=None, compare=False)


@dataclass(frozen=True, eq=False)
class Overlay:
    """An attribute of triangle corners: corners that share an element are smooth there, others have a seam.

    Attributes:
        elements: (E, D) float64 values: D = 3 for normals, 2 for UV.
        corners: (F, 3) int64 elements of each triangle's corners, or ``UNSET``.
    """

    elements: Floats
    corners: Integers

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", frozen(self.elements, np.float64))
        object.__setattr__(self, "corners", frozen(self.corners, np.int64))


@dataclass(frozen=True, eq=False)
class DynamicMesh:
    """Triangles with attributes.

    Attributes:
        positions: (V, 3) float64 metres.
        triangles: (F, 3) int64 vertices, counter-clockwise seen from outside.
        polygroups: (F,) int64 the group of each triangle: faces that tools select and keep together.
        slots: (F,) int64 the material slot of each triangle, an index into ``materials``.
        materials: the material of each slot; one at least.
        normals: corner normals of length 1, or None: not computed (flat shading).
        uvs: UV layers; layer 0 is what textures use.
    """

    positions: Floats
    triangles: Integers
    polygroups: Integers
    slots: Integers
    materials: tuple[Material, ...] = (Material(),)
    normals: Overlay | None = None
    uvs: tuple[Overlay, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", frozen(self.positions, np.float64))
        for name in ("triangles", "polygroups", "slots"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.int64))

    def __repr__(self) -> str:
        return f"DynamicMesh({self.num_vertices} vertices, {self.num_triangles} triangles)"

    @property
    def num_vertices(self) -> int:
        """V."""
        return len(self.positions)

    @property
    def num_triangles(self) -> int:
        """F."""
        return len(self.triangles)

    @property
    def num_bytes(self) -> int:
        """What the arrays take; textures are shared and not counted."""
        overlays = (*self.uvs, *(() if self.normals is None else (self.normals,)))
        arrays = [self.positions, self.triangles, self.polygroups, self.slots]
        arrays += [array for overlay in overlays for array in (overlay.elements, overlay.corners)]
        return sum(array.nbytes for array in arrays)


def empty_mesh() -> DynamicMesh:
    """Return a mesh without triangles, and without materials of its own to bring to what is appended."""
    none = np.zeros(0, dtype=np.int64)
    return DynamicMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64), none, none)
