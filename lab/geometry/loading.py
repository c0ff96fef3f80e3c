"""A tool that adds the mesh of a file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

from lab.errors import GeometryError
from lab.geometry.joining import append
from lab.geometry.mesh import DynamicMesh
from lab.geometry.parameters import Vector
from lab.geometry.tool import Context, Tool
from lab.geometry.transforms import pose, refuse_flat, transformed
from lab.ranges import Word


@dataclass(frozen=True, kw_only=True)
class LoadFile(Tool):
    """Adds the mesh of a file; what the file has and a mesh has not is warned of.

    Attributes:
        file: ends in .glb, .ply, .obj or .stl; a path from the working directory.
        at: metres.
        rotate: degrees about the world's x, then y, then z.
        scale: along x, y, z; 0.001 each for a file in millimetres.
    """

    word: ClassVar[str] = "load"

    file: Word
    at: Vector = (0.0, 0.0, 0.0)
    rotate: Vector = (0.0, 0.0, 0.0)
    scale: Vector = (1.0, 1.0, 1.0)

    def check(self) -> None:
        """Refuse a scale that flattens."""
        refuse_flat(self.scale)

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh with that of the file."""
        from lab.geometry.files import read_mesh

        try:
            loaded = read_mesh(self.file)
        except GeometryError as error:
            raise error.within("file") from error
        for note in loaded.notes:
            warnings.warn(f"{self.file}: {note}", stacklevel=2)
        context.budget.afford(mesh.num_triangles + loaded.mesh.num_triangles)
        return append(mesh, transformed(loaded.mesh, pose(self.at, self.rotate, self.scale)))
