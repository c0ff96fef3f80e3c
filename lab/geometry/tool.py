"""A tool is a frozen dataclass of parameters that makes a new mesh from a mesh; a script is a list of tools."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lab.geometry.mesh import DynamicMesh


@dataclass(frozen=True)
class Budget:
    """What stops a runaway script.

    Attributes:
        triangles: the most that a mesh may have after any step.
        megabytes: the most that the arrays of a mesh may take.
    """

    triangles: int = 1_000_000
    megabytes: float = 1024.0


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
    budget: Budget = Budget()

    def random(self) -> np.random.Generator:
        """Return the generator of this step."""
        return np.random.default_rng([self.seed, *(index + 1 for index in self.place)])


class Tool(ABC):
    """An operation with its parameters; subclasses are frozen dataclasses.

    Attributes:
        word: what the operation is called in a script.
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
        return {}
