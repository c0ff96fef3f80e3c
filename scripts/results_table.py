"""Write the results of finished runs into experiments/results.csv and the table of experiments/README.md.

    python scripts/results_table.py runs/detr_tiny-shapes-0123abcd ...   # add or replace these runs' rows
    python scripts/results_table.py                                      # only write the table again

A row is named after the recipe of the run (``experiments=NAME``; "default" without one). Its command, date, machine and
duration come from run.json, the expectation from the present recipe.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from lab.config.words import parse_word, word_values
from lab.run_record import direction

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "experiments"
RESULT = ["metric", "expected", "tolerance", "two_sided", "better", "measured"]
COLUMNS = ["recipe", *RESULT, "minutes", "date", "hardware", "commit", "command"]
BEGIN, END = "<!-- results: written by scripts/results_table.py -->", "<!-- end of results -->"


def row_of(run: Path) -> dict[str, Any]:
    """Return the row of a finished run.

    Raises:
        SystemExit: the run is not finished, or its recipe has no expectation.
    """
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    if record["state"] != "finished":
        sys.exit(f"error: {run} is {record['state']}, not finished")
    expected = config.get("expected")
    if not expected:
        sys.exit(f"error: {run} has no expectation: only recipes with `expected` belong in the table")
    recipe = word_values(record["overrides"], ("experiments",)).get("experiments", "default")
    seconds = (datetime.fromisoformat(record["ended"]) - datetime.fromisoformat(record["started"])).total_seconds()
    machine = record["machine"]
    kept = [_shown(word) for word in record["overrides"] if not word.startswith("paths.")]
    return {
        "recipe": recipe,
        "metric": expected["metric"],
        "expected": expected["value"],
        "tolerance": expected["tolerance"],
        "two_sided": str(expected.get("two_sided", False)).lower(),
        "better": "lower" if direction(record, expected["metric"]) == "min" else "higher",
        "measured": round(record["result"][expected["metric"]], 4),
        "minutes": round(seconds / 60, 1),
        "date": record["ended"][:10],
        "hardware": f"{machine['cores']} cores {machine['cpu']}" if record["hardware"] == "cpu" else record["hardware"],
        "commit": (record["commit"] or "")[:8] + ("+" if record["diff"] else ""),
        "command": " ".join(["python run.py", *kept]),
    }


def stated(recipe: str) -> dict[str, Any]:
    """Return the recipe's present expectation, which may be stricter than at the time of the run."""
    file = FOLDER / f"{recipe}.yaml"
    expected = yaml.safe_load(file.read_text(encoding="utf-8")).get("expected") if file.is_file() else None
    if not expected:
        return {}
    two_sided = str(expected.get("two_sided", False)).lower()
    return {"expected": expected["value"], "tolerance": expected["tolerance"], "two_sided": two_sided}


def _shown(word: str) -> str:
    """Return an override as shown in the table; a dataset's folder, which differs between machines, is shortened."""
    parsed = parse_word(word)
    return f"{parsed.key}=.../{Path(parsed.shown).name}" if parsed.key == "data.root" else word


def _asked(row: dict[str, Any]) -> str:
    """Return a recipe's expectation, one-sided or two-sided, in a few words."""
    aim, tolerance = row["expected"], row["tolerance"]
    if row["two_sided"] == "true":
        return f"{aim} +- {tolerance}"
    return f"at most {aim} + {tolerance}" if row["better"] == "lower" else f"at least {aim} - {tolerance}"


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    names = ["recipe", "metric", "expected", "measured", "minutes", "date", "hardware", "commit"]
    lines = ["| " + " | ".join([*names, "command"]) + " |", "|" + " --- |" * (len(names) + 1)]
    for row in rows:
        shown = {**row, "expected": _asked(row)}
        lines.append("| " + " | ".join(str(shown[name]) for name in names) + f" | `{row['command']}` |")
    return "\n".join(lines)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path)
    arguments = parser.parse_args()
    file, readme = FOLDER / "results.csv", FOLDER / "README.md"
    rows: dict[str, dict[str, Any]] = {}
    if file.is_file():
        with file.open(newline="", encoding="utf-8") as source:
            rows = {row["recipe"]: row for row in csv.DictReader(source)}
    for run in arguments.runs:
        row = row_of(run)
        rows[row["recipe"]] = row
    ordered = [rows[name] | stated(name) for name in sorted(rows)]
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(target, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
    content = readme.read_text(encoding="utf-8")
    before, _, rest = content.partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{BEGIN}\n{table(ordered)}\n{END}{after}", encoding="utf-8")
    print(f"{len(ordered)} rows in {file} and {readme}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
