"""Models by name, in timm's manner (``timm.models._registry``): register, list, look up.

``@register_model`` on an entry function registers its name. The names of lab's own architectures are read from their
source texts, so listing them imports no architecture and no torch. A user's package registers its models on import.
A name may carry a tag of pretrained weights (``"detr_resnet50.coco"``) and a source (``lab.registry.names``).
"""

from __future__ import annotations

import fnmatch
import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, overload

from lab.errors import RegistryError, closest
from lab.registry.allowed import vouch
from lab.registry.decorated import Registration, registered_in
from lab.registry.names import split_model_name_tag
from lab.registry.pretrained import WeightsSource
from lab.system.registrations import make_table

if TYPE_CHECKING:
    from torch import nn

_OPTIONS = ("pretrained", "classifier", "converter")
EntryPoint = TypeVar("EntryPoint", bound=Callable[..., Any])


@dataclass(frozen=True)
class ModelEntry:
    """A registered model; ``function`` is None until its module is imported."""

    name: str
    module: str
    file: str
    line: int
    pretrained: Mapping[str, WeightsSource] = field(default_factory=dict)
    classifier: tuple[str, ...] = ()
    converter: str | None = None
    function: Callable[..., Any] | None = None

    @property
    def place(self) -> str:
        """Module, file and line of the entry function."""
        return f"{self.module} ({self.file}:{self.line})"


_registered: dict[str, ModelEntry] = make_table(lambda _, entry: str(entry.module))


@functools.cache
def _ours() -> dict[str, ModelEntry]:
    """Read the entries of lab's own architectures from their source texts, so that the list is never out of date."""
    reading = registered_in("lab.models")
    if reading.mistakes:
        raise RegistryError(reading.mistakes[0])
    entries: dict[str, ModelEntry] = {}
    for registration in reading.found:
        entry = _entry_of(registration)
        if registration.unread:
            raise RegistryError(f"{entry.place}: {registration.unread[0]} of @register_model must be a literal")
        if entry.name in entries:
            place = entries[entry.name].place
            raise RegistryError(f"model {entry.name!r} is registered twice: in {place} and {entry.place}")
        entries[entry.name] = entry
    return entries


def _entry_of(registration: Registration) -> ModelEntry:
    """Return the entry that a registration will make when its module is imported."""
    where = (registration.name, registration.module, registration.file, registration.line)
    known = {key: value for key, value in registration.options.items() if key in _OPTIONS}
    return _make_entry(*where, **known)


def _make_entry(
    name: str,
    module: str,
    file: str,
    line: int,
    pretrained: Mapping[str, str | Mapping[str, Any]] | None = None,
    classifier: str | Sequence[str] = (),
    converter: str | None = None,
) -> ModelEntry:
    weights = {tag: WeightsSource.parse(source, f"{name}.{tag}") for tag, source in (pretrained or {}).items()}
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return ModelEntry(name, module, file, line, weights, heads, converter)


@overload
def register_model(function: EntryPoint) -> EntryPoint: ...


@overload
def register_model(
    *,
    pretrained: Mapping[str, str | Mapping[str, Any]] | None = ...,
    classifier: str | Sequence[str] = ...,
    converter: str | None = ...,
) -> Callable[[EntryPoint], EntryPoint]: ...


def register_model(
    function: Callable[..., Any] | None = None,
    *,
    pretrained: Mapping[str, str | Mapping[str, Any]] | None = None,
    classifier: str | Sequence[str] = (),
    converter: str | None = None,
) -> Any:
    """Register an entry function under its own name; within lab/models the arguments must be literals.

    Args:
        function: the entry function, when used without parentheses. It returns an ``nn.Module``.
        pretrained: a tag for each set of official weights, the first one being the default: a URL whose file name ends
            in ``-<first digits of its SHA-256>``, or a dict with ``url`` and other fields of ``WeightsSource``, and
            those of ``Preprocessing`` for what the weights need of their images.
        classifier: name(s) of the submodule(s) that depend on the number of classes; their weights are dropped if the
            number differs.
        converter: dotted path of a function ``state_dict -> state_dict`` that converts every known layout of keys to
            lab's, and leaves lab's own layout unchanged.

    Raises:
        RegistryError: the name is taken by another function; the error gives both places.
    """

    def register(entry_function: EntryPoint) -> EntryPoint:
        name, module = entry_function.__name__, entry_function.__module__
        code = getattr(entry_function, "__code__", None)
        file = code.co_filename if code else str(getattr(sys.modules.get(module), "__file__", module))
        entry = _make_entry(name, module, file, code.co_firstlineno if code else 0, pretrained, classifier, converter)
        for known in (_registered.get(name), _ours().get(name)):
            # The same place again means that the module is imported after it was read, or reloaded; another is a clash.
            # A class has no line number.
            if known is not None and not (known.module == entry.module and entry.line in (known.line, 0)):
                raise RegistryError(f"model {name!r} is registered twice: in {known.place} and {entry.place}")
        _registered[name] = replace(entry, function=entry_function)
        vouch(entry_function)
        return entry_function

    return register if function is None else register(function)


def is_model(name: str) -> bool:
    """Whether ``name`` is registered; its tag is ignored."""
    base = split_model_name_tag(name)[0]
    return base in _registered or base in _ours()


def list_models(
    pattern: str | Iterable[str] = "*", pretrained: bool = False, exclude: str | Iterable[str] = ()
) -> list[str]:
    """Return the names that match any of the shell patterns, in natural order; imports neither models nor torch.

    Args:
        pattern: one pattern (``"detr*"``) or several.
        pretrained: list ``name.tag`` of the models that have pretrained weights instead.
        exclude: pattern(s) of names to leave out.
    """
    entries = {**_ours(), **_registered}
    names = [f"{name}.{tag}" for name, entry in entries.items() for tag in entry.pretrained] if pretrained else entries
    wanted, unwanted = ((item,) if isinstance(item, str) else tuple(item) for item in (pattern, exclude))

    def matches(name: str, patterns: Iterable[str]) -> bool:
        base = split_model_name_tag(name)[0]
        return any(fnmatch.fnmatchcase(name, item) or fnmatch.fnmatchcase(base, item) for item in patterns)

    found = [name for name in names if matches(name, wanted) and not matches(name, unwanted)]
    return sorted(found, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def _entry(name: str, imported: bool = False) -> ModelEntry:
    base = split_model_name_tag(name)[0]
    entry = _registered.get(base) or _ours().get(base)
    if entry is None:
        raise RegistryError(f"unknown model {base!r}{closest(base, list_models())}")
    if imported and entry.function is None:
        importlib.import_module(entry.module)
        if base not in _registered:
            raise RegistryError(f"model {base!r} is created while {entry.place} is still being imported")
        return _registered[base]
    return entry


def model_entry(name: str) -> ModelEntry:
    """Return the entry of a registered model; imports nothing.

    Raises:
        RegistryError: the name is unknown; the error gives the closest ones.
    """
    return _entry(name)


def model_entrypoint(name: str) -> Callable[..., nn.Module]:
    """Return the entry function of a registered model; imports its architecture.

    Raises:
        RegistryError: the name is unknown; the error gives the closest ones.
    """
    function = _entry(name, imported=True).function
    assert function is not None
    return function
