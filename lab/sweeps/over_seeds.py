"""How the summary of a sweep shows points over several seeds: table, best line, plain values. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from lab.report.shown import shared_words, varied
from lab.report.tables import as_text
from lab.sweeps.seeds import SeedRow
from lab.text import printable


def seeds_as_table(rows: Sequence[SeedRow], metric: str) -> Table:
    """Return the table of the points, the best first: number of seeds, mean, deviation, p-values against the best."""
    table = Table(title=as_text(f"{metric} over seeds"))
    table.add_column("")
    table.add_column("overrides")
    for name in ("seeds", "mean", "deviation", "p", "p (Holm)"):
        table.add_column(name, justify="right")
    for row, words in zip(rows, names(rows), strict=True):
        numbers = (f"{value:.4f}" if value is not None else "-" for value in (row.mean, row.deviation))
        tested = (f"{value:.3g}" if value is not None else "-" for value in (row.p, row.holm))
        table.add_row("->" if row.is_best else "", as_text(words), str(len(row.values)), *numbers, *tested)
    return table


def best_over_seeds(rows: Sequence[SeedRow], metric: str, lower: bool) -> str:
    """Return one line: the best point, and how many others differ from it by more than chance; empty if there is none.

    As usual a difference counts from p = 0.05 down, corrected by Holm.
    """
    best = next((row for row in rows if row.is_best), None)
    if best is None or best.mean is None:
        return ""
    words = names(rows)[rows.index(best)]
    spread = f" +- {best.deviation:.4f}" if best.deviation is not None else ""
    measured = f"{metric} {best.mean:.4f}{spread} over {len(best.values)} seeds"
    tested = [row.holm for row in rows if row.holm is not None]
    found = f"; worse with p < 0.05: {sum(p < 0.05 for p in tested)} of {len(tested)} others" if tested else ""
    better = "lower" if lower else "higher"
    return printable(f"best      {words}: {measured} ({better} is better){found}")


def seeds_as_json(rows: Sequence[SeedRow]) -> list[dict[str, Any]]:
    """Return the points as plain values."""
    return [
        {
            "words": list(row.words),
            "jobs": list(row.jobs),
            "values": {str(seed): value for seed, value in sorted(row.values.items())},
            "mean": row.mean,
            "deviation": row.deviation,
            "p": row.p,
            "p_holm": row.holm,
        }
        for row in rows
    ]


def names(rows: Sequence[SeedRow]) -> list[str]:
    """Return the words of each point that are not those of every point."""
    shared = shared_words(list(row.words) for row in rows)
    return [varied(row.words, shared) for row in rows]
