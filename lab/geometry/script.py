"""A script: steps that make a mesh, as a value that is kept in YAML and run as Python.

    seed: 0
    budget: {triangles: 200000}
    steps:
      - box: {size: [2, 1, 0.5], material: {name: wood, color: [0.5, 0.3, 0.1]}}
      - cylinder: {radius: 0.2, height: 1, at: [0, 0, 0.5]}

is ``Script(seed=0, budget=Budget(triangles=200000), steps=(Box(size=(2, 1, 0.5), ...), Cylinder(...)))``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, empty_mesh
from lab.geometry.parameters import Parameters, plain_fields
from lab.geometry.tool import Budget, Context, Tool, applied
from lab.geometry.yaml_text import dump_yaml, parse_yaml
from lab.ranges import Seed


@dataclass(frozen=True, kw_only=True)
class Script(Parameters):
    """Steps that make a mesh from nothing; the same script makes the same mesh.

    Attributes:
        steps: one after the other.
        seed: of the steps that draw numbers.
        budget: of each step's mesh.
    """

    steps: tuple[Tool, ...]
    seed: Seed = 0
    budget: Budget = field(default_factory=Budget)

    def context(self, index: int) -> Context:
        """Return where the step of an index runs."""
        return Context(self.seed, (index,), self.budget)

    def run(self) -> DynamicMesh:
        """Return the mesh after the last step.

        Raises:
            GeometryError: a step failed; the path leads to it.
        """
        mesh = empty_mesh()
        for state in self.states():
            mesh = state
        return mesh

    def states(self) -> Iterator[DynamicMesh]:
        """Yield the mesh after each step.

        Raises:
            GeometryError: a step failed; the path leads to it.
        """
        mesh = empty_mesh()
        for index, tool in enumerate(self.steps):
            mesh = applied(tool, mesh, self.context(index))
            yield mesh


def parse_script(text: str, name: str = "script", changes: Sequence[str] = ()) -> Script:
    """Return the script of a YAML text.

    Args:
        text: see the module.
        name: what errors call the text.
        changes: values that take the place of the text's: ``steps[1].cylinder.radius=0.3``.

    Raises:
        GeometryError: it is no YAML, or a step cannot be: with the line, the step, the parameter.
    """
    document = parse_yaml(text, name)
    if not isinstance(document.value, Mapping):
        raise GeometryError(f"{document.name}: a script is a mapping with 'steps', a list")
    for change in changes:
        document.change(change)
    try:
        script: Script = Script.of(document.value)
    except GeometryError as error:
        raise GeometryError(f"{document.place(error.path)}: {error}") from error
    return script


def read_script(path: str | Path, changes: Sequence[str] = ()) -> Script:
    """Return the script of a YAML file.

    Args:
        path: of the file.
        changes: see ``parse_script``.

    Raises:
        GeometryError: it cannot be read, or as ``parse_script``.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GeometryError(f"{path}: cannot be read: {error}") from error
    return parse_script(text, str(path), changes)


def script_text(script: Script) -> str:
    """Return the YAML of a script: parameters that have their defaults are left out; reading it gives an equal one."""
    return dump_yaml(plain_fields(script))
