"""Tensors within tuples, lists, dicts and dataclasses, as modules take and give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return nested tuples, lists, dicts and dataclasses with their tensors changed; a dataclass becomes a dict."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [mapped(item, change) for item in value]
    if isinstance(value, tuple):
        items = [mapped(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: mapped(getattr(value, item.name), change) for item in dataclasses.fields(value)}
    return value


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors of a nested value, in their order."""
    found: list[Tensor] = []
    mapped(value, found.append)
    return found
