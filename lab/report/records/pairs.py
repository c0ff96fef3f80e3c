"""``lab diff``: two runs beside each other, printed or as JSON. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.report.plain import plain
from lab.report.records.curve_pairs import CurvePair, compare_curves
from lab.report.records.facts import GROUPS, FactDifference, Facts, differences, read_facts
from lab.report.tables import as_text
from lab.run_record import direction
from lab.text import printable

_WIDE = 120


@dataclass(frozen=True)
class RunPair:
    """Two runs beside each other.

    Attributes:
        paths: their directories.
        sides: what they were made of.
        facts: where they differ in that.
        curves: their curves.
        problems: what cannot be read.
    """

    paths: tuple[Path, Path]
    sides: tuple[Facts, Facts]
    facts: list[FactDifference]
    curves: list[CurvePair]
    problems: list[str]

    @property
    def same_config(self) -> bool:
        """Whether the configs are known and do not differ."""
        known = all(side.config for side in self.sides)
        return known and not any(fact.group == "config" for fact in self.facts)

    @property
    def results(self) -> dict[str, tuple[float | None, float | None]]:
        """The metrics of both, without those of single classes."""
        first, second = (side.record.get("result") or {} for side in self.sides)
        names = [name for name in dict.fromkeys([*first, *second]) if "per_class" not in name]
        found = {name: (first.get(name), second.get(name)) for name in names}
        return {name: pair for name, pair in found.items() if pair != (None, None)}


def read_pair(one: Path, other: Path) -> RunPair:
    """Read two runs' directories."""
    sides = (read_facts(one), read_facts(other))
    curves, problems = compare_curves(one, other)
    said = [f"{path}: {problem}" for path, side in zip((one, other), sides, strict=True) for problem in side.problems]
    return RunPair((one, other), sides, differences(*sides), curves, [*said, *problems])


def pair_as_json(pair: RunPair) -> str:
    """Return both runs as JSON; null stands for what is not known or not defined."""
    found: dict[str, Any] = {
        "runs": [
            {"path": str(path), "state": side.record.get("state")}
            for path, side in zip(pair.paths, pair.sides, strict=True)
        ],
        "same_config": pair.same_config,
        "differences": [asdict(fact) for fact in pair.facts],
        "results": {
            name: {"one": one, "other": other, "difference": difference(one, other)}
            for name, (one, other) in pair.results.items()
        },
        "curves": [asdict(curve) for curve in pair.curves],
        "problems": pair.problems,
    }
    return json.dumps(plain(found), indent=2, allow_nan=False, default=str)


def difference(one: float | None, other: float | None) -> float | None:
    """Return ``other - one``; None where one of them is not defined."""
    return None if one is None or other is None else other - one


def print_pair(pair: RunPair) -> None:
    """Print where two runs differ, a part for each group, and which groups are the same."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    for letter, path, side in zip("AB", pair.paths, pair.sides, strict=True):
        console.print(Text(f"{letter}  {printable(path)} ({side.record.get('state', 'damaged')})"), soft_wrap=True)
    print_facts(console, pair.facts, ("A", "B"))
    same = [group for group in GROUPS if not any(fact.group == group for fact in pair.facts)]
    if same and not pair.problems:
        console.print(Text(f"the same: {', '.join(same)}"), soft_wrap=True)
    directions = {name: direction(pair.sides[0].record, name) == "min" for name in pair.results}
    print_results(console, pair.results, ("A", "B"), directions)
    _print_curves(console, pair.curves)
    for problem in pair.problems:
        console.print(Text(f"note: {printable(problem)}"), soft_wrap=True)


def print_facts(console: Console, facts: Sequence[FactDifference], names: tuple[str, str]) -> None:
    """Print differences, a table for each group; nothing where there are none.

    Args:
        console: where.
        facts: the differences.
        names: the names of the two sides.
    """
    for group in GROUPS:
        own = [fact for fact in facts if fact.group == group]
        if not own:
            continue
        table = _table(group, *names, "")
        for fact in own:
            mark = "" if fact.changes_numbers else "changes no number"
            cells = (fact.key, _shown(fact, fact.one), _shown(fact, fact.other))
            table.add_row(*map(as_text, cells), as_text(mark, "dim"))
        console.print(table)


def print_results(
    console: Console,
    results: Mapping[str, tuple[float | None, float | None]],
    names: tuple[str, str],
    lower: Mapping[str, bool],
) -> None:
    """Print metrics of two runs and their differences, of which equal ones are said to be so.

    Args:
        console: where.
        results: both values by metric.
        names: the names of the two sides.
        lower: whether a lower value is better, by metric.
    """
    if not results:
        console.print("results: none in common")
        return
    table = _table("result", *names, "difference")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, (one, other) in results.items():
        apart = difference(one, other)
        colour = "" if not apart else "green" if (apart < 0) == lower.get(name, False) else "red"
        said = "-" if apart is None else "equal" if apart == 0 else f"{apart:+.6g}"
        table.add_row(as_text(name), as_text(_number(one)), as_text(_number(other)), as_text(said, colour))
    console.print(table)


def _print_curves(console: Console, curves: Sequence[CurvePair]) -> None:
    if not curves:
        console.print("curves: no common metric")
        return
    table = _table("curve", "steps", "equal until", "largest difference", "A", "B")
    for curve in curves:
        if curve.parts_at is None:
            row = ["the end" if curve.steps else "-", "equal" if curve.steps else "no common step"]
        else:
            largest = "-" if curve.largest is None else f"{curve.largest:+.4g} at step {curve.largest_at}"
            row = ["never" if curve.equal_until is None else f"step {curve.equal_until}", largest]
        table.add_row(*map(as_text, (curve.metric, curve.steps, *row, *curve.sparks)))
    console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _shown(fact: FactDifference, value: Any) -> str:
    if fact.key in ("fingerprint", "commit"):
        return str(value)[:12]
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
