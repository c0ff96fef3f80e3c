"""The modules of a network by name, without the names of wrappers, and patterns that select some of them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator

from torch import nn

from lab.compat.torch import COMPILED, children_of, is_compiled_in_place
from lab.errors import ConfigError, closest

_INSIDE = (COMPILED, "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Under which torch.compile, FSDP and activation checkpointing hold the module that they wrap."""


def named_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return every module of a network by its name in the plain network; a shared one under each of its names.

    DDP, DataParallel, FSDP, activation checkpointing and torch.compile wrap modules and add a part to their names. Here
    a wrapped module has the name that it had before. The network itself has the name ``""``.
    """
    return {name: module for name, module, _ in _walk(model, "", ())}


def select(model: nn.Module, patterns: str | Iterable[str]) -> dict[str, nn.Module]:
    """Return the modules that any of the patterns matches, in the order of the network.

    Args:
        model: the network; it may be wrapped.
        patterns: names such as ``"layer3"``. Each part between dots is a shell pattern: ``*`` is any one part,
            ``layer*`` one that begins so; ``**`` is any number of parts, also none. ``""`` is the network itself.

    Raises:
        ConfigError: a pattern matches nothing, or there is none.
    """
    modules = named_modules(model)
    found: dict[str, nn.Module] = {}
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    if not given:
        raise ConfigError(f"no module of {type(model).__name__} is named: give names or patterns, such as 'layer3'")
    for pattern in given:
        parts = pattern.split(".") if pattern else []
        matched = [name for name in modules if _matches(name.split(".") if name else [], parts)]
        if not matched:
            near = closest(pattern, modules) or f"; it has {', '.join(_top(modules))}"
            raise ConfigError(f"{type(model).__name__} has no module {pattern!r}{near}")
        found.update({name: modules[name] for name in matched})
    return {name: module for name, module in modules.items() if name in found}


def compiled_around(model: nn.Module, name: str) -> str | None:
    """Return the name of the compiled module that holds the module ``name`` or is it; None if nothing is compiled."""
    for each, _, compiled in _walk(model, "", ()):
        if each == name:
            return compiled[0] if compiled else None
    return None


def _matches(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[count:], pattern[1:]) for count in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _walk(module: nn.Module, name: str, compiled: tuple[str, ...]) -> Iterator[tuple[str, nn.Module, tuple[str, ...]]]:
    """Yield name, module, and the names of the compiled modules around it, outermost first."""
    while (inner := _wrapped(module)) is not None:
        if COMPILED in dict(module.named_children()) or is_compiled_in_place(module):
            compiled = (*compiled, name)
        module = inner
    if is_compiled_in_place(module):
        compiled = (*compiled, name)
    yield name, module, compiled
    for part, child in children_of(module).items():
        yield from _walk(child, f"{name}.{part}" if name else part, compiled)


def _wrapped(module: nn.Module) -> nn.Module | None:
    """Return the module that a wrapper holds; None if it is no wrapper."""
    if isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel):
        inner: nn.Module = module.module
        return inner
    children = dict(module.named_children())
    return next((children[name] for name in _INSIDE if name in children), None)


def _top(modules: Iterable[str], count: int = 8) -> list[str]:
    names = [name for name in modules if name and "." not in name]
    return names[:count] if len(names) <= count else [*names[:count], "..."]
