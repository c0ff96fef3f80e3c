"""Key names of checkpoints: rules that rename one layout into another, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lab.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

StateDict = Mapping[str, "Tensor"]
"""Tensors by their keys."""
Rules = Sequence[tuple[str, str]]
"""Pairs (source, target) that match whole keys. ``<rest>`` matches the rest of a key, any other name in angle brackets
a number; ``<name+1>`` is that number plus one."""

_PART = {"rest": ".+"}


def rename(key: str, rules: Rules) -> str | None:
    """Rename by the first rule whose source matches; None if none does."""
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
    """Return rules that match prefixes of keys instead of whole keys; the rest of a key is kept."""
    return [(f"{source}<rest>", f"{target}<rest>") for source, target in rules]


def join_parts(parts: Mapping[str, StateDict], names: Sequence[str]) -> dict[str, Tensor]:
    """Concatenate projections that another layout stores separately and lab stores as one tensor.

    Args:
        parts: for each of lab's keys the parts by name: ``{"attn.qkv.weight": {"q": ..., "k": ..., "v": ...}}``.
        names: the names of the parts, in their order.

    Raises:
        CheckpointError: a part is missing, or there is an unexpected one.
    """
    import torch

    joined = {}
    for key, by_name in parts.items():
        if set(by_name) != set(names):
            raise CheckpointError(f"{key}: expected the parts {', '.join(names)}, found {', '.join(sorted(by_name))}")
        joined[key] = torch.cat([by_name[name] for name in names])
    return joined


def _group(placeholder: re.Match[str]) -> str:
    return rf"(?P<{placeholder[1]}>{_PART.get(placeholder[1], '[0-9]+')})"
