"""``-m``: one job for each combination of comma-separated values, each in a fresh process, one after the other.

All jobs are composed and checked before the first one starts; one that fails does not stop the others.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab.errors import ConfigError, LabError
from lab.run_directory import run_name


def run_all(overrides: list[str], user_dirs: list[str]) -> int:
    """Run every combination; print a table of the varied keys and results and write ``summary.csv``.

    Returns:
        0 when every job finished, 1 when any failed, 130 when interrupted.

    Raises:
        ConfigError: a job's config is wrong; one line for each.
    """
    jobs = [_prepare(words, user_dirs) for words in expand(overrides)]
    problems = [job["problem"] for job in jobs if job["problem"]]
    if problems:
        raise ConfigError("\nerror: ".join(problems))
    varied = [word.split("=", 1)[0] for word in overrides if len({_value(job["words"], word) for job in jobs}) > 1]
    for number, job in enumerate(jobs, 1):
        print(f"[{number}/{len(jobs)}] {' '.join(job['words'])}", flush=True)
        command = [sys.executable, "-m", "lab", *job["words"]]
        for folder in user_dirs:
            command += ["--config-dir", folder]
        job["exit_code"] = subprocess.run(command, check=False).returncode
        if job["exit_code"] in (130, 143):
            return int(job["exit_code"])
    _summarise(jobs, varied)
    return 1 if any(job["exit_code"] for job in jobs) else 0


def expand(overrides: list[str]) -> list[list[str]]:
    """Return the override lists of all jobs of a sweep."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
        return [list(words) for batch in BasicSweeper.split_arguments(parsed, None) for words in batch]
    except HydraException as error:
        raise ConfigError(" ".join(str(error).split())) from None


def _value(words: list[str], word: str) -> str:
    key = word.split("=", 1)[0]
    return next((other for other in words if other.split("=", 1)[0] == key), "")


def _prepare(words: list[str], user_dirs: list[str]) -> dict[str, Any]:
    from lab.config.checks import check_config
    from lab.config.compose import compose_config

    try:
        composed = compose_config(words, user_dirs)
        check_config(composed)
    except LabError as error:
        return {"words": words, "problem": f"{' '.join(words)}: {error}"}
    config = composed.config
    path = Path(config["paths"]["runs_dir"]) / run_name(config)
    return {"words": words, "problem": None, "path": path, "exit_code": None}


def _summarise(jobs: list[dict[str, Any]], varied: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    rows = []
    for job in jobs:
        file = job["path"] / "run.json"
        record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        row = {key: _value(job["words"], key).split("=", 1)[-1] for key in varied}
        row |= {"run": job["path"].name, "state": record.get("state", "refused")}
        rows.append(row | {key: value for key, value in record.get("result", {}).items() if "per_class" not in key})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    target = jobs[0]["path"].parent / "summary.csv"
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    shown = [*varied, "run", "state", *[key for key in columns if key.startswith("test/")][:3]]
    table = Table(title=str(target))
    for column in shown:
        table.add_column(column)
    for row in rows:
        table.add_row(
            *(f"{row.get(key, ''):.4f}" if isinstance(row.get(key), float) else str(row.get(key, "")) for key in shown)
        )
    Console().print(table)
