"""Measure what a logger costs a training: processor time of its steps, W&B's own processes included, in turns.

    python scripts/measure_loggers.py                                # W&B, offline, against metrics.csv alone
    python scripts/measure_loggers.py --logger tensorboard --rounds 3 trainer.log_every_n_steps=1

Each round trains the default model twice, in fresh processes, with and without the logger, in changing order. The time
begins after the first optimizer step, and ends after the last one: imports, the start and end of W&B and the
evaluations at the end do not count. The table has the medians. The difference of two trainings is uncertain by some
percent, so the logger's own part is shown too: the time inside its calls, and that of the processes it has started.
Words after the flags are words of run.py for both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

WORDS = ("trainer=cpu", "data.num_val=8", "data.num_test=8", "callbacks.pictures=0", "callbacks.progress=false")
PARTS = ("total", "calls", "others")
RESULT = "LAB_MEASURED"
"""The environment variable that names the file of a training's result."""


@dataclass(frozen=True)
class Spent:
    """Processor seconds of the steps of a training.

    Attributes:
        process: of its process, all threads.
        others: of the processes that it has started.
        calls: inside of the loggers beside metrics.csv; a part of ``process``.
    """

    process: float
    others: float
    calls: float

    @property
    def total(self) -> float:
        """Of all processes."""
        return self.process + self.others


def processes() -> tuple[float, float]:
    """Return the processor seconds of this process, and of all others that it has started."""
    others = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return time.process_time(), sum(times.user + times.system for times in others)


def train(words: list[str]) -> int:
    """Train in this process; write what its steps took into the file that the environment names."""
    import lightning.pytorch as pl

    from lab.callbacks.steps import StepLog
    from lab.cli.main import main as run
    from lab.loggers.metrics_csv import MetricsCSV

    begun: list[tuple[float, float]] = []
    calls: list[float] = []
    log = StepLog.on_train_batch_end

    def timed(call: Callable[..., None]) -> Callable[..., None]:
        def answered(*args: Any, **named: Any) -> None:
            start = time.thread_time()
            call(*args, **named)
            calls.append(time.thread_time() - start)

        return answered

    def logged(self: StepLog, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        log(self, trainer, pl_module, *args)
        if not begun:
            for logger in trainer.loggers:
                if not isinstance(logger, MetricsCSV):
                    logger.log_metrics = timed(logger.log_metrics)  # type: ignore[method-assign]
            begun.append(processes())
        elif trainer.global_step == trainer.max_steps:
            process, others = (end - start for start, end in zip(begun[0], processes(), strict=True))
            Path(os.environ[RESULT]).write_text(json.dumps([process, others, sum(calls)]))

    StepLog.on_train_batch_end = logged  # type: ignore[method-assign]
    return run(words)


def measure(logger: str, words: list[str], steps: int) -> Spent:
    """Return what the steps of a training in a fresh process take."""
    with tempfile.TemporaryDirectory(prefix="measure-loggers-") as folder:
        result = Path(folder) / "result.json"
        own = [f"logger={logger}", f"trainer.max_steps={steps}", f"trainer.val_every_n_steps={steps}"]
        command = [sys.executable, __file__, "--train", *WORDS, *own, f"paths.runs_dir={folder}/runs", *words]
        environment = {**os.environ, RESULT: str(result), "WANDB_MODE": "offline"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        return Spent(*json.loads(result.read_text()))


def main() -> int:
    """Run the command line."""
    if sys.argv[1:2] == ["--train"]:
        return train(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logger", default="wandb", help="the logger that is compared with csv (default: wandb)")
    parser.add_argument("--rounds", type=int, default=5, help="trainings with each (default: 5)")
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of each (default: 200)")
    given, words = parser.parse_known_args()
    found: dict[str, list[Spent]] = {"csv": [], given.logger: []}
    for number in range(given.rounds):
        for logger in list(found) if number % 2 else list(found)[::-1]:
            found[logger].append(measure(logger, words, given.steps))
    print("| logger | processor time | a step | in the logger | in its processes |\n| --- | --- | --- | --- | --- |")
    for logger, rounds in found.items():
        total, calls, others = (statistics.median(getattr(one, name) for one in rounds) for name in PARTS)
        cells = f"{total:.2f} s | {1000 * total / given.steps:.1f} ms | {calls:.3f} s | {others:.2f} s"
        print(f"| {logger} | {cells} |")
    share = statistics.median(
        (one.calls + one.others) / (one.total - one.calls - one.others) for one in found[given.logger]
    )
    print(f"{given.logger}'s own part is {share:.2%} of the rest")
    return 0


if __name__ == "__main__":
    sys.exit(main())
