"""Ranges of constructors' arguments: short names and marks for annotations.

An annotation such as ``num_queries: Size`` is read from the source text by ``lab.config.annotations``, so that
``model.net.num_queries=0`` is refused before torch is loaded. When the program runs it changes nothing: a ``Size`` is
an ``int``. Marks are written with plain numbers, since the text is read and never run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Len, Lt, MinLen, MultipleOf

__all__ = [
    "AtMost",
    "Below",
    "Count",
    "Depth",
    "Divides",
    "Draws",
    "Dropout",
    "Flat",
    "Ge",
    "Gt",
    "Layers",
    "Le",
    "Len",
    "Lt",
    "MinLen",
    "MultipleOf",
    "NonNegative",
    "OneOf",
    "Options",
    "Pixels",
    "Positive",
    "Probability",
    "Seed",
    "Share",
    "Size",
    "Strength",
    "Weight",
    "Word",
]


@dataclass(frozen=True)
class AtMost:
    """The value is at most that of the argument ``name``."""

    name: str


@dataclass(frozen=True)
class Below:
    """The value is below that of the argument ``name``."""

    name: str


@dataclass(frozen=True)
class Divides:
    """The value divides that of the argument ``name`` without a rest."""

    name: str


@dataclass(frozen=True)
class Options:
    """The value is a mapping of names and values of the fields of a dataclass."""

    kind: type

    def __repr__(self) -> str:
        return f"Options({self.kind.__name__})"  # as it is written: so it is read again by lab.config.annotations


class Flat:
    """Base of a frozen dataclass of options that is one argument of a constructor, and has a default there.

    In a config its fields stand beside the other arguments (``model.net.cost_class``); ``lab.build`` and the registered
    names put them together.
    """


@dataclass(frozen=True, init=False)
class OneOf:
    """The value is one of these words."""

    words: tuple[str, ...]

    def __init__(self, *words: str) -> None:
        object.__setattr__(self, "words", words)

    def __repr__(self) -> str:
        return f"OneOf({', '.join(map(repr, self.words))})"


Positive = Annotated[int, Ge(1), Le(2147483647)]
"""A number of things, at least one."""
Count = Annotated[int, Ge(0), Le(2147483647)]
"""A number of things, none included."""
Draws = Annotated[int, Ge(0), Le(1000000)]
"""How many are drawn for each sample or step."""
Size = Annotated[int, Ge(1), Le(100000)]
"""A width, or a number of parts of a network that each take memory: channels, queries, heads."""
Depth = Annotated[int, Ge(0), Le(1000)]
"""A number of layers, none included."""
Layers = Annotated[int, Ge(1), Le(1000)]
"""A number of layers, at least one."""
Dropout = Annotated[float, Ge(0), Lt(1)]
"""The chance with which a value is dropped; 1 would leave nothing."""
Pixels = Annotated[int, Ge(1), Le(65535)]
"""A side of an image."""
Seed = Annotated[int, Ge(0), Le(18446744073709551614)]
"""What random numbers begin with."""
Probability = Annotated[float, Ge(0), Le(1)]
"""A chance or a share, 0 and 1 included."""
Share = Annotated[float, Gt(0), Lt(1)]
"""A part of the data that is held out; 1 would leave nothing."""
NonNegative = Annotated[float, Ge(0)]
"""A finite number from 0 on."""
Strength = Annotated[float, Ge(0), Le(1)]
"""How much of what is published: 0 for none, 1 for all of it."""
Weight = Annotated[float, Ge(0)]
"""What a term of a loss is multiplied with; 0 switches it off."""
Word = Annotated[str, MinLen(1)]
"""A text that is not empty."""
