"""Where ``lab new`` writes: a user's project, found by ``[tool.lab]`` in its pyproject.toml, or lab's checkout."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from lab.config.group_files import options
from lab.errors import ConfigError


@dataclass(frozen=True)
class ProjectFolder:
    """A project or lab's own checkout.

    Attributes:
        root: its folder, which holds pyproject.toml and conf/.
        package: the package that gets new modules: ``lab`` in the checkout.
    """

    root: Path
    package: str

    @property
    def is_lab(self) -> bool:
        """Whether this is lab's own checkout."""
        return self.package == "lab"

    @property
    def command(self) -> str:
        """What a command line begins with here, in the folder ``root``."""
        return "python run.py" if self.is_lab else f"lab --config-dir conf extensions=[{self.package}]"

    def holder(self, name: str) -> str:
        """Return what of the project's own has a name, in words, or ``""``."""
        for group, what in (("model", "model"), ("data", "dataset"), ("eval", "kind of problem")):
            if name in options(group, [self.root / "conf"]):
                return f"there is a {what} of this name in {self.root / 'conf' / group}"
        for part in ("models", "data", "tasks"):
            folder = self.root / self.package / part
            if (folder / name).exists() or (folder / f"{name}.py").exists():
                return f"there is a module of this name in {folder}"
        return ""

    def folders(self, word: str, name: str, kind: str) -> dict[str, str]:
        """Return where the parts of a template belong, relative to ``root``.

        Args:
            word: ``model``, ``data`` or ``task``.
            name: of what is made.
            kind: its kind of problem.
        """
        rooms = {
            "model": ("models/{name}", "tests/models", "tests/unit/models"),
            "task": ("tasks/{name}", "tests/tasks", "tests/unit/tasks/{name}"),
            "data": ("tasks/{kind}/data" if self.is_lab else "data", "tests/data", "tests/unit/tasks/{kind}/data"),
        }
        room, of_project, of_lab = (part.format(name=name, kind=kind) for part in rooms[word])
        found = {"room": f"{self.package}/{room}", "conf": "conf", "tests": of_lab if self.is_lab else of_project}
        if word == "task":
            found["types"] = "lab/structures" if self.is_lab else found["room"]
            found["net"] = f"lab/models/{name}_net" if self.is_lab else found["room"]
        return found

    def types_file(self, name: str) -> str:
        """Return the name of the file with the types of a kind of problem."""
        return f"{name}.py" if self.is_lab else "structures.py"


def find_place(start: Path) -> ProjectFolder:
    """Return the project or checkout that a folder lies in.

    Raises:
        ConfigError: it lies in neither, or a pyproject.toml on the way cannot be read.
    """
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file() and (package := _package_of(file)):
            return ProjectFolder(folder, package)
    raise ConfigError(
        f"{start} is not inside a project: make one with `lab new project NAME` and go there (or into lab's checkout); "
        'a project\'s pyproject.toml has a table [tool.lab] with package = "NAME"'
    )


def _package_of(file: Path) -> str:
    """Return the package that a pyproject.toml names for ``lab new``; ``""`` if it is about something else."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from error
    table = content.get("tool", {}).get("lab")
    if table is None:
        is_lab = content.get("project", {}).get("name") == "lab" and (file.parent / "lab" / "scaffold").is_dir()
        return "lab" if is_lab else ""
    package = table.get("package") if isinstance(table, dict) else None
    if not isinstance(package, str) or not package.isidentifier():
        raise ConfigError(f'{file}: the table [tool.lab] names the package of the project: package = "NAME"')
    if not (file.parent / package / "__init__.py").is_file():
        raise ConfigError(f"{file}: [tool.lab] names the package {package!r}, and there is no {package}/__init__.py")
    return package
