"""Ranges of constructors' arguments: short names and marks for annotations.

An annotation such as ``num_queries: Size`` is read from the source text by ``lab.config.annotations``, so that
``model.net.num_queries=0`` is refused before torch is loaded. At run time the annotation has no effect: a ``Size`` is
an ``int``. Marks must be written with literal numbers, because the text is parsed and not executed.
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
    "Imbalance",
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
    """The value divides that of the argument ``name`` without a remainder."""

    name: str


@dataclass(frozen=True)
class Options:
    """The value is a mapping of names to values of a dataclass's fields."""

    kind: type

    def __repr__(self) -> str:
        return f"Options({self.kind.__name__})"  # as in the source, so that lab.config.annotations can parse it again


class Flat:
    """Base of a frozen dataclass of options that a constructor takes as one argument with a default.

    In a config its fields are set beside the other arguments (``model.net.cost_class``). ``lab.build`` and the
    functions of registered models collect them into the dataclass.
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
"""A count, at least one."""
Count = Annotated[int, Ge(0), Le(2147483647)]
"""A count, 0 included."""
Draws = Annotated[int, Ge(0), Le(1000000)]
"""The number of draws for each sample or step."""
Size = Annotated[int, Ge(1), Le(100000)]
"""A width, or the number of parts of a network that each need memory: channels, queries, heads."""
Depth = Annotated[int, Ge(0), Le(1000)]
"""A number of layers, 0 included."""
Layers = Annotated[int, Ge(1), Le(1000)]
"""A number of layers, at least one."""
Dropout = Annotated[float, Ge(0), Lt(1)]
"""The probability of dropping a value; 1 would leave nothing."""
Pixels = Annotated[int, Ge(1), Le(65535)]
"""The side of an image in pixels."""
Seed = Annotated[int, Ge(0), Le(18446744073709551614)]
"""A seed of random numbers."""
Probability = Annotated[float, Ge(0), Le(1)]
"""A probability or a share, 0 and 1 included."""
Share = Annotated[float, Gt(0), Lt(1)]
"""A part of the data that is held out; 1 would leave nothing."""
Imbalance = Annotated[float, Ge(1), Le(1000000)]
"""How many times more samples the most frequent class has than the rarest one."""
NonNegative = Annotated[float, Ge(0)]
"""A finite number of at least 0."""
Strength = Annotated[float, Ge(0), Le(1)]
"""The strength of an augmentation: 0 for none, 1 as published."""
Weight = Annotated[float, Ge(0)]
"""The factor of a term of the loss; 0 switches the term off."""
Word = Annotated[str, MinLen(1)]
"""A string that is not empty."""
