"""The frozen mesh that renderers and files take: each attribute once for each vertex, levels of detail, collision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.geometry.mesh import Material


@dataclass(frozen=True)
class StaticMesh:
    """Baked triangles: vertices are split at seams. V vertices, F triangles; arrays are read-only and contiguous.

    Attributes:
        positions: (V, 3) float32 metres.
        normals: (V, 3) float32 of length 1.
        tangents: (V, 4) float32: the direction of u, and the sign of v in the last column (as glTF has them).
        uvs: (V, 2) float32; zeros where the mesh has none.
        triangles: (F, 3) int32.
        slots: (F,) int32 indices into ``materials``.
        materials: see ``Material``.
        levels: coarser meshes, finest first, without levels or collision of their own.
        collision: convex parts, each (n, 3) float32 vertices and (m, 3) int32 triangles.
    """

    positions: NDArray[np.float32]
    normals: NDArray[np.float32]
    tangents: NDArray[np.float32]
    uvs: NDArray[np.float32]
    triangles: NDArray[np.int32]
    slots: NDArray[np.int32]
    materials: tuple[Material, ...] = (Material(),)
    levels: tuple[StaticMesh, ...] = ()
    collision: tuple[tuple[NDArray[np.float32], NDArray[np.int32]], ...] = ()
