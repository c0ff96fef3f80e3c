"""Recursive building: a tree of nested dicts becomes a tree of objects in one call.

A dict with ``_target_`` (or another key, as MMDetection's ``type``) is a node: its target is a registered model's name
or the dotted path of a thing of an allowed kind (``lab.registry.allowed``), its other keys are arguments. The whole
tree is checked before anything is constructed, and every error names the dotted path in the config that led there.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.checkpoint.unpickling import reason_of
from lab.errors import ConfigError, LabError, RegistryError, closest
from lab.registry.allowed import NotAllowed, admit, allow_package, allowed_packages, is_sealed, register

__all__ = [
    "allow_package",
    "allowed_packages",
    "build",
    "check_arguments",
    "made_classes",
    "register",
    "taken_arguments",
]


@dataclass(frozen=True)
class _Node:
    """A checked node: what to call, with which (still unbuilt) arguments, and where it stands in the config."""

    call: Callable[..., Any]
    name: str
    path: str
    positional: Sequence[Any]
    arguments: Mapping[str, Any]
    partial: bool


def build(config: Any, /, *, target_key: str = "_target_", where: str = "", **overrides: Any) -> Any:
    """Construct everything that ``config`` describes, leaves first; the config itself is never changed.

    Args:
        config: nested mappings and sequences. Beside the arguments a node may have ``_args_`` (positional ones) and
            ``_partial_: true`` (return ``functools.partial`` instead of calling).
        target_key: the key that makes a mapping a node, ``"type"`` for MMDetection's dicts.
        where: what stands before every path in an error, ``"model"`` for instance.
        **overrides: arguments of the root node, before the config's; a dotted name reaches into the tree.

    Raises:
        ConfigError: a target is unknown, of no allowed kind, or does not take the arguments; or its constructor failed,
            whose own exception is the cause.
        RegistryError: a target without a dot is no registered model.
    """
    tree = _copy(config, where, ())
    for name, value in overrides.items():
        _override(tree, name, value, where)
    return _construct(_plan(tree, where, target_key))


def _copy(value: Any, path: str, above: tuple[int, ...]) -> Any:
    """Copy the containers (OmegaConf's too, which resolves them), not the leaves."""
    if id(value) in above:
        raise ConfigError(f"{path or 'config'}: the config contains itself")
    if isinstance(value, Mapping):
        return {key: _copy(item, _join(path, key), (*above, id(value))) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        items = [_copy(item, _join(path, index), (*above, id(value))) for index, item in enumerate(value)]
        return tuple(items) if type(value) is tuple else items if not hasattr(value, "_fields") else value
    return value


def _override(tree: Any, name: str, value: Any, where: str) -> None:
    *parents, last = name.split(".")
    node = tree
    for part in parents:
        if not isinstance(node, dict) or part not in node:
            known = closest(part, map(str, node)) if isinstance(node, dict) else ""
            raise ConfigError(f"{_join(where, name)}: the config has no {part!r}{known}")
        node = node[part]
    if not isinstance(node, dict):
        raise ConfigError(f"{_join(where, name)}: there is no mapping to put it into")
    node[last] = _copy(value, _join(where, name), ())


def _plan(value: Any, path: str, target_key: str) -> Any:
    """Resolve every target and check every signature; nothing is constructed yet."""
    if isinstance(value, list | tuple):
        if hasattr(value, "_fields"):
            return value
        return type(value)(_plan(item, _join(path, index), target_key) for index, item in enumerate(value))
    if not isinstance(value, dict):
        return value
    if target_key not in value:
        return {key: _plan(item, _join(path, key), target_key) for key, item in value.items()}
    arguments = {key: item for key, item in value.items() if key != target_key}
    positional = arguments.pop("_args_", [])
    partial = arguments.pop("_partial_", False)
    name, call = _resolve(value[target_key], path, target_key)
    checked = call.func if isinstance(call, functools.partial) else call
    _check(
        checked, call.args if isinstance(call, functools.partial) else (), arguments, positional, path, name, partial
    )
    planned = {key: _plan(item, _join(path, key), target_key) for key, item in arguments.items()}
    return _Node(call, name, path, _plan(list(positional), _join(path, "_args_"), target_key), planned, bool(partial))


def _construct(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _construct(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(map(_construct, value))
    if not isinstance(value, _Node):
        return value
    positional = [_construct(item) for item in value.positional]
    arguments = {key: _construct(item) for key, item in value.arguments.items()}
    if value.partial:
        return functools.partial(value.call, *positional, **arguments)
    at = f"{value.path}: " if value.path else ""
    try:
        return value.call(*positional, **arguments)
    except LabError as error:
        raise type(error)(f"{at}{error}") from error
    except Exception as error:
        raise ConfigError(f"{at}{value.name} failed with {reason_of(error)}") from error


def _resolve(target: Any, path: str, target_key: str) -> tuple[str, Callable[..., Any]]:
    """Return name and callable of a target: a registered model, a dotted path, or the callable itself."""
    from lab.registry import models as registry

    at = _join(path, target_key)
    if callable(target) and not is_sealed():  # handed over in Python: no text of a config is callable
        return getattr(target, "__qualname__", repr(target)), target
    if not isinstance(target, str) or not target:
        raise ConfigError(f"{at}: expected a name, got {target!r}")
    if ":" in target or registry.is_model(target):
        try:
            source = registry.parse_model_name(target).source
        except RegistryError as error:
            raise RegistryError(f"{at}: {error}") from error
        if is_sealed() and source not in ("lab", "timm"):
            raise ConfigError(f"{at}: {target!r} may not be named by a checkpoint: it is read from outside of it")
        return target, functools.partial(registry.create_model, target)
    if "." not in target:
        raise RegistryError(f"{at}: unknown model {target!r}{closest(target, registry.list_models())}")
    try:
        return target, admit(target)
    except NotAllowed as error:
        raise NotAllowed(f"{at}: {error.problem}", error.hint) from None
    except ConfigError as error:
        raise ConfigError(f"{at}: {error}") from error


def check_arguments(call: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> None:
    """Refuse arguments that ``call`` does not take, naming the closest ones it does.

    Raises:
        ConfigError: an argument is unknown, or a required one is missing.
    """
    _check(call, (), arguments, (), where, getattr(call, "__qualname__", str(call)), partial=False)


def _check(
    call: Callable[..., Any],
    bound: Sequence[Any],
    arguments: Mapping[str, Any],
    positional: Sequence[Any],
    path: str,
    name: str,
    partial: Any,
) -> None:
    call, bound, extra = _entry(call, bound)
    try:
        parameters = inspect.signature(call).parameters
    except ValueError:  # some functions written in C have no signature
        return
    taken = [item for item in parameters.values() if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    by_position = {item.name for item in taken[: len(bound) + len(positional)]}
    names, forwards = _names(call, parameters)
    if not forwards:
        for key in arguments:
            if key not in names and key not in extra:
                hint = closest(str(key), [*names, *extra]) or f"; it takes {', '.join(names) or 'no arguments'}"
                raise ConfigError(f"{_join(path, key)}: {name} takes no argument {str(key)!r}{hint}")
    clash = next((key for key in arguments if key in by_position), None)
    if clash is not None:
        raise ConfigError(f"{_join(path, clash)}: {name} gets {clash!r} twice, by position and by name")
    required = [item.name for item in parameters.values() if item.name in names and item.default is item.empty]
    missing = [key for key in required if key not in arguments and key not in by_position]
    if missing and not partial:
        raise ConfigError(f"{path or 'config'}: {name} needs {', '.join(map(repr, missing))}")


def taken_arguments(target: str) -> frozenset[str]:
    """Return the names of the arguments that a registered model or a dotted path takes.

    Raises:
        ConfigError: the target is not in an allowed package, or does not exist.
        RegistryError: a target without a dot is no registered model.
    """
    _, call = _resolve(target, "", "_target_")
    call, _, _ = _entry(call.func, call.args) if isinstance(call, functools.partial) else (call, (), set())
    return frozenset(_names(call, inspect.signature(call).parameters)[0])


def made_classes(target: Any, where: str = "") -> tuple[type, ...]:
    """Return the classes of what a target may make, without making it; none where only the making tells.

    Raises:
        ConfigError: the target may not be named, or does not exist.
        RegistryError: a target without a dot is no registered model.
    """
    name, call = _resolve(target, where, "_target_")
    if isinstance(call, functools.partial):
        from lab.registry import models as registry

        source = registry.parse_model_name(name).source
        if source != "lab":
            return registry.classes_of(source)
        call = registry.model_entrypoint(name)
    if inspect.isclass(call):
        return (call,)
    # What another package's function is annotated to return may be a base of what it returns.
    return _hinted_classes(call) if str(getattr(call, "__module__", "")).startswith("lab.") else ()


def _entry(call: Callable[..., Any], bound: Sequence[Any]) -> tuple[Callable[..., Any], Sequence[Any], set[str]]:
    """Return the entry function behind ``create_model`` of one of our models, and ``create_model``'s own options."""
    from lab.registry import models as registry

    if call is not registry.create_model or not bound or registry.parse_model_name(bound[0]).source != "lab":
        return call, bound, set()
    extra = {key for key, item in inspect.signature(call).parameters.items() if item.kind is item.KEYWORD_ONLY}
    return registry.model_entrypoint(registry.parse_model_name(bound[0]).name), (), extra


def _names(call: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> tuple[list[str], bool]:
    """Return the names that may be given, and whether any other may too."""
    names = [item.name for item in parameters.values() if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
    forwards = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    returned = _returned_class(call) if forwards else None
    if returned is None:
        return names, forwards
    # an entry function hands its **overrides on to the class it returns
    return [*names, *(key for key in inspect.signature(returned).parameters if key not in names)], False


def _returned_class(call: Callable[..., Any]) -> type | None:
    """Return the class that a function is annotated to return, if its constructor names all of its arguments."""
    classes = _hinted_classes(call)
    returned = classes[0] if len(classes) == 1 else None
    try:
        parameters = inspect.signature(returned).parameters.values() if returned is not None else ()
    except ValueError:  # a class written in C
        return None
    return returned if parameters and not any(item.kind is item.VAR_KEYWORD for item in parameters) else None


def _hinted_classes(call: Callable[..., Any]) -> tuple[type, ...]:
    """Return the classes that a function is annotated to return, if they are nothing but classes."""
    if not inspect.isfunction(call):
        return ()
    try:
        returned = typing.get_type_hints(call).get("return")
    except NameError:  # a name that stands under TYPE_CHECKING only
        return ()
    parts = typing.get_args(returned) if isinstance(returned, types.UnionType) else (returned,)
    return tuple(parts) if all(map(inspect.isclass, parts)) else ()


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
