"""Reads a search space from overrides, by Hydra's own parser, and from YAML (``sweeper.space``). No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.config.spelling import value_of
from lab.config.words import parse_word, words_of
from lab.errors import ConfigError, closest
from lab.sweeps.settings import SpaceEntry
from lab.sweeps.space import Dimension, Scalar, SearchSpace, scalar

_EXAMPLE = "optimizer.lr=interval(1e-4,1e-2), model=a,b, or sweeper.space in a YAML"


def read_space(
    overrides: Sequence[str], entries: Mapping[str, SpaceEntry] | None = None, user_dirs: Sequence[str] = ()
) -> tuple[SearchSpace, list[str], list[str]]:
    """Return the search space of a command, the overrides that all its jobs share, and lines to print.

    A key that the command line searches has its range from there and its conditions from the YAML. A key that the
    command line sets to one value is not searched.

    Args:
        overrides: those of the jobs.
        entries: ``sweeper.space``.
        user_dirs: further folders with groups, for ``glob``.

    Raises:
        ConfigError: there is nothing to search, or an entry is wrong; one line with the fix.
    """
    dimensions: dict[str, Dimension] = {}
    shared: list[str] = []
    for word, dimension in _parsed(overrides, user_dirs):
        if dimension is None:
            shared.append(word)
        else:
            dimensions[dimension.key] = dimension
    fixed = {word.key: scalar(word.value, word.shown) for word in map(parse_word, shared)}
    notes: list[str] = []
    for key, entry in (entries or {}).items():
        if key in fixed:
            notes.append(f"{key} is not searched: the command line sets it to {fixed[key]}")
            continue
        if key not in dimensions:
            dimensions[key] = _of_entry(key, entry)
        dimensions[key] = replace(dimensions[key], when={name: _several(each) for name, each in entry.when.items()})
    if not dimensions:
        raise ConfigError(f"there is nothing to search: give a space, such as {_EXAMPLE}")
    kept, dropped = _conditions(dimensions, fixed)
    notes += [f"{key} is not searched: its condition on {of} is never met" for key, of in dropped]
    return SearchSpace(_ordered(kept)), shared, notes


def _parsed(overrides: Sequence[str], user_dirs: Sequence[str]) -> list[tuple[str, Dimension | None]]:
    from hydra.errors import HydraException, OverrideParseException

    from lab.compat.hydra import parse_overrides
    from lab.config.refusals import unreadable
    from lab.config.spelling import spelled

    try:
        parsed = parse_overrides(spelled(overrides))
        return [(override.input_line or "", _dimension(override, user_dirs)) for override in parsed]
    except OverrideParseException as error:
        raise ConfigError(unreadable(error)) from None
    except HydraException as error:
        raise ConfigError(" ".join(str(error).split())) from None


def _dimension(override: Any, user_dirs: Sequence[str]) -> Dimension | None:
    """Return the dimension of an override (Hydra's ``Override``); None if it has one value."""
    from lab.compat.hydra import is_glob, is_interval, is_range
    from lab.config.compose import config_dir, options

    value, line, signed = override.value(), override.input_line, override.get_key_element()
    key = signed.lstrip("+")
    sign = signed[: len(signed) - len(key)]
    unknown = sorted(getattr(value, "tags", set()) - {"log"})
    if unknown:
        raise ConfigError(f"{line}: unknown tag {unknown[0]}; the one tag is log, as in tag(log, interval(1e-4,1e-2))")
    if is_glob(value):
        return _choices(key, sign, value.filter(options(key, [config_dir(), *map(Path, user_dirs)])), line)
    if is_interval(value):
        return _interval(Dimension(key, sign), value, line)
    if not override.is_discrete_sweep():
        return None
    if value.tags:
        raise ConfigError(f"{line}: tag(log, ...) is for an interval")
    texts = list(override.sweep_string_iterator())
    numbers = [parse_word(f"{key}={text}").value for text in texts]
    if is_range(value) and len(numbers) > 1:
        low, high = min(numbers), max(numbers)
        whole = all(isinstance(number, int) for number in numbers)
        return Dimension(key, sign, low=low, high=high, step=abs(value.step), whole=whole)
    if getattr(value, "shuffle", False):
        texts = sorted(texts)  # the order of choices means nothing to a search, and a random one could not be repeated
    return _choices(key, sign, texts, line)


def _choices(key: str, sign: str, texts: Sequence[str], line: str) -> Dimension:
    if not texts:
        raise ConfigError(f"{line}: it stands for no value; give one or more, a,b,c")
    texts = tuple(dict.fromkeys(texts))
    return Dimension(
        key, sign, choices=tuple(scalar(parse_word(f"{key}={text}").value, text) for text in texts), texts=texts
    )


def _interval(dimension: Dimension, value: Any, line: str) -> Dimension:
    low, high, log = value.start, value.end, "log" in value.tags
    whole = isinstance(low, int) and isinstance(high, int)
    _check_bounds(line, low, high, log)
    return replace(dimension, low=low, high=high, log=log, whole=whole, step=1 if whole else None)


def _check_bounds(name: str, low: float, high: float, log: bool) -> None:
    if low >= high:
        raise ConfigError(f"{name}: the lower bound {low!r} should be below the upper one, {high!r}")
    if log and low <= 0:
        raise ConfigError(f"{name}: a logarithmic scale needs bounds above 0, and the lower one is {low!r}")


def _of_entry(key: str, entry: SpaceEntry) -> Dimension:
    name = f"sweeper.space.{key}"
    if entry.choices is not None:
        other = next((field for field in ("type", "low", "high", "step", "log") if getattr(entry, field)), None)
        if other is not None:
            raise ConfigError(f"{name}: give choices or {other}, not both")
        texts = [value_of(words_of({"key": value})[0]) for value in entry.choices]
        return _choices(key, "", texts, name)
    low, high, step = entry.low, entry.high, entry.step
    if low is None or high is None:
        raise ConfigError(f"{name}: give choices: [...], or low and high")
    whole = entry.type == "int" or (entry.type is None and all(isinstance(n, int | None) for n in (low, high, step)))
    _check_bounds(name, low, high, entry.log)
    if whole:
        if any(number is not None and number != int(number) for number in (low, high, step)):
            raise ConfigError(f"{name}: type: int needs bounds and a step that are integers")
        low, high, step = int(low), int(high), int(step or 1)
    else:
        low, high, step = float(low), float(high), None if step is None else float(step)
    if step is not None and entry.log and step != 1:
        raise ConfigError(f"{name}: give log or step, not both")
    dimension = Dimension(key, low=low, high=high, log=entry.log, step=step, whole=whole)
    last = dimension.nth((dimension.count or 1) - 1) if step is not None else high
    assert isinstance(last, int | float)
    return replace(dimension, high=last)


def _several(value: Any) -> tuple[Scalar, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _conditions(
    dimensions: Mapping[str, Dimension], fixed: Mapping[str, Scalar]
) -> tuple[dict[str, Dimension], list[tuple[str, str]]]:
    """Check conditions, and settle those on keys that have one value.

    Returns:
        The dimensions that can be active, and those that never are, each with the key that its condition is about.
    """
    kept, dropped = dict(dimensions), []
    for key, dimension in dimensions.items():
        for parent, values in dimension.when.items():
            if parent == key or parent not in {**dimensions, **fixed}:
                near = closest(parent, [name for name in {**dimensions, **fixed} if name != key])
                raise ConfigError(f"sweeper.space.{key}.when: {parent} is no key of the space or of the command{near}")
            wrong = [value for value in values if parent in dimensions and not dimensions[parent].holds(value)]
            if wrong:
                near = closest(str(wrong[0]), dimensions[parent].texts)
                known = f"{parent}={wrong[0]} is not in the space ({dimensions[parent].described()}){near}"
                raise ConfigError(f"sweeper.space.{key}.when: {known}")
    changed = True
    while changed:  # a condition on a key that is never set is never met either
        changed = False
        for key, dimension in list(kept.items()):
            for parent, values in dimension.when.items():
                never = parent not in kept and not (parent in fixed and fixed[parent] in values)
                if never:
                    dropped.append((key, parent))
                    del kept[key]
                    changed = True
                    break
    settled = {
        key: replace(item, when={name: values for name, values in item.when.items() if name in kept})
        for key, item in kept.items()
    }
    return settled, dropped


def _ordered(dimensions: Mapping[str, Dimension]) -> tuple[Dimension, ...]:
    """Return the dimensions, each after those that its conditions name."""
    found: dict[str, Dimension] = {}
    while len(found) < len(dimensions):
        ready = [d for key, d in dimensions.items() if key not in found and all(name in found for name in d.when)]
        if not ready:
            circle = ", ".join(key for key in dimensions if key not in found)
            raise ConfigError(f"sweeper.space: the conditions of {circle} depend on each other")
        found |= {dimension.key: dimension for dimension in ready}
    return tuple(found.values())
