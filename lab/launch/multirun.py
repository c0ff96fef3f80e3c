"""``-m``: one job for each combination of comma-separated values, each in a fresh process, one after the other.

All jobs are composed and checked before the first one starts; one that fails does not stop the others. A sweep that is
repeated runs what is not finished.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import ConfigError, LabError
from lab.run_directory import run_name


@dataclass
class Job:
    """One combination: its words, its resolved config and the directory of its run."""

    words: list[str]
    config: dict[str, Any]
    path: Path
    exit_code: int | None = None

    def record(self) -> dict[str, Any]:
        """Return the content of ``run.json``; empty before the run has begun."""
        file = self.path / "run.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def run_all(overrides: list[str], user_dirs: list[str]) -> int:
    """Run every combination; print a table of the varied keys and results and write ``summary.csv``.

    Returns:
        0 when every job finished, 1 when any failed, 130 or 143 when interrupted.

    Raises:
        ConfigError: a job's config is wrong; no job was started.
    """
    jobs = _prepare_all(expand(overrides, user_dirs), user_dirs)
    for number, job in enumerate(jobs, 1):
        # One that is finished reports its result, or refuses to where lab's sources or its data have changed.
        print(f"[{number}/{len(jobs)}] {' '.join(job.words)}", flush=True)
        job.exit_code = _run(job.words, user_dirs)
        if job.exit_code in (130, 143):
            print(f"interrupted at job {number} of {len(jobs)}; repeat the command to continue")
            return job.exit_code
    if jobs[0].config["stage"] == "fit" and not jobs[0].config["check"]:
        _summarise(jobs, overrides)
    return 1 if any(job.exit_code for job in jobs) else 0


def expand(overrides: list[str], user_dirs: Sequence[str] = ()) -> list[list[str]]:
    """Return the override lists of all jobs of a sweep.

    Args:
        overrides: words whose values may be ``a,b``, ``choice(a,b)``, ``range(0,4)`` or, of a group, ``glob(detr*)``.
        user_dirs: further folders with groups.

    Raises:
        ConfigError: a word cannot be parsed, or has no values to go through.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob
    from hydra.errors import HydraException, OverrideParseException

    from lab.config.compose import config_dir, options
    from lab.config.refusals import unreadable

    choices: list[list[str]] = []
    try:
        for override in OverridesParser.create().parse_overrides(overrides):
            key, value = override.get_key_element(), override.value()
            values: list[str] | None = None
            if isinstance(value, Glob):
                values = value.filter(options(key, [config_dir(), *map(Path, user_dirs)]))
            elif override.is_discrete_sweep():
                values = list(override.sweep_string_iterator())
            elif override.is_sweep_override():
                raise ConfigError(f"{override.input_line}: an interval has no values to go through; list them: a,b,c")
            if values == []:
                raise ConfigError(f"{override.input_line}: no value at all")
            choices.append([override.input_line or ""] if values is None else [f"{key}={value}" for value in values])
    except OverrideParseException as error:
        raise ConfigError(unreadable(error)) from None
    except HydraException as error:
        raise ConfigError(" ".join(str(error).split())) from None
    return [list(words) for words in itertools.product(*choices)]


def _prepare_all(combinations: list[list[str]], user_dirs: list[str]) -> list[Job]:
    jobs: list[Job] = []
    problems: list[str] = []
    for number, words in enumerate(combinations, 1):
        try:
            jobs.append(_prepare(words, user_dirs))
        except LabError as error:
            problems.append(f"job {number} of {len(combinations)} ({' '.join(words)}): {error}")
    if problems:
        more = f"; {len(problems) - 1} more of them are wrong" if len(problems) > 1 else ""
        raise ConfigError(f"{problems[0]}{more}; no job was started")
    paths = [job.path for job in jobs]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None and jobs[0].config["stage"] == "fit":
        raise ConfigError(f"several jobs of the sweep ask for the same run {twice}; no job was started")
    return jobs


def _prepare(words: list[str], user_dirs: list[str]) -> Job:
    from lab.config.compose import compose_config
    from lab.launch.parent import inherit
    from lab.launch.targets import check_all

    inherited, folders, home = inherit(words, user_dirs)
    composed = compose_config(inherited, folders)
    check_all(composed)
    path = Path(composed.config["paths"]["runs_dir"]) / run_name(composed.config)
    return Job(words, composed.config, home or path)


def _run(words: list[str], user_dirs: list[str]) -> int:
    """Run a job in a process of its own and return its exit code; signals are its to handle."""
    command = [sys.executable, "-P", "-m", "lab", *words]
    for folder in user_dirs:
        command += ["--config-dir", folder]
    # The job finds the lab that runs here, installed or not.
    places = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    process = subprocess.Popen(command, env=environment)
    # Ctrl-C reaches the job too, which writes its checkpoint and ends; SIGTERM is handed on.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminate = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)
    return code if code >= 0 else 128 - code


def _summarise(jobs: Sequence[Job], overrides: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    values = [{word.split("=", 1)[0]: word.split("=", 1)[-1] for word in job.words} for job in jobs]
    keys = dict.fromkeys(word.split("=", 1)[0] for word in overrides)
    varied = [key for key in keys if len({row.get(key) for row in values}) > 1]
    rows: list[dict[str, Any]] = []
    for job, given in zip(jobs, values, strict=True):
        record = job.record()
        row = {key: given.get(key, "") for key in varied}
        row |= {"run": job.path.name, "state": record.get("state", "refused")}
        rows.append(row | {key: value for key, value in record.get("result", {}).items() if "per_class" not in key})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    target = jobs[0].path.parent / "summary.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    shown = [*varied, "run", "state", *[key for key in columns if key.startswith("test/")][:3]]
    table = Table(title=str(target))
    for column in shown:
        table.add_column(column)
    for row in rows:
        cells = [row.get(key, "") for key in shown]
        table.add_row(*(f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells))
    Console().print(table)
