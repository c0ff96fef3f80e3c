"""Measure what a start costs before anything is trained: processor time of whole commands, in turns.

    python scripts/measure_start.py                       # one composition, a refused word, check=true, the first step
    python scripts/measure_start.py --rounds 7 --json start.json
    python scripts/measure_start.py model=maskformer_tiny # words of run.py for the check and the first step

Each round starts every command once, in a process of its own, with one thread and ``logger=csv``. The figure is what
the process and all processes that it has waited for have taken, as the kernel counts it, so that other work on the
machine hardly changes it: median, least and most of the rounds, and the median of the time by the clock. ``first step``
ends at the end of the first optimizer step. One composition is also timed within a process that has composed before,
which is what each job of a sweep and each call of ``lab.fit`` adds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.system.provenance import cpu_name

ROOT = Path(__file__).resolve().parent.parent
WORDS = ("trainer=cpu", "trainer.threads=1", "logger=csv", "callbacks.progress=false", "resume=never")
COMPOSITION = "import lab; lab.compose('model=detr_tiny')"
AGAIN = """
import time, lab
lab.compose('model=detr_tiny')
start = time.process_time()
for _ in range(20):
    lab.compose('model=detr_tiny')
print((time.process_time() - start) / 20)
"""
FIRST_STEP = """
import os, sys
from lab.__main__ import main
from lab.compat.imports import put_off_imports
put_off_imports()  # as a start does before it imports Lightning, which the next line does
from lab.callbacks.steps import StepLog
StepLog.on_train_batch_end = lambda *_: os._exit(0)
sys.exit(main())
"""


def commands(words: list[str], folder: str) -> dict[str, tuple[list[str], int]]:
    """Return of each row the arguments of Python and the exit code that is expected."""
    trained = [*WORDS, f"paths.runs_dir={folder}", *words]
    return {
        "import torch": (["-c", "import torch"], 0),
        "import lightning.pytorch": (["-c", "import lightning.pytorch"], 0),
        "one composition, with Python's start and imports": (["-c", COMPOSITION], 0),
        "a refused word: model=detrr": (["run.py", "model=detrr"], 2),
        "check=true": (["run.py", "check=true", *trained], 0),
        "to the end of the first step": (["-c", FIRST_STEP, *trained], 0),
    }


def timed(arguments: list[str], expected: int) -> tuple[float, float]:
    """Return the processor seconds and the seconds of a process.

    Raises:
        SystemExit: it has ended with another code than expected.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != expected:
        sys.exit(f"{arguments}: exit code {done.returncode}, expected {expected}:\n{done.stdout}{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def again() -> float:
    """Return the processor seconds of a composition in a process that has composed before."""
    done = subprocess.run([sys.executable, "-c", AGAIN], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure(words: list[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Return of each row the processor seconds and the seconds of all rounds but a first one, which warms up."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: {"processor": [], "wall": []})
    for turn in range(rounds + 1):
        with tempfile.TemporaryDirectory(prefix="start-") as folder:
            for name, (arguments, expected) in commands(words, folder).items():
                processor, wall = timed(arguments, expected)
                if turn:
                    found[name]["processor"].append(processor)
                    found[name]["wall"].append(wall)
            if turn:
                found["one composition more"]["processor"].append(again())
    return dict(found)


def main() -> int:
    """Measure, print the table, and write the JSON file that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="words of run.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds={options.rounds}: expected 1 or more")
    found = measure(options.words, options.rounds)
    table = Table(title=f"{cpu_name()}, {options.rounds} rounds")
    table.add_column("start")
    for name in ("processor s", "least", "most", "wall s"):
        table.add_column(name, justify="right")
    for name, times in found.items():
        spent = times["processor"]
        wall = f"{statistics.median(times['wall']):.2f}" if times["wall"] else ""
        table.add_row(name, *(f"{value:.2f}" for value in (statistics.median(spent), min(spent), max(spent))), wall)
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps({"processor": cpu_name(), "seconds": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
