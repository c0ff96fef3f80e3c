"""What a run was made of (config, versions, sources, data, hardware), and where two runs differ in it. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.config.aliases import renamed_config
from lab.config.flattening import flat
from lab.config.recorded import UnreadableConfig, read_recorded
from lab.errors import ConfigError
from lab.run_name import HASHED_UNLESS, HASHED_UNLESS_OF, NOT_IN_HASH
from lab.run_record import read_record
from lab.system.files import read_regular

GROUPS = ("config", "versions", "sources", "data", "hardware")
ABSENT = "-"
"""Stands for a key or fact that one side lacks."""
_NOT_COMPARED = ("paths", "hydra", "resume", "check")
_SHARED_BY_MACHINE = ("host", "memory_gib")
_MOST_OF_A_DIFF = 2**22


@dataclass(frozen=True)
class Facts:
    """What a run was made of.

    Attributes:
        config: its resolved config.
        record: its run.json, or the same entries as they would be recorded now.
        patch: the uncommitted changes of the sources as git shows them; empty if there are none.
        problems: what cannot be read.
    """

    config: Mapping[str, Any]
    record: Mapping[str, Any]
    patch: str = ""
    problems: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class FactDifference:
    """A fact in which two runs differ.

    Attributes:
        group: one of ``GROUPS``.
        key: the dotted key of the config, the name of a package, and so on.
        one: its value of the first run; ``ABSENT`` if it has none.
        other: that of the second run.
        changes_numbers: whether results may differ because of it.
    """

    group: str
    key: str
    one: Any
    other: Any
    changes_numbers: bool = True


def read_facts(run: Path) -> Facts:
    """Read what a run was made of; nothing is executed, and what cannot be read is a problem."""
    record, damage = read_record(run / "run.json")
    problems = [f"run.json is {damage}"] if damage else [] if record else ["run.json is missing"]
    config: Mapping[str, Any] = {}
    try:
        config = renamed_config(read_recorded(run / "config.yaml"))
    except (UnreadableConfig, ConfigError) as error:
        problems.append(f"config.yaml {error}")
    patch, problem = _read_patch(run, record.get("diff"))
    return Facts(config, record, patch, (*problems, *([problem] if problem else [])))


def differences(one: Facts, other: Facts) -> list[FactDifference]:
    """Return the facts in which two runs differ, in the order of ``GROUPS``; none if both are the same."""
    found = list(_of_configs(one.config, other.config)) if one.config and other.config else []
    found += _of_mappings("versions", one.record.get("versions"), other.record.get("versions"))
    first, second = one.record, other.record
    found += _of_values("sources", "fingerprint", first.get("sources"), second.get("sources"))
    found += _of_values("sources", "commit", first.get("commit"), second.get("commit"), False)
    if one.patch != other.patch:
        sides = (_patched(one.patch), _patched(other.patch))
        found.append(FactDifference("sources", "uncommitted changes", *sides, changes_numbers=False))
    found += _of_values("data", "fingerprint", first.get("dataset"), second.get("dataset"))
    found += _of_mappings("hardware", first.get("machine"), second.get("machine"), _SHARED_BY_MACHINE)
    found += _of_values("hardware", "device", first.get("hardware"), second.get("hardware"))
    found += _of_values("hardware", "ranks", first.get("world_size"), second.get("world_size"))
    found += _of_values("hardware", "strategy", _strategy(first), _strategy(second))
    return found


def changes_numbers(key: str) -> bool:
    """Whether a key of the config may change the results of a training (see ``lab.run_name``)."""
    return not any(key == name or key.startswith(f"{name}.") for name in (*NOT_IN_HASH, *_NOT_COMPARED))


def _of_configs(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[FactDifference]:
    sides = [dict(flat(one)), dict(flat(other))]
    later = [_later(one), _later(other)]
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        if key.partition(".")[0] in _NOT_COMPARED:
            continue
        # A key that was added later has, in an older config, the value that changes nothing.
        first, second = (side.get(key, known.get(key, ABSENT)) for side, known in zip(sides, later, strict=True))
        if first != second and repr(first) != repr(second):  # NaN is not equal to itself
            yield FactDifference("config", key, first, second, changes_numbers(key))


def _later(config: Mapping[str, Any]) -> dict[str, Any]:
    kind = config.get("eval")
    name = kind.get("name") if isinstance(kind, Mapping) else None
    return HASHED_UNLESS | HASHED_UNLESS_OF.get(str(name), {})


def _of_mappings(group: str, one: Any, other: Any, harmless: tuple[str, ...] = ()) -> Iterator[FactDifference]:
    first, second = (side if isinstance(side, Mapping) else {} for side in (one, other))
    for key in dict.fromkeys([*first, *second]):
        yield from _of_values(group, str(key), first.get(key), second.get(key), key not in harmless)


def _of_values(group: str, key: str, one: Any, other: Any, matters: bool = True) -> Iterator[FactDifference]:
    if one != other:
        first, second = (ABSENT if value is None else value for value in (one, other))
        yield FactDifference(group, key, first, second, matters)


def _strategy(record: Mapping[str, Any]) -> Any:
    strategy = record.get("strategy")
    return strategy.get("settings", strategy).get("name") if isinstance(strategy, Mapping) else None


def _read_patch(run: Path, name: Any) -> tuple[str, str]:
    """Return the recorded diff, and why it cannot be read; a record never names a file outside of its run."""
    if name is None:
        return "", ""
    if not isinstance(name, str) or name != Path(name).name or (run / name).is_symlink():
        return "", "the file of its uncommitted changes is not in its directory, so it is not read"
    try:
        content = read_regular(run / name, _MOST_OF_A_DIFF)
    except (OSError, ValueError) as error:
        return "", f"{name} cannot be read ({getattr(error, 'strerror', None) or error})"
    return content.decode("utf-8", "replace"), ""


def _patched(patch: str) -> str:
    """Return which files a diff changes."""
    names = [line.removeprefix("+++ b/") for line in patch.splitlines() if line.startswith("+++ b/")]
    if not names:
        return ABSENT if not patch else "yes"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} {'file' if len(names) == 1 else 'files'}: {', '.join(names[:3])}{more}"
