"""Has lab take one of the ways to compute a product, where it would measure which is the fastest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.layers import linear
from lab.layers import product as products
from lab.ops import convolution, winograd
from lab.ops.choice import Choices, Timings


def take_way(monkeypatch: pytest.MonkeyPatch, *preferred: str, small: bool = True) -> list[str]:
    """Take the first of the preferred ways that there is, else PyTorch's.

    Args:
        monkeypatch: undoes it.
        preferred: names of ways.
        small: whether there is a choice for products of any size, as in the small networks of tests.

    Returns:
        A list to which each answer is appended.
    """
    taken: list[str] = []

    def fastest(self: Choices, product: str, shape: tuple[int, ...], make: Callable[[], Timings]) -> str:
        ways = make()
        taken.append(next((way for way in preferred if way in ways), next(iter(ways))))
        return taken[-1]

    monkeypatch.setattr(Choices, "fastest", fastest)
    if small:
        monkeypatch.setattr(convolution, "MIN_PRODUCTS", 1)
        monkeypatch.setattr(linear, "_MIN_PRODUCTS", 1)
        monkeypatch.setattr(products, "SMALL", 0)
        monkeypatch.setattr(winograd, "MIN_CHANNELS", 1)
    return taken
