"""Reads and validates ``run.json``: of a damaged record the readable entries are kept, and the run stays usable."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from lab.system.files import read_regular

Direction = Literal["max", "min"]
"""Whether a higher or a lower value of a metric is better."""
STATES = ("running", "finished", "interrupted", "failed", "diverged", "pruned")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list_of(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(kind, value))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_result(value: Any) -> bool:
    numbers = value.values() if isinstance(value, dict) else [value]
    return all(number is None or _is_number(number) for number in numbers)


def _is_number(value: Any) -> bool:
    """Whether a value is a number that fits into a float."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= sys.float_info.max
    return isinstance(value, float)


def _is_strategy(value: Any) -> bool:
    settings = value.get("settings", value)
    return _is_text(value["name"]) and _is_text(value["reason"]) and _is_text(settings["name"])


def _or_none(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or kind(value)


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "state": lambda value: value in STATES,
    "sources": _is_text,
    "overrides": _list_of(_is_text),
    "exit_code": _or_none(_is_count),
    "resumed_at": _list_of(_is_count),
    "changes": _list_of(_is_mapping),
    "result": lambda value: isinstance(value, dict) and _is_result(value),
    "config_dirs": _list_of(_is_text),
    "started": _or_none(_is_text),
    "commit": _or_none(_is_text),
    "steps": _is_count,
    "strategy": lambda value: value is None or _is_strategy(value),
    "best_step": _is_count,
    "stopped_early": lambda value: value is None or (_is_count(value["step"]) and _is_text(value["reason"])),
    "pruned": lambda value: value is None or (_is_count(value["step"]) and _is_result(value["values"])),
    "weights": _is_text,
    "protocol": _is_text,
    "own_data": _is_text,
    "threads": lambda value: _is_count(value["number"]) and value["number"] > 0,
    "monitor": _is_text,
    "lower_is_better": _list_of(_is_text),
}
_MOST = 64 * 2**20
"""Bytes of a ``run.json`` that are read."""
_NEEDED = ("state", "sources", "overrides", "exit_code", "resumed_at", "changes", "result")
"""Entries that ``RunDirectory.begin`` writes for every run."""


def read_record(file: Path) -> tuple[dict[str, Any], str]:
    """Read a ``run.json``.

    Returns:
        The valid entries, and what is wrong with the file: ``""`` if nothing is or the file does not exist.
    """
    try:
        content = read_regular(file, _MOST + 1)
        if len(content) > _MOST:
            return {}, f"larger than {_MOST // 2**20} MiB"
        record = json.loads(content.decode("utf-8"))
    except FileNotFoundError:
        return {}, "a link that leads nowhere" if file.is_symlink() else ""
    except NotADirectoryError:
        return {}, ""
    except IsADirectoryError:
        return {}, "a folder"
    except UnicodeDecodeError:
        return {}, "not UTF-8"
    except (ValueError, RecursionError) as error:
        return {}, f"no JSON ({error})"
    except OSError as error:
        return {}, f"not readable ({error.strerror})"
    if not isinstance(record, dict):
        return {}, f"a JSON {type(record).__name__}, no mapping"
    missing = [key for key in _NEEDED if key not in record]
    wrong = [key for key in _KINDS if key in record and not _fits(key, record[key])]
    kept = {key: value for key, value in record.items() if key not in wrong}
    problems = [f"without {', '.join(missing)}"] if missing else []
    problems += [f"with a wrong {', '.join(wrong)}"] if wrong else []
    if not problems and kept["state"] == "finished" and not kept["result"]:
        problems = ["finished without a result"]
    if problems and kept.get("state") == "finished" and not kept.get("result"):
        kept["state"] = "interrupted"  # so that the result is made again: by a test of the checkpoint, without training
    return kept, " and ".join(problems)


def direction(record: Mapping[str, Any], metric: str) -> Direction:
    """Return whether a higher or a lower value of a metric in a run's ``result`` is better.

    Records of older versions lack this: there lower is better for losses, and higher for all other metrics.
    """
    lower = record.get("lower_is_better")
    is_lower = metric in lower if lower is not None else metric.endswith("/loss")
    return "min" if is_lower else "max"


def _fits(key: str, value: Any) -> bool:
    try:
        return _KINDS[key](value)
    except (TypeError, KeyError, AttributeError):  # a value of another type, or without the keys that are read
        return False
