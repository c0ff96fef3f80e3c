"""Which triangles an operation is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from lab.errors import GeometryError, closest
from lab.geometry.measures import face_normals
from lab.geometry.mesh import DynamicMesh, Flags
from lab.geometry.parameters import Parameters, Vector
from lab.ranges import Ge, Le, MinLen


@dataclass(frozen=True, kw_only=True)
class Selection(Parameters):
    """Triangles that meet every condition given; without any, all triangles.

    Attributes:
        polygroups: of one of these polygroups.
        materials: of one of the slots of these names.
        box: whose centroid lies in the box from one corner to the other, borders included, metres.
        facing: whose normal points this way, any length.
        within: degrees that a normal may turn from ``facing``.
        invert: all but these.
    """

    polygroups: Annotated[tuple[int, ...], MinLen(1)] | None = None
    materials: Annotated[tuple[str, ...], MinLen(1)] | None = None
    box: tuple[Vector, Vector] | None = None
    facing: Vector | None = None
    within: Annotated[float, Ge(0), Le(180)] = 1.0
    invert: bool = False

    def check(self) -> None:
        """Refuse a direction without length."""
        if self.facing is not None and not any(self.facing):
            raise GeometryError("is a direction: not all three are 0", "facing")

    def pick(self, mesh: DynamicMesh) -> Flags:
        """Return (F,) whether each triangle is selected.

        Raises:
            GeometryError: a material or polygroup is not there, or no triangle is selected.
        """
        chosen = np.ones(mesh.num_triangles, dtype=bool)
        if self.polygroups is not None:
            chosen &= self._of_groups(mesh, self.polygroups)
        if self.materials is not None:
            chosen &= self._of_materials(mesh, self.materials)
        if self.box is not None:
            low, high = np.sort(self.box, axis=0)
            centroids = mesh.positions[mesh.triangles].mean(1)
            chosen &= ((low <= centroids) & (centroids <= high)).all(1)
        if self.facing is not None:
            direction = np.array(self.facing) / np.linalg.norm(self.facing)
            chosen &= face_normals(mesh) @ direction >= np.cos(np.radians(self.within)) - 1e-12
        chosen = ~chosen if self.invert else chosen
        if not chosen.any():
            raise GeometryError(f"selects none of the {mesh.num_triangles} triangles")
        return chosen

    def within_step(self, mesh: DynamicMesh, name: str) -> Flags:
        """Return ``pick`` of a tool's parameter; errors have its name before their path."""
        try:
            return self.pick(mesh)
        except GeometryError as error:
            raise error.within(name) from error

    def _of_groups(self, mesh: DynamicMesh, groups: tuple[int, ...]) -> Flags:
        for index, group in enumerate(groups):
            if not (mesh.polygroups == group).any():
                known = ", ".join(map(str, np.unique(mesh.polygroups)[:20]))
                raise GeometryError(f"there is no polygroup {group}; there are {known}", "polygroups", index)
        return np.isin(mesh.polygroups, groups)

    def _of_materials(self, mesh: DynamicMesh, wanted: tuple[str, ...]) -> Flags:
        names = [material.name for material in mesh.materials]
        for index, name in enumerate(wanted):
            if name not in names:
                known = closest(name, names) or f"; there are {', '.join(names)}"
                raise GeometryError(f"there is no material {name!r}{known}", "materials", index)
        return np.isin(mesh.slots, [names.index(name) for name in wanted])
