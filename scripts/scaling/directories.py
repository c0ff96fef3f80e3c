"""Run directories as trainings leave them: generated, nothing is trained."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

from lab.sweeps.ledger import Ledger
from lab.system.files import CHECKPOINT_INDEX, write_text

COLUMNS = ("train/loss", "train/lr", "train/samples_per_s", "train/data_wait", "train/grad_norm", "val/loss", "val/map")
VALIDATED = 10
"""Every which row has a validation's values."""


def write_metrics(run: Path, rows: int, seed: int = 0) -> None:
    """Write a metrics.csv of ``rows`` steps."""
    draw = random.Random(seed)
    with (run / "metrics.csv").open("w", encoding="utf-8") as file:
        file.write(",".join(("step", "epoch", *COLUMNS)) + "\n")
        for step in range(1, rows + 1):
            loss = 3 * math.exp(-3 * step / rows) + draw.random() / 10
            validated = f"{loss + 0.1},{1 / (1 + loss)}" if step % VALIDATED == 0 else ","
            file.write(f"{step},{step // 100},{loss},{1e-3 / step},{400 + draw.random()},0.05,{2 * loss},{validated}\n")


def write_run(run: Path, config: str, rows: int, words: tuple[str, ...] = (), seed: int = 0) -> dict[str, float]:
    """Write the directory of a finished run; return its result."""
    (run / "checkpoints" / "best.ckpt").mkdir(parents=True)
    write_text(run / "checkpoints" / "best.ckpt" / CHECKPOINT_INDEX, "{}")
    write_text(run / "config.yaml", config)
    write_metrics(run, rows, seed)
    result = {"val/loss": 0.2 + seed % 7 / 10, "val/map": 0.8 - seed % 7 / 10, "test/map": 0.7 - seed % 7 / 10}
    record = {
        "state": "finished",
        "overrides": list(words),
        "exit_code": 0,
        "resumed_at": [],
        "changes": [],
        "result": result,
        "monitor": "val/map",
        "lower_is_better": ["val/loss"],
        "started": f"2026-11-28T14:{seed // 60 % 60:02}:{seed % 60:02}+00:00",
        "ended": f"2026-11-28T16:{seed // 60 % 60:02}:{seed % 60:02}+00:00",
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "machine": {"host": "atlas", "cores": 2, "memory_gib": 23.5},
        "command": " ".join(("run.py", *words)),
    }
    write_text(run / "run.json", json.dumps(record))
    return result


def write_sweep(folder: Path, config: str, runs: int, rows: int) -> None:
    """Write a sweep of ``runs`` finished jobs, whose runs lie two folders above ``folder``."""
    folder.mkdir(parents=True)
    ledger = Ledger(folder, create=True)
    jobs = []
    for number in range(runs):
        words = (f"optimizer.lr={10 ** (-4 + 2 * number / runs):.4g}", f"seed={number % 3}")
        jobs.append((words, str(folder.parents[1] / f"detr_tiny-shapes-{number:08x}"), {}))
    ledger.add(jobs)
    ledger.set(command="python run.py -m optimizer.lr='interval(1e-4,1e-2)'", total=runs)
    for number, (words, run, _) in enumerate(jobs, 1):
        result = write_run(Path(run), config, rows, words, number)
        ledger.claim(number, "master", number % 4)
        ledger.end(number, 1, "finished", {"state": "finished", "result": result}, first_step=1, last_step=rows)
    ledger.close()
