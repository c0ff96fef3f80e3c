"""Tables of the objects that packages register under a name, and how long the entries last.

A command imports the packages of ``extensions=`` and ends. A Python process may fit one config with a package and the
next one without it. Then the package's entries are removed, and added again when ``extensions=`` next names it, because
Python imports a module only once. Entries of packages that the caller imported itself stay.
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
"""Entries (table, key and value) of packages that are imported but not in the present ``extensions=``."""


def make_table(owner: Owner) -> dict[str, Any]:
    """Return a new dict for objects that packages register.

    Args:
        owner: returns, for a key and its value, the module that has registered them.
    """
    table: dict[str, Any] = {}
    _tables.append((table, owner))
    return table


def import_package(name: str) -> None:
    """Import a package that ``extensions=`` names, and add its entries to the tables.

    Raises:
        ModuleNotFoundError: the package does not exist.
    """
    importlib.import_module(name)
    top = name.partition(".")[0]
    _asked.add(top)
    for table, key, value in _forgotten.pop(top, ()):
        table.setdefault(key, value)


@contextmanager
def temporary() -> Iterator[None]:
    """Within this context packages may be imported; the entries that they add are removed at its end."""
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
