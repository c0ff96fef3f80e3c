"""What packages register under a name, and for how long it is known.

A command imports the packages of ``extensions=`` and ends. A process of Python may fit one config with a package and
the next one without it: what the package has registered is then forgotten, and known again when it is next asked for,
though Python imports a module only once. What a caller has imported by itself stays known.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Owner = Callable[[str, Any], str]

_tables: list[tuple[dict[str, Any], Owner]] = []
_asked: set[str] = set()
_forgotten: dict[str, list[tuple[dict[str, Any], str, Any]]] = {}
"""Of packages that are imported and not asked for at present: table, key and value of what they have registered."""


def make_table(owner: Owner) -> dict[str, Any]:
    """Return a new dict for things that packages register.

    Args:
        owner: of a key and its value, the module that has registered them.
    """
    table: dict[str, Any] = {}
    _tables.append((table, owner))
    return table


def import_package(name: str) -> None:
    """Import a package that ``extensions=`` names, and make known what it registers.

    Raises:
        ModuleNotFoundError: there is none.
    """
    importlib.import_module(name)
    top = name.partition(".")[0]
    _asked.add(top)
    for table, key, value in _forgotten.pop(top, ()):
        table.setdefault(key, value)


@contextmanager
def temporary() -> Iterator[None]:
    """Within this context packages may be asked for; what they register in it is forgotten at its end."""
    before = [set(table) for table, _ in _tables]
    outer = set(_asked)
    try:
        yield
    finally:
        for (table, owner), keys in zip(_tables, before, strict=False):
            for key in table.keys() - keys:
                top = owner(key, table[key]).partition(".")[0]
                if top in _asked - outer:
                    _forgotten.setdefault(top, []).append((table, key, table.pop(key)))
        _asked.intersection_update(outer)
