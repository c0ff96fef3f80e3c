"""A script as the text of a Python program that builds the same mesh."""

from __future__ import annotations

import json
from typing import Any

from lab.geometry.parameters import Parameters, changed_fields
from lab.geometry.script import Script

_WIDTH = 118


def python_text(script: Script) -> str:
    """Return a program with the variables ``script`` and ``mesh``; parameters that have their defaults are left out."""
    imports: set[tuple[str, str]] = set()
    body = _text(script, 0, imports)
    modules = sorted({module for module, _ in imports})
    lines = [f"from {module} import {', '.join(sorted(n for m, n in imports if m == module))}" for module in modules]
    return "\n".join([*lines, "", f"script = {body}", "mesh = script.run()", ""])


def _text(value: Any, indent: int, imports: set[tuple[str, str]]) -> str:
    if isinstance(value, Parameters):
        kind = type(value)
        imports.add((kind.__module__, kind.__name__))
        parts = [f"{name}={_text(item, indent + 4, imports)}" for name, item in changed_fields(value).items()]
        return _listed(f"{kind.__name__}(", parts, ")", indent)
    if isinstance(value, tuple):
        parts = [_text(item, indent + 4, imports) for item in value]
        return _listed("(", parts, ",)" if len(parts) == 1 else ")", indent)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _listed(start: str, parts: list[str], end: str, indent: int) -> str:
    line = start + ", ".join(parts) + end
    if len(line) + indent <= _WIDTH and "\n" not in line:
        return line
    inner = " " * (indent + 4)
    return "\n".join([start, *(f"{inner}{part}," for part in parts), " " * indent + end.lstrip(",")])
