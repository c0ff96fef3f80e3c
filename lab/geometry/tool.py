"""A tool is a frozen dataclass of parameters that makes a new mesh from a mesh; a script is a list of tools."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, empty_mesh
from lab.geometry.parameters import Parameters
from lab.geometry.validation import validate
from lab.ranges import Ge, Gt

BYTES_PER_TRIANGLE = 120
"""Of a mesh with normals and one UV layer: indices, group and slot, and half a vertex and its elements."""


@dataclass(frozen=True)
class Budget(Parameters):
    """What stops a runaway script.

    Attributes:
        triangles: the most that a mesh may have after any step.
        megabytes: the most that the arrays of a mesh may take.
    """

    triangles: Annotated[int, Ge(1)] = 1_000_000
    megabytes: Annotated[float, Gt(0)] = 1024.0

    def afford(self, triangles: int, num_bytes: int | None = None) -> None:
        """Refuse a mesh that is too large: called before its arrays are made, too.

        Args:
            triangles: how many it has or will have.
            num_bytes: what its arrays take; estimated from the triangles if not given.

        Raises:
            GeometryError: it is over the budget.
        """
        size = (triangles * BYTES_PER_TRIANGLE if num_bytes is None else num_bytes) / 1e6
        if triangles > self.triangles:
            raise GeometryError(f"makes {triangles} triangles; budget.triangles allows {self.triangles}")
        if size > self.megabytes:
            raise GeometryError(f"makes a mesh of {size:.1f} MB; budget.megabytes allows {self.megabytes:g}")


@dataclass(frozen=True)
class Context:
    """Where a tool runs.

    Attributes:
        seed: of the script; randomness of a step is a function of (seed, its place in the script).
        place: the indices that lead to this step, ``(2, 0)`` for the first step of the operand of the third.
        budget: see there.
    """

    seed: int = 0
    place: tuple[int, ...] = ()
    budget: Budget = dataclasses.field(default_factory=Budget)

    def random(self) -> np.random.Generator:
        """Return the generator of this step."""
        return np.random.default_rng([self.seed, *(index + 1 for index in self.place)])

    def inside(self, *indices: int) -> Context:
        """Return the context of a step of this tool's operand."""
        return dataclasses.replace(self, place=(*self.place, *indices))


class Tool(Parameters, ABC):
    """An operation with its parameters; subclasses are frozen dataclasses with keyword-only fields.

    Attributes:
        word: what the operation is called in a script; ``lab.geometry.words`` has it too.
    """

    word: ClassVar[str]

    @abstractmethod
    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh after this operation; the given one stays as it is.

        Raises:
            GeometryError: a parameter cannot be, or the mesh does not allow the operation. The script adds the place.
        """

    def operands(self) -> dict[str, Sequence[Tool]]:
        """Return the nested scripts of this tool, by the name of the parameter: a boolean's operand."""
        return {
            name: value
            for name, value in self.values().items()
            if isinstance(value, tuple) and value and all(isinstance(item, Tool) for item in value)
        }

    def operand(self, name: str, context: Context) -> DynamicMesh:
        """Run a nested script of this tool, from an empty mesh.

        Args:
            name: of the parameter.
            context: of this tool.

        Raises:
            GeometryError: a step of it failed; the path leads to it.
        """
        mesh = empty_mesh()
        for index, tool in enumerate(getattr(self, name)):
            mesh = applied(tool, mesh, context.inside(index), name)
        return mesh


def applied(tool: Tool, mesh: DynamicMesh, context: Context, name: str = "steps") -> DynamicMesh:
    """Return the mesh after one step, within the budget and sound.

    Args:
        tool: the step.
        mesh: before it.
        context: of the step; the last index of its place is the step's.
        name: of the list that the step stands in, for errors.

    Raises:
        GeometryError: with the step's place, its word and the parameter as its path.
    """
    try:
        after = tool.apply(mesh, context)
        context.budget.afford(after.num_triangles, after.num_bytes)
        validate(after)
    except GeometryError as error:
        raise error.within(name, context.place[-1], tool.word) from error
    return after
