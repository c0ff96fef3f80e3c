"""Checks that a checkpoint's ``state.pt`` is plain data. This is stricter than torch's ``weights_only``.

``weights_only`` runs no code, but it admits torch's own classes and functions as values, containers that contain
themselves, and tensors of a few bytes that claim 2^50 elements. None of these occur in a state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lab.errors import CheckpointError

DEPTH = 32
"""The deepest nesting of containers."""
COUNT = 100_000_000
"""The largest number of values; a value that occurs in two places counts twice."""


def check_plain(value: Any, what: str, tensors: bool = True) -> None:
    """Check that a value consists of numbers, strings, None, lists, tuples, dicts and, if allowed, tensors.

    Args:
        value: the value.
        what: what it is, for the message.
        tensors: whether it may hold tensors.

    Raises:
        CheckpointError: it holds something else, itself, or too much. The message does not name the checkpoint.
    """
    _count(value, what, tensors, {}, 0)


def _count(value: Any, what: str, tensors: bool, known: dict[int, int], depth: int) -> int:
    """Return the number of values. ``known`` has the counts of containers, 0 for those being counted now."""
    if value is None or isinstance(value, str | int | float) or (tensors and isinstance(value, Tensor)):
        return 1
    if not isinstance(value, Mapping | list | tuple):
        name = f"the {value.__name__!r}" if isinstance(value, type) else f"a {type(value).__name__}"
        raise CheckpointError(f"{what} holds {name[:80]}, which is no plain data")
    if known.get(id(value)) == 0 or depth > DEPTH:
        raise CheckpointError(f"{what} is nested deeper than {DEPTH}, or holds itself")
    if id(value) in known:
        return known[id(value)]
    known[id(value)] = 0
    items: Any = value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str | int | float) for key in value):
            raise CheckpointError(f"{what} has keys that are neither strings nor numbers")
        items = value.values()
    count = 1
    for item in items:
        count += _count(item, what, tensors, known, depth + 1)
        if count > COUNT:
            raise CheckpointError(f"{what} holds more than {COUNT} values")
    known[id(value)] = count
    return count


def alike(saved: Any, now: Any) -> bool:
    """Whether a saved value can replace the current one: both are numbers, or both have the same type."""
    if now is None or saved is None:
        return True
    if isinstance(now, list | tuple) and isinstance(saved, list | tuple):
        return len(now) == len(saved) and all(map(alike, saved, now))
    numbers = (int, float, Tensor)
    if isinstance(now, bool) or isinstance(saved, bool) or not isinstance(now, numbers):
        return isinstance(saved, type(now))
    return isinstance(saved, numbers)
