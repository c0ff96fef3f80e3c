"""A read-only resolved config for Python: read like a dict or by attributes, printed as YAML. No torch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from lab.errors import ConfigError, closest


class FrozenConfig(Mapping[str, Any]):
    """A node of a config: ``config.optimizer.lr`` is ``config["optimizer"]["lr"]`` and ``config["optimizer.lr"]``.

    Nodes below are of this class too, and lists are tuples. A node is equal to a dict with the same content. A key that
    is also the name of a method (``items``) can only be read by brackets.

    Args:
        values: nested dicts, lists, strings and numbers; copied.
    """

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def __init__(self, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", copy.deepcopy(dict(values)))

    def __getitem__(self, key: str) -> Any:
        node: Any = self._values
        for part in [key] if key in node else str(key).split("."):
            if not isinstance(node, Mapping) or part not in node:
                near = closest(part, map(str, node)) if isinstance(node, Mapping) else ""
                raise KeyError(f"{key}: there is no such key{near}")
            node = node[part]
        return _frozen(node)

    def __getattr__(self, name: str) -> Any:
        if name not in self._values:
            raise AttributeError(f"the config has no key {name!r} here{closest(name, map(str, self._values))}")
        return _frozen(self._values[name])

    def __setattr__(self, name: str, value: Any) -> None:
        raise ConfigError(f"{name}: a config is read-only; lab.compose(config, {name}=...) makes a new one")

    def __delattr__(self, name: str) -> None:
        raise ConfigError(f"{name}: a config is read-only")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FrozenConfig):
            return self._values == other._values
        return isinstance(other, Mapping) and self._values == dict(other)

    __hash__ = None  # type: ignore[assignment]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(key for key in self._values if str(key).isidentifier())})

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenConfig, (self._values,)

    def __repr__(self) -> str:
        return self.to_yaml()

    def to_dict(self) -> dict[str, Any]:
        """Return a copy of plain dicts and lists, which you may change."""
        return copy.deepcopy(self._values)

    def to_yaml(self) -> str:
        """Return it as YAML, in the form of a run's ``config.yaml``."""
        import yaml

        return str(yaml.safe_dump(self._values, sort_keys=False, allow_unicode=True))


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return FrozenConfig(value)
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
