"""Key names of checkpoints: rules that rename one layout into another, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

StateDict = Mapping[str, "Tensor"]
"""Tensors by their keys."""
Rules = Sequence[tuple[str, str]]
"""Pairs (source, target) that fit whole keys. ``<rest>`` stands for the rest of a key, any other name in angle brackets
for a number, ``<name+1>`` for that number and one."""

_PART = {"rest": ".+"}


def rename(key: str, rules: Rules) -> str | None:
    """Rename by the first rule whose source fits; None where none does."""
    for source, target in rules:
        match = re.fullmatch(re.sub(r"<(\w+)(\\\+1)?>", _group, re.escape(source)), key)
        if match is None:
            continue
        values = match.groupdict()
        for name in re.findall(r"<(\w+)\+1>", source):
            values[name] = str(int(values[name]) - 1)
        for name, value in values.items():
            target = target.replace(f"<{name}>", value)
            if f"<{name}+1>" in target:
                target = target.replace(f"<{name}+1>", str(int(value) + 1))
        return target
    return None


def reverse(rules: Rules) -> Rules:
    """Return the rules of the other direction."""
    return [(target, source) for source, target in rules]


def beginnings(rules: Rules) -> Rules:
    """Return rules for keys that begin as these say; the rest of a key stays."""
    return [(f"{source}<rest>", f"{target}<rest>") for source, target in rules]


def _group(placeholder: re.Match[str]) -> str:
    return rf"(?P<{placeholder[1]}>{_PART.get(placeholder[1], '[0-9]+')})"
