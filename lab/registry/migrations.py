"""Older layouts of weights: pure functions that lead a state dict of a class from one version to the next.

A network class, or any module class within one, whose parameters are renamed, split or turned says so:

    class Decoder(nn.Module):
        weights_version = 2  # a class that says nothing has version 1

and the function that brings weights of version 1 to version 2 stands in ``weights.py`` beside the module of the class:

    @migrates("lab.models.mine.network.Decoder", 1)
    def name_the_heads(state_dict): ...

It takes and returns the tensors of one such module, with keys as its own ``state_dict()`` has them. Checkpoints and
consolidated files record the versions of their classes, and every reader of weights applies the steps 1 to 2 to 3. A
missing step is refused. Renames across modules belong to the module that holds them both; it is migrated first.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lab.checkpoint.unpickling import reason_of
from lab.config.sources import find_module
from lab.errors import CheckpointError, RegistryError
from lab.system.registrations import make_table

if TYPE_CHECKING:
    from torch import Tensor, nn

Migration = Callable[[dict[str, "Tensor"]], Mapping[str, "Tensor"]]
MigrationT = TypeVar("MigrationT", bound=Callable[..., Any])
Versions = Mapping[str, int]
"""Of each class that says it, by its path, the version of its weights. A class that is not there has version 1."""

RECORD = "weights_versions"
"""The key of the versions in a checkpoint's state and in the header of a file."""
_registered: dict[str, Callable[..., Any]] = make_table(lambda _, function: str(function.__module__))


def migrates(path: str, from_version: int) -> Callable[[MigrationT], MigrationT]:
    """Register a function that leads weights of a class from ``from_version`` to the next version.

    Args:
        path: module and name of the class that has ``weights_version``, as a literal: it need not be imported.
        from_version: the version of the weights that the function takes, from 1.

    Raises:
        RegistryError: the step is registered already, by another function; or the version is below 1.
    """

    def register(function: MigrationT) -> MigrationT:
        key, place = _key(path, from_version), f"{function.__module__}.{function.__qualname__}"
        if from_version < 1:
            raise RegistryError(f"{place} migrates from version {from_version}: versions begin at 1")
        known = _registered.get(key)
        if known is not None and f"{known.__module__}.{known.__qualname__}" != place:
            raise RegistryError(f"{key} is migrated twice: by {known.__module__}.{known.__qualname__} and by {place}")
        _registered[key] = function
        return function

    return register


@dataclass(frozen=True)
class MigrationStep:
    """One step of one module.

    Attributes:
        prefix: of the module's keys.
        path: its class.
        version: of the weights before the step.
        function: the migration.
    """

    prefix: str
    path: str
    version: int
    function: Migration


def versions_of(model: nn.Module) -> dict[str, int]:
    """Return what a file of a network's weights records: the versions of its classes that have one."""
    found = (_declared(module) for module in model.modules())
    return {path: version for path, version in found if path}


def check_versions(value: Any, where: str) -> dict[str, int]:
    """Return the versions that a file records, or refuse them.

    Raises:
        CheckpointError: they are no numbers by path.
    """
    plain = isinstance(value, Mapping) and all(
        isinstance(path, str) and isinstance(version, int) and not isinstance(version, bool) and version >= 1
        for path, version in value.items()
    )
    if not plain:
        raise CheckpointError(f"{where} is damaged: its {RECORD} are no version numbers of classes")
    return dict(value)


def steps_to(model: nn.Module, versions: Versions, where: str) -> list[MigrationStep]:
    """Return the steps that lead weights of other versions to a network's own, in the order to take them.

    Args:
        model: the network that the weights are for.
        versions: of the classes in the file.
        where: the file, for errors.

    Raises:
        CheckpointError: a step is missing, or the weights are of a later version.
    """
    steps = []
    for name, module in model.named_modules(remove_duplicate=False):
        path, own = _declared(module)
        found = versions.get(path, 1) if path else own
        if found > own:
            raise CheckpointError(
                f"{where}: its weights of {path} are of version {found}, and this lab knows {own}: they were written "
                "by a later one"
            )
        for version in range(found, own):
            steps.append(MigrationStep(f"{name}." if name else "", path, version, _function(path, version, own, where)))
    return steps


def migrate(state: Mapping[str, Tensor], steps: list[MigrationStep], where: str) -> dict[str, Tensor]:
    """Return a state dict after some steps.

    Args:
        state: the tensors of the network, without the prefixes of wrappers.
        steps: of ``steps_to``.
        where: the file, for errors.

    Raises:
        CheckpointError: a step does not know the keys.
    """
    from torch import Tensor

    current = dict(state)
    for step in steps:
        inside = {key.removeprefix(step.prefix): value for key, value in current.items() if key.startswith(step.prefix)}
        said = f"{where}: {step.path} from version {step.version} to {step.version + 1}"
        try:
            result = dict(step.function(inside))
        except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{said}: {step.function.__name__} failed ({reason_of(error)})") from error
        if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in result.items()):
            raise CheckpointError(f"{said}: {step.function.__name__} returned more than tensors by name")
        rest = {key: value for key, value in current.items() if not key.startswith(step.prefix)}
        current = rest | {step.prefix + key: value for key, value in result.items()}
    return current


def outdated(module: str, versions: Versions) -> tuple[str, int] | None:
    """Return the first class with migrations in a module whose recorded version is not the last one, and that version.

    Args:
        module: the imported module of the migrations, ``lab.models.mine.weights``.
        versions: what a file records.
    """
    for key, function in _registered.items():
        path, _, version = key.rpartition("@")
        if function.__module__ == module and versions.get(path, 1) <= int(version):
            return path, versions.get(path, 1)
    return None


def _declared(module: nn.Module) -> tuple[str, int]:
    """Return the path of the class that says the version of a module's weights, and the version; "" if none does."""
    for kind in type(module).__mro__:
        if "weights_version" in vars(kind):
            return f"{kind.__module__}.{kind.__qualname__}", int(vars(kind)["weights_version"])
    return "", 1


def _key(path: str, version: int) -> str:
    return f"{path}@{version}"


def _function(path: str, version: int, own: int, where: str) -> Migration:
    """Return a step; it is looked for in ``weights.py`` beside the module of the class, which is imported for it."""
    place = f"{path.rpartition('.')[0].rpartition('.')[0]}.weights"
    if _key(path, version) not in _registered and find_module(place) is not None:
        importlib.import_module(place)
    if _key(path, version) not in _registered:
        raise CheckpointError(
            f"{where}: its weights of {path} are of version {version}, here it has {own}, and no step leads from "
            f"{version} to {version + 1}: {place} should have a function with @migrates({path!r}, {version})"
        )
    return _registered[_key(path, version)]
