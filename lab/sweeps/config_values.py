"""The point that the composed config has by itself, which a search tries first. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.config.compose import Composed, compose_config
from lab.config.spelling import value_of
from lab.config.words import words_of
from lab.sweeps.space import Scalar, SearchSpace


def config_point(
    space: SearchSpace, shared: Sequence[str], user_dirs: Sequence[str]
) -> tuple[dict[str, Scalar] | None, str, Composed]:
    """Return the point of the config's own values, why there is none, and the config.

    Of a group of which the config has another option than the space, the first choice is taken, and the values of the
    other keys are those of the config with it.

    Raises:
        ConfigError: the shared overrides cannot be composed.
    """
    composed = compose_config(shared, user_dirs)
    chosen: list[str] = []
    for dimension in space.dimensions:
        if dimension.key in composed.choices and composed.choices[dimension.key] not in dimension.choices:
            chosen.append(dimension.word(dimension.choices[0]))
    if chosen:
        composed = compose_config([*shared, *chosen], user_dirs)
    point: dict[str, Scalar] = {}
    for dimension in space.dimensions:
        if not space.is_active(dimension, point):
            continue
        value = _value(composed, dimension.key)
        if dimension.key not in composed.choices and isinstance(value, list | Mapping):
            value = value_of(words_of({"key": value})[0]) if value else None
        if isinstance(value, int) and not isinstance(value, bool) and not dimension.choices and not dimension.whole:
            value = float(value)
        if not dimension.holds(value):
            shown = words_of({dimension.key: value})[0]
            return None, f"the config's own values are no point of the space: {shown} is outside of it", composed
        point[dimension.key] = value
    return point, "", composed


def _value(composed: Composed, key: str) -> Any:
    if key in composed.choices:
        return composed.choices[key]
    node: Any = composed.config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
