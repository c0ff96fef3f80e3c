"""Measure how time and memory grow: images, classes, items, queries, ranks, parameters, rows of a run, runs of a sweep.

    python scripts/measure_scale.py --out scale.json            # all parts
    python scripts/measure_scale.py --only items --only queries

Prints a table for each part. Each point runs in a process of its own, a fork of this one, which has a limit of memory
(``--memory``, GiB; Linux counts private data) and of time. A point that breaks stands there with its message. Times are
processor seconds of one thread. Memory is the peak of the point's process above what it had before it began, which is
Python with the imports (about 0.5 GiB). The slope is the exponent of growth between the two largest points: 1 is
linear, 2 quadratic, 0 does not grow. Data are generated below a temporary folder and deleted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

PARTS = ("images", "classes", "items", "queries", "ranks", "parameters", "length", "runs")
HOMES = ("HF_HOME", "HF_DATASETS_CACHE", "XDG_CACHE_HOME", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")
"""Caches of the libraries: each gets an empty folder."""
FIXED = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}


def measure_part(name: str, quick: bool, memory: float) -> dict[str, Any]:
    """Measure a part, each point in a fork; return its rows, its time and the load average before it."""
    from scaling.points import Limits

    load, start = os.getloadavg()[0], time.monotonic()
    rows = [
        row
        for study in importlib.import_module(f"scaling.{name}").STUDIES
        for row in measure_study(study, name, study.quick if quick else study.sizes, Limits(memory))
    ]
    return {"rows": rows, "load": load, "seconds": time.monotonic() - start}


def measure_study(study: Any, part: str, sizes: Sequence[int], limits: Any) -> list[dict[str, Any]]:
    """Return a row for each quantity of a study."""
    from scaling.points import apart

    points: dict[str, list[tuple[int, float]]] = {}
    broken: list[dict[str, Any]] = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="measure-scale-") as folder:
            values, problem = apart(partial(study.measure, size, Path(folder)), limits)
        for quantity, value in values.items():
            points.setdefault(quantity, []).append((size, value))
        if problem:
            broken.append({"size": size, "message": problem})
        numbers = problem or ", ".join(f"{quantity} {shown(value)}" for quantity, value in values.items())
        print(f"{study.what}; {size:,} {study.axis}: {numbers}", file=sys.stderr, flush=True)
    what = {"part": part, "what": study.what, "axis": study.axis}
    rows = [{**what, "quantity": key, **grown(found), "broken": broken} for key, found in points.items()]
    return rows or [{**what, "quantity": "", "points": [], "slope": None, "broken": broken}]


def grown(points: list[tuple[int, float]]) -> dict[str, Any]:
    """Return points and slope of a quantity."""
    from scaling.points import slope

    sizes, values = zip(*points, strict=True)
    return {"points": [list(point) for point in points], "slope": slope(sizes, values)}


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    import torch

    from lab.system.provenance import describe_machine

    described = describe_machine()
    return {"date": str(date.today()), "torch": torch.__version__, "python": platform.python_version(), **described}


def as_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a Markdown table; sizes are those of all rows of the part."""
    sizes = sorted({size for row in rows for size, _ in row["points"]} | {b["size"] for r in rows for b in r["broken"]})
    head = ["what", *(f"{size:,} {rows[0]['axis']}" if not place else f"{size:,}" for place, size in enumerate(sizes))]
    lines = [f"| {' | '.join([*head, 'slope'])} |", "| --- |" + " --: |" * (len(sizes) + 1)]
    for row in rows:
        values = dict(map(tuple, row["points"]))
        broken = {item["size"] for item in row["broken"]}
        cells = [shown(values[size]) if size in values else "breaks" if size in broken else "" for size in sizes]
        exponent = "" if row["slope"] is None else f"{row['slope']:.2f}"
        lines.append(f"| {row['what']}: {row['quantity']} | {' | '.join([*cells, exponent])} |")
    breaks = {(row["what"], item["size"]): item["message"] for row in rows for item in row["broken"]}
    return [*lines, *(f"\n{what}, {size:,}: `{message}`" for (what, size), message in breaks.items())]


def shown(value: float) -> str:
    """Return a number with three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part; may be given again")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--out", type=Path, help="write all numbers as JSON; parts that it has already are kept")
    parser.add_argument("--memory", type=float, default=8.0, help="GiB that a process may take (default: 8)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="measure-scale-caches-") as caches:
        # Before torch and datasets are imported, which read them.
        os.environ |= {**{name: f"{caches}/{name}" for name in HOMES}, **FIXED}
        measure(given)
    return 0


def measure(given: argparse.Namespace) -> None:
    """Measure what the command line asks for, print it and write it."""
    kept = json.loads(given.out.read_text()) if given.out and given.out.exists() else {"parts": {}}
    found: dict[str, Any] = {"machine": machine(), "quick": given.quick, "parts": kept["parts"]}
    for name in given.only or PARTS:
        part = found["parts"][name] = measure_part(name, given.quick, given.memory)
        print(f"\n### {name}: {part['seconds']:.0f} s, load {part['load']:.1f} before\n", flush=True)
        print("\n".join(as_table(part["rows"])), flush=True)
        if given.out:
            given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
