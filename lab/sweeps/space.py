"""The search space: what each key may be, and under which condition. No torch.

A point of the space is a mapping of keys to values. ``lab.sweeps.space_words`` reads a space from overrides and YAML.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

from lab.config.spelling import value_of
from lab.config.words import parse_word, words_of

Scalar = str | int | float | bool | None
Point = Mapping[str, Scalar]
"""Values by key; a list or mapping is the text that the command line has for it."""

_MOST_COUNTED = 20_000
"""Points that are counted one by one, as those of a space with conditions are."""


@dataclass(frozen=True)
class Dimension:
    """One key of a search space: some choices, or the numbers between two bounds, both included.

    Attributes:
        key: the key that it sets, without a sign.
        sign: the override's sign: ``""``, ``"+"`` or ``"++"``.
        choices: the values to choose from; empty for numbers.
        texts: the choices as they are written in an override.
        low: the lowest number.
        high: the highest number.
        log: whether numbers are spread by their logarithm.
        step: the distance between two numbers; None for any float.
        whole: whether the numbers are integers.
        when: the values that other keys must have for this key to be set at all.
    """

    key: str
    sign: str = ""
    choices: tuple[Scalar, ...] = ()
    texts: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    whole: bool = False
    when: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)

    @property
    def count(self) -> int | None:
        """The number of values; None for an interval of floats."""
        if self.choices:
            return len(self.choices)
        if self.step is None:
            return None
        return int((Decimal(repr(self.high)) - Decimal(repr(self.low))) / Decimal(repr(self.step))) + 1

    def nth(self, index: int) -> Scalar:
        """Return the value of an index from 0 on, where the values can be counted."""
        if self.choices:
            return self.choices[index]
        value = Decimal(repr(self.low)) + index * Decimal(repr(self.step))
        return int(value) if self.whole else float(value)

    def at(self, unit: float) -> Scalar:
        """Return the value at a place in [0, 1): equal parts of it stand for values that are equally likely."""
        if not self.log:
            if self.count is not None:
                return self.nth(min(int(unit * self.count), self.count - 1))
            return self._short(self.low + unit * (self.high - self.low))
        half = 0.5 if self.whole else 0.0  # an integer stands for the numbers that are rounded to it
        low, high = math.log(self.low - half), math.log(self.high + half)
        value = math.exp(low + unit * (high - low))
        return int(min(max(round(value), self.low), self.high)) if self.whole else self._short(value)

    def _short(self, value: float) -> float:
        """Return a float with as few digits as tell it from others of the interval: five or six."""
        scale = min(value, self.high - self.low) if self.log else self.high - self.low
        return min(max(round(value, 5 - math.floor(math.log10(scale))), self.low), self.high)

    def nearest(self, value: float) -> float:
        """Return the number of this dimension that is nearest to a value within the bounds."""
        if self.step is None:
            return self._short(value)
        return float(self.nth(round((value - self.low) / self.step)))  # type: ignore[arg-type]

    def holds(self, value: Any) -> bool:
        """Whether a value is one of this dimension's."""
        if self.choices:
            return any(_same(value, choice) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        return (Decimal(repr(value)) - Decimal(repr(self.low))) % Decimal(repr(self.step)) == 0

    def word(self, value: Scalar) -> str:
        """Return the override that sets a value."""
        for choice, text in zip(self.choices, self.texts, strict=True):
            if _same(value, choice):
                return f"{self.sign}{self.key}={text}"
        return self.sign + words_of({self.key: value})[0]

    def described(self) -> str:
        """Return what it may be, in words."""
        if self.choices:
            text = f"one of {', '.join(self.texts)}"
        else:
            kind = f"{'log ' if self.log else ''}{'int ' if self.whole else ''}interval"
            text = f"{kind} {self.low!r}..{self.high!r}"
            if self.step is not None and not (self.whole and self.step == 1):
                text += f" by {self.step!r}"
        conditions = [f"{key}={'|'.join(map(_shown, values))}" for key, values in self.when.items()]
        return f"{text} when {' and '.join(conditions)}" if conditions else text


@dataclass(frozen=True)
class SearchSpace:
    """Some dimensions, each after those that its conditions name."""

    dimensions: tuple[Dimension, ...]

    @cached_property
    def count(self) -> int | None:
        """The number of points; None if a dimension is an interval of floats, or if conditions leave too many."""
        if any(dimension.count is None for dimension in self.dimensions):
            return None
        if not self.has_conditions:
            return math.prod(dimension.count or 1 for dimension in self.dimensions)
        found = sum(1 for _ in itertools.islice(self.points(), _MOST_COUNTED + 1))
        return found if found <= _MOST_COUNTED else None

    @property
    def has_conditions(self) -> bool:
        """Whether some keys are set only under a condition."""
        return any(dimension.when for dimension in self.dimensions)

    def is_active(self, dimension: Dimension, point: Point) -> bool:
        """Whether a dimension's conditions are met by the values of the dimensions before it."""
        return all(
            key in point and any(_same(point[key], value) for value in values) for key, values in dimension.when.items()
        )

    def at(self, units: Sequence[float]) -> dict[str, Scalar]:
        """Return the point at a place in the unit cube, with a coordinate for each dimension, active or not."""
        point: dict[str, Scalar] = {}
        for dimension, unit in zip(self.dimensions, units, strict=True):
            if self.is_active(dimension, point):
                point[dimension.key] = dimension.at(unit)
        return point

    def points(self) -> Iterator[dict[str, Scalar]]:
        """Yield all points of a space without intervals of floats, each once; the last dimension varies fastest."""
        yield from self._points({}, 0)

    def _points(self, point: dict[str, Scalar], index: int) -> Iterator[dict[str, Scalar]]:
        if index == len(self.dimensions):
            yield dict(point)
            return
        dimension = self.dimensions[index]
        if not self.is_active(dimension, point):
            yield from self._points(point, index + 1)
            return
        for number in range(dimension.count or 0):
            yield from self._points({**point, dimension.key: dimension.nth(number)}, index + 1)

    def holds(self, point: Point) -> bool:
        """Whether a point has a right value for each active dimension, and nothing else."""
        active = [dimension for dimension in self.dimensions if self.is_active(dimension, point)]
        return {dimension.key for dimension in active} == set(point) and all(
            dimension.holds(point[dimension.key]) for dimension in active
        )

    def words(self, point: Point) -> list[str]:
        """Return a point as overrides."""
        return [dimension.word(point[dimension.key]) for dimension in self.dimensions if dimension.key in point]

    def point_of(self, words: Sequence[str]) -> dict[str, Scalar] | None:
        """Return the point that overrides set; None if they set none of this space."""
        given = {word.key: word for word in map(parse_word, words)}
        point: dict[str, Scalar] = {}
        for dimension in self.dimensions:
            if self.is_active(dimension, point) and dimension.key in given:
                word = given[dimension.key]
                point[dimension.key] = scalar(word.value, value_of(word.text))
        return point if self.holds(point) else None

    def described(self) -> dict[str, str]:
        """Return what each key may be, in words, to be recorded and compared."""
        return {dimension.key: dimension.described() for dimension in self.dimensions}


def scalar(value: Any, text: str) -> Scalar:
    """Return a value, or its text if it is a list or mapping."""
    return value if value is None or isinstance(value, str | int | float | bool) else text


def same_point(one: Point, other: Point) -> bool:
    """Whether two points are equal; 1, 1.0 and true are three values."""
    return identity(one) == identity(other)


def identity(point: Point) -> str:
    """Return a text that is equal for equal points only."""
    return json.dumps(dict(point), sort_keys=True)


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _shown(value: Scalar) -> str:
    return words_of({"": value})[0][1:]
