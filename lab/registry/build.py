"""Recursive building: a tree of nested dicts becomes a tree of objects in one call.

A dict with ``_target_`` (or another key, as MMDetection's ``type``) is a node. Its target is a registered model's name
or the dotted path of an object of an allowed kind (``lab.registry.allowed``), its other keys are arguments. The whole
tree is checked before anything is constructed, and every error names the dotted path of the node in the config.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.checkpoint.unpickling import reason_of
from lab.config.arguments import join_path
from lab.errors import ConfigError, LabError, RegistryError, closest
from lab.registry.allowed import NotAllowed, admit, is_sealed
from lab.registry.arguments import check_call, gathered, hinted_classes, signature_of
from lab.registry.create import classes_of, create_model
from lab.registry.models import is_model, list_models, model_entrypoint
from lab.registry.names import parse_model_name


@dataclass(frozen=True)
class _Node:
    """A checked node: its callable, its arguments (not yet built), and its path in the config."""

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
        where: a prefix of every path in an error, ``"model"`` for instance.
        **overrides: arguments of the root node, which replace the config's; a dotted name reaches into the tree.

    Raises:
        ConfigError: a target is unknown, of no allowed kind, or does not take the arguments; or its constructor failed
            (then the constructor's exception is the cause).
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
        return {key: _copy(item, join_path(path, key), (*above, id(value))) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        items = [_copy(item, join_path(path, index), (*above, id(value))) for index, item in enumerate(value)]
        return tuple(items) if type(value) is tuple else items if not hasattr(value, "_fields") else value
    return value


def _override(tree: Any, name: str, value: Any, where: str) -> None:
    *parents, last = name.split(".")
    node = tree
    for part in parents:
        if not isinstance(node, dict) or part not in node:
            known = closest(part, map(str, node)) if isinstance(node, dict) else ""
            raise ConfigError(f"{join_path(where, name)}: the config has no {part!r}{known}")
        node = node[part]
    if not isinstance(node, dict):
        raise ConfigError(f"{join_path(where, name)}: there is no mapping to put it into")
    node[last] = _copy(value, join_path(where, name), ())


def _plan(value: Any, path: str, target_key: str) -> Any:
    """Resolve every target and check every signature; nothing is constructed yet."""
    if isinstance(value, list | tuple):
        if hasattr(value, "_fields"):
            return value
        return type(value)(_plan(item, join_path(path, index), target_key) for index, item in enumerate(value))
    if not isinstance(value, dict):
        return value
    if target_key not in value:
        return {key: _plan(item, join_path(path, key), target_key) for key, item in value.items()}
    arguments = {key: item for key, item in value.items() if key != target_key}
    positional = arguments.pop("_args_", [])
    partial = arguments.pop("_partial_", False)
    name, call = _resolve(value[target_key], path, target_key)
    checked, bound, extra = _entry(call)
    num_positional = len(bound) + len(positional)
    check_call(checked, arguments, path, name, num_positional, extra, not partial, target_key)
    planned = {key: _plan(item, join_path(path, key), target_key) for key, item in arguments.items()}
    by_position = _plan(list(positional), join_path(path, "_args_"), target_key)
    return _Node(call, name, path, by_position, planned, bool(partial))


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
        return functools.partial(value.call, *positional, **gathered(value.call, arguments))
    at = f"{value.path}: " if value.path else ""
    try:
        return value.call(*positional, **gathered(value.call, arguments))
    except LabError as error:
        raise type(error)(f"{at}{error}") from error
    except Exception as error:
        raise ConfigError(f"{at}{value.name} failed with {reason_of(error)}") from error


def _resolve(target: Any, path: str, target_key: str) -> tuple[str, Callable[..., Any]]:
    """Return name and callable of a target: a registered model, a dotted path, or the callable itself."""
    at = join_path(path, target_key)
    if callable(target) and not is_sealed():  # given from Python: no value of a config file is callable
        return getattr(target, "__qualname__", repr(target)), target
    if not isinstance(target, str) or not target:
        raise ConfigError(f"{at}: expected a name, got {target!r}")
    if ":" in target or is_model(target):
        try:
            source = parse_model_name(target).source
        except RegistryError as error:
            raise RegistryError(f"{at}: {error}") from error
        if is_sealed() and source not in ("lab", "timm"):
            raise ConfigError(f"{at}: {target!r} may not be named by a checkpoint: it is read from outside of it")
        return target, functools.partial(create_model, target)
    if "." not in target:
        raise RegistryError(f"{at}: unknown model {target!r}{closest(target, list_models())}")
    try:
        return target, admit(target)
    except NotAllowed as error:
        raise NotAllowed(f"{at}: {error.problem}", error.hint) from None
    except ConfigError as error:
        raise ConfigError(f"{at}: {error}") from error


def taken_arguments(target: str) -> frozenset[str]:
    """Return the names of the arguments that a registered model or a dotted path takes.

    Raises:
        ConfigError: the target is not in an allowed package, or does not exist.
        RegistryError: a target without a dot is no registered model.
    """
    _, call = _resolve(target, "", "_target_")
    call, _, _ = _entry(call)
    signature = signature_of(call)
    return frozenset(signature.arguments if signature is not None else ())


def made_classes(target: Any, where: str = "") -> tuple[type, ...]:
    """Return the classes that a target may make, without making an object; none if this is not known before.

    Raises:
        ConfigError: the target may not be named, or does not exist.
        RegistryError: a target without a dot is no registered model.
    """
    name, call = _resolve(target, where, "_target_")
    if isinstance(call, functools.partial):
        source = parse_model_name(name).source
        if source != "lab":
            return classes_of(source)
        call = model_entrypoint(name)
    if inspect.isclass(call):
        return (call,)
    # A function of another package may return a subclass of its annotation.
    return hinted_classes(call) if str(getattr(call, "__module__", "")).startswith("lab.") else ()


def _entry(call: Callable[..., Any]) -> tuple[Callable[..., Any], Sequence[Any], set[str]]:
    """Return the function that is finally called, its arguments so far, and ``create_model``'s own options.

    For the name of one of lab's models this is its entry function.
    """
    if not isinstance(call, functools.partial):
        return call, (), set()
    name = parse_model_name(call.args[0])
    if name.source != "lab":
        return call.func, call.args, set()
    options = inspect.signature(call.func).parameters
    extra = {key for key, item in options.items() if item.kind is item.KEYWORD_ONLY}
    return model_entrypoint(name.name), (), extra
