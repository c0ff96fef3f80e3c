"""Prints a run's config as a tree and its result as a table. No torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from lab.run_directory import RunDirectory
from lab.run_record import Direction, direction
from lab.text import printable

_LONGEST = 200


def as_text(value: object, style: str = "") -> Text:
    """Return a value as literal text for a cell or label: no rich markup, no control characters of a terminal."""
    text = printable(value)
    return Text(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…", style)


def one_row(value: object, style: str = "") -> Text:
    """Return literal text for a cell that is cut, not wrapped, where there is no room."""
    text = as_text(value, style)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def print_config(config: Mapping[str, Any]) -> None:
    """Print a resolved config as a tree."""

    def grow(tree: Tree, node: Mapping[str, Any]) -> None:
        for key, value in node.items():
            if isinstance(value, Mapping) and value:
                grow(tree.add(as_text(key, "bold")), value)
            else:
                tree.add(Text.assemble(f"{printable(key)}: ", (printable(value), "cyan")))

    tree = Tree("[bold]config[/]", guide_style="dim")
    grow(tree, config)
    Console(highlight=False, soft_wrap=True).print(tree)


def print_metrics(
    metrics: Mapping[str, float | None], title: str, protocol: str = "", lower: Collection[str] = ()
) -> None:
    """Print metrics as a table with a column for each stage and a dash for a metric that is not defined.

    A metric that is not defined in any stage has no row.

    Args:
        metrics: named ``test/...``, ``val/...``.
        title: the title of the table.
        protocol: how they were computed, where their names do not say it.
        lower: the metrics of which a lower value is better; the table says so.
    """
    stages = list(dict.fromkeys(key.split("/", 1)[0] for key in metrics))
    names = list(dict.fromkeys(key.split("/", 1)[1] for key in metrics))
    table = Table()
    table.add_column("metric")
    for stage in stages:
        table.add_column(as_text(stage), justify="right")
    for name in names:
        values = [metrics.get(f"{stage}/{name}") for stage in stages]
        if any(value is not None and not math.isnan(value) for value in values):
            digits = 0 if name.endswith("_measured") else 4  # a count
            shown = ("-" if value is None or math.isnan(value) else f"{value:.{digits}f}" for value in values)
            is_lower = any(f"{stage}/{name}" in lower for stage in stages)
            table.add_row(as_text(f"{name} (lower is better)" if is_lower else name), *shown)
    if protocol:  # in the title it would be wrapped to the table's width
        print(f"protocol  {printable(protocol)}")
    _print_titled(table, title)


def print_table(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Print rows with equal columns; missing values (None) are left blank."""
    table = Table()
    for name in rows[0] if rows else ():
        table.add_column(as_text(name), justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    _print_titled(table, title)


def _print_titled(table: Table, title: str) -> None:
    """Print a title on a separate line: as the table's own title it would be wrapped to the table's width."""
    console = Console(highlight=False)
    console.print(Text(printable(title), "italic"), soft_wrap=True)
    console.print(table)


def print_tables(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print tables, each under its name."""
    for name, rows in tables.items():
        print_table(rows, name.replace("_", " "))


def print_notes(notes: Sequence[str]) -> None:
    """Print notes that a reader needs to judge the numbers, one line each."""
    for note in notes:
        print(f"note: {printable(note)}")


def _cell(value: Any) -> Text:
    if value is None:
        return Text()
    return as_text(f"{value:.4f}" if isinstance(value, float) else value)


def print_result(run: RunDirectory, config: Mapping[str, Any]) -> None:
    """Print a finished run's result, where its files are, and whether a recipe's expectation is met."""
    record = run.record
    lower = [name for name in record["result"] if direction(record, name) == "min"]
    title = f"{run.path.name} ({record.get('weights', 'raw')} weights)"
    print_metrics(record["result"], title, record.get("protocol", ""), lower)
    expected = config.get("expected")
    if expected:
        value = record["result"].get(expected["metric"])
        print(expectation(expected, value, direction(record, expected["metric"])))
    early = record.get("stopped_early")
    if early:
        print(f"stopped   early, at step {early['step']}: {printable(early['reason'])}")
    print(f"run       {printable(run.path)}")
    for what in ("pictures", "tables"):
        if (run.path / what).is_dir():
            print(f"{what:<9} {printable(run.path / what)}")
    print(f"weights   {printable(run.checkpoints / 'best.ckpt')}")


def expectation(expected: Mapping[str, Any], value: float | None, better: Direction) -> str:
    """Return one line: what a recipe expects and whether it was reached.

    Args:
        expected: ``metric``, ``value``, ``tolerance`` and optionally ``two_sided: true``. Without it the value may be
            better by any amount, and worse by the tolerance.
        value: the measured value; None if it is not defined.
        better: whether a higher (``max``) or a lower value (``min``) is better.
    """
    aim, tolerance = expected["value"], expected["tolerance"]
    if expected.get("two_sided", False):
        asked, met = f"{aim} +- {tolerance}", value is not None and abs(value - aim) <= tolerance
    elif better == "max":
        asked, met = f"{aim} or more, or less by {tolerance} at most", value is not None and value >= aim - tolerance
    else:
        asked, met = f"{aim} or less, or more by {tolerance} at most", value is not None and value <= aim + tolerance
    return f"expected {printable(expected['metric'])} {asked}: {'met' if met else 'NOT met'} ({value})"


def print_sizes(
    title: str,
    caption: str,
    columns: Sequence[str],
    rows: Mapping[str, tuple[Sequence[float], str]],
    marked: str | None,
) -> None:
    """Print a table of numbers with a remark at the end of each row; an arrow points at the row ``marked``."""
    table = Table(title=title, caption=caption)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    table.add_column("", no_wrap=True)
    for name, (sizes, word) in rows.items():
        table.add_row(f"{'->' if name == marked else '  '} {name}", *(f"{size:.3g}" for size in sizes), word)
    console = Console()
    console.width = max(console.width, _WIDE)
    console.print(table)


_WIDE = 110
