"""A script that is being worked on: steps added, edited and taken away, with undo and redo; meshes between are kept."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from lab.errors import GeometryError, closest
from lab.geometry.mesh import DynamicMesh, empty_mesh
from lab.geometry.script import Script
from lab.geometry.tool import Tool, applied


class Session:
    """Edits of a script. Each is made whole or, where a step then fails, not at all.

    Only the steps from the first changed one on are run again. Undoing needs no step to be run, as long as the meshes
    are still kept.

    Args:
        script: to begin with.
        megabytes: the most that meshes kept from earlier may take; the least recently used ones go first.

    Raises:
        GeometryError: a step of the script fails.
    """

    def __init__(self, script: Script | None = None, megabytes: float = 512.0) -> None:
        self._megabytes = megabytes
        self._meshes: OrderedDict[tuple[int, ...], tuple[Script, DynamicMesh]] = OrderedDict()
        self._done: list[Script] = []
        self._undone: list[Script] = []
        self.num_runs = 0  # steps run so far
        self._script = Script(steps=()) if script is None else script
        self.mesh_after(len(self._script.steps))

    @property
    def script(self) -> Script:
        """The script as it is now."""
        return self._script

    @property
    def mesh(self) -> DynamicMesh:
        """The mesh after the last step."""
        return self.mesh_after(len(self._script.steps))

    def mesh_after(self, count: int) -> DynamicMesh:
        """Return the mesh after the first ``count`` steps."""
        return self._run(self._script, count)

    def preview(self, tool: Tool) -> DynamicMesh:
        """Return what ``add`` would make; the script stays as it is.

        Raises:
            GeometryError: the step fails.
        """
        return self._run(self._with_steps((*self._script.steps, tool)), len(self._script.steps) + 1)

    def preview_edit(self, place: int | Sequence[int | str], values: Mapping[str, Any]) -> DynamicMesh:
        """Return what ``edit`` would make; the script stays as it is.

        Raises:
            GeometryError: as ``edit``.
        """
        changed = self._with_values(place, values)
        return self._run(changed, len(changed.steps))

    def add(self, tool: Tool) -> DynamicMesh:
        """Append a step; return the mesh.

        Raises:
            GeometryError: the step fails.
        """
        return self._take(self._with_steps((*self._script.steps, tool)))

    def insert(self, index: int, tool: Tool) -> DynamicMesh:
        """Put a step before the one of an index; return the mesh. Later steps draw other random numbers than before.

        Raises:
            GeometryError: there is no such place, or a step fails.
        """
        steps = self._script.steps
        if not 0 <= index <= len(steps):
            raise GeometryError(f"there is no place {index} among {len(steps)} steps")
        return self._take(self._with_steps((*steps[:index], tool, *steps[index:])))

    def remove(self, index: int) -> DynamicMesh:
        """Take a step away; return the mesh.

        Raises:
            GeometryError: there is no such step, or a later one fails.
        """
        steps = self._script.steps
        self._step(steps, index, ())
        return self._take(self._with_steps((*steps[:index], *steps[index + 1 :])))

    def edit(self, place: int | Sequence[int | str], values: Mapping[str, Any]) -> DynamicMesh:
        """Change parameters of a step; return the mesh.

        Args:
            place: the index of the step; of one in a nested script ``(2, "other", 0)``.
            values: new values by parameter.

        Raises:
            GeometryError: there is no such step or parameter, a value cannot be, or a step fails.
        """
        return self._take(self._with_values(place, values))

    def undo(self) -> DynamicMesh:
        """Go back to the script before the last change; return the mesh.

        Raises:
            GeometryError: nothing was changed.
        """
        if not self._done:
            raise GeometryError("there is nothing to undo")
        self._undone.append(self._script)
        self._script = self._done.pop()
        return self.mesh

    def redo(self) -> DynamicMesh:
        """Go forward to the script that was undone last; return the mesh.

        Raises:
            GeometryError: nothing was undone since the last change.
        """
        if not self._undone:
            raise GeometryError("there is nothing to redo")
        self._done.append(self._script)
        self._script = self._undone.pop()
        return self.mesh

    def _take(self, script: Script) -> DynamicMesh:
        mesh = self._run(script, len(script.steps))
        self._done.append(self._script)
        self._undone.clear()
        self._script = script
        return mesh

    def _with_steps(self, steps: tuple[Tool, ...]) -> Script:
        return dataclasses.replace(self._script, steps=steps)

    def _with_values(self, place: int | Sequence[int | str], values: Mapping[str, Any]) -> Script:
        path = (place,) if isinstance(place, int) else tuple(place)
        return self._with_steps(self._changed(self._script.steps, path, values, ("steps",)))

    def _changed(
        self,
        steps: tuple[Tool, ...],
        path: Sequence[int | str],
        values: Mapping[str, Any],
        outer: tuple[str | int, ...],
    ) -> tuple[Tool, ...]:
        index = path[0]
        tool = self._step(steps, index, outer)
        here = (*outer, int(index), tool.word)
        if len(path) > 2:
            name = str(path[1])
            if name not in tool.operands():
                raise GeometryError(f"has no nested script {name!r}{closest(name, tool.operands())}").within(*here)
            values = {name: self._changed(getattr(tool, name), path[2:], values, (*here, name))}
        try:
            changed = type(tool).of({**tool.values(), **values})
        except GeometryError as error:
            raise error.within(*here) from error
        return (*steps[: int(index)], changed, *steps[int(index) + 1 :])

    def _step(self, steps: tuple[Tool, ...], index: int | str, outer: tuple[str | int, ...]) -> Tool:
        if not isinstance(index, int) or not 0 <= index < len(steps):
            raise GeometryError(f"there is no step {index!r} among {len(steps)}").within(*outer)
        return steps[index]

    def _run(self, script: Script, count: int) -> DynamicMesh:
        known = count
        while known and self._key(script, known) not in self._meshes:
            known -= 1
        mesh = self._meshes[self._key(script, known)][1] if known else empty_mesh()
        for index in range(known, count):
            mesh = applied(script.steps[index], mesh, script.context(index))
            self.num_runs += 1
            self._keep(script, index + 1, mesh)
        if count:
            self._meshes.move_to_end(self._key(script, count))
        return mesh

    def _key(self, script: Script, count: int) -> tuple[int, ...]:
        # Tools are told apart by identity. A kept mesh keeps its script too, so that no identity is given away again.
        return (script.seed, id(script.budget), *map(id, script.steps[:count]))

    def _keep(self, script: Script, count: int, mesh: DynamicMesh) -> None:
        self._meshes[self._key(script, count)] = (script, mesh)
        while len(self._meshes) > 1 and self.num_bytes > self._megabytes * 1e6:
            self._meshes.popitem(last=False)

    @property
    def num_bytes(self) -> int:
        """What the meshes that are kept take."""
        return sum(mesh.num_bytes for _, mesh in self._meshes.values())
