"""Expands the values of a command line into a grid: the overrides of one job for each combination. No torch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from lab.errors import ConfigError


def expand(overrides: list[str], user_dirs: Sequence[str] = ()) -> list[list[str]]:
    """Return the override lists of all jobs of a sweep.

    Args:
        overrides: their values may be ``a,b``, ``choice(a,b)``, ``range(0,4)`` or, for a group, ``glob(detr*)``.
        user_dirs: further folders with groups.

    Raises:
        ConfigError: an override cannot be parsed, or has no list of values.
    """
    from hydra.errors import HydraException, OverrideParseException

    from lab.compat.hydra import is_glob, parse_overrides
    from lab.config.compose import config_dir, options
    from lab.config.refusals import unreadable
    from lab.config.spelling import spelled

    choices: list[tuple[str, list[str], bool]] = []
    try:
        for override in parse_overrides(spelled(overrides)):
            key, value = override.get_key_element(), override.value()
            values: list[str] | None = None
            if is_glob(value):
                values = value.filter(options(key, [config_dir(), *map(Path, user_dirs)]))
            elif override.is_discrete_sweep():
                values = list(override.sweep_string_iterator())
            elif override.is_sweep_override():
                raise ConfigError(
                    f"{override.input_line}: a grid needs a list of values; write a,b,c, or search the interval with "
                    "sweeper=random or sweeper=optuna"
                )
            if values == []:
                raise ConfigError(f"{override.input_line}: it stands for no value; give one or more, a,b,c")
            found = [override.input_line or ""] if values is None else [f"{key}={value}" for value in values]
            choices.append((key, found, values is not None))
    except OverrideParseException as error:
        raise ConfigError(unreadable(error)) from None
    except HydraException as error:
        raise ConfigError(" ".join(str(error).split())) from None
    # Of a key that is given once and as a list behind it the list counts: in no job the first word means anything.
    replaced = [
        any(key == later and swept for later, _, swept in choices[place:]) for place, (key, _, _) in enumerate(choices)
    ]
    kept = [words for (_, words, swept), gone in zip(choices, replaced, strict=True) if swept or not gone]
    return [list(words) for words in itertools.product(*kept)]
