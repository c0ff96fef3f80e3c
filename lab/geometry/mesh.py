"""The editable triangle mesh: positions, triangles and attribute overlays, as UE5's dynamic mesh has them.

V vertices, F triangles, E elements of an overlay. A mesh is a value: its arrays are read-only, and every operation
returns a new one, so that a script's steps can be undone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

UNSET = -1
"""The element of a corner that an overlay says nothing about."""


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


@dataclass(frozen=True)
class Overlay:
    """An attribute of triangle corners: corners that share an element are smooth there, others have a seam.

    Attributes:
        elements: (E, D) float64 values: D = 3 for normals, 2 for UV.
        corners: (F, 3) int64 elements of each triangle's corners, or ``UNSET``.
    """

    elements: Floats
    corners: Integers


@dataclass(frozen=True)
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

    @property
    def num_vertices(self) -> int:
        """V."""
        return len(self.positions)

    @property
    def num_triangles(self) -> int:
        """F."""
        return len(self.triangles)
