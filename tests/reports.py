"""Sweeps and runs as a training would leave them, for tests of the page: generated, nothing is trained."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import yaml

from lab.sweeps.ledger import Ledger
from lab.system.files import CHECKPOINT_INDEX

METRICS = ("train/loss", "train/lr", "train/samples_per_s", "train/data_wait", "train/peak_memory_gib", "val/loss")
START = 1_790_000_000.0


def write_run(
    run: Path,
    seed: int = 0,
    lr: float = 1e-3,
    points: int = 200,
    state: str = "finished",
    words: tuple[str, ...] = (),
    name: str = "detr_tiny",
    **record: Any,
) -> dict[str, float | None]:
    """Write config.yaml, metrics.csv and run.json of a run whose score depends on its rate; return its result."""
    run.mkdir(parents=True, exist_ok=True)
    draw = random.Random(f"{seed} {lr}")
    best = 0.7 - 0.12 * (math.log10(lr) + 3) ** 2 + draw.gauss(0, 0.02)
    config = {
        "seed": seed,
        "model": {"name": name, "net": {"dropout": 0.1}},
        "data": {"name": "shapes", "batch_size": 32},
        "optimizer": {"name": "adamw", "lr": lr},
        "paths": {"runs_dir": str(run.parent)},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with (run / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "epoch", *METRICS, "val/map"])
        for place in range(1, points + 1):
            share = place / points
            loss = 4 * math.exp(-3 * share) + 1 - best + draw.gauss(0, 0.05)
            row = [loss, lr * (1 - share), 400 + draw.gauss(0, 20), 0.05 + 0.01 * draw.random(), 0.9]
            validated = place % 10 == 0
            values = [loss + 0.2, best * (1 - math.exp(-4 * share))] if validated else ["", ""]
            writer.writerow([place * 10, place // 50, *row, *values])
    result = {"val/loss": 1.2 - best, "val/map": best, "test/map": best - 0.01, "test/map_small": None}
    entries = {
        "state": state,
        "sources": "ab" * 32,
        "overrides": list(words),
        "exit_code": 0 if state == "finished" else 1,
        "resumed_at": [],
        "changes": [],
        "result": result if state == "finished" else {},
        "monitor": "val/map",
        "lower_is_better": ["val/loss"],
        "started": "2026-11-28T14:53:09+00:00",
        "ended": "2026-11-28T14:54:41+00:00",
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "machine": {"host": "atlas", "cpu": "AMD EPYC", "cores": 2, "memory_gib": 23.5},
        "command": "run.py " + " ".join(words),
        "commit": "c9bbe37a" * 5,
        "diff": None,
    }
    (run / "run.json").write_text(json.dumps(entries | record))
    if state == "finished":
        (run / "checkpoints" / "best.ckpt").mkdir(parents=True)
        (run / "checkpoints" / "best.ckpt" / CHECKPOINT_INDEX).write_text("{}")
    return result if state == "finished" else {}


TRACEBACK = "\n".join(
    [
        "Traceback (most recent call last):",
        '  File "lab/training/task.py", line 120, in training_step',
        "    terms = self.terms(batch)",
        "RuntimeError: CUDA out of memory: tried to allocate 2.00 GiB",
    ]
)


def write_sweep(folder: Path, runs: int = 200, points: int = 200, seeds: int = 2) -> Ledger:
    """Write a sweep with its runs: rates, models and seeds; every 17th has failed, every 13th was pruned."""
    folder.mkdir(parents=True)
    ledger = Ledger(folder, create=True)
    rates = [10 ** (-5 + 4 * place / max(1, runs // seeds - 1)) for place in range(runs // seeds)]
    jobs = []
    for number in range(runs):
        rate, seed = rates[number // seeds], number % seeds
        model = ("detr_tiny", "rtdetr_tiny")[number // seeds % 2]
        words = [f"model={model}", f"optimizer.lr={rate:.3g}", f"seed={seed}", "trainer.max_steps=2000"]
        jobs.append((words, str(folder.parents[1] / f"{model}-shapes-{number:08x}"), {}))
    ledger.add(jobs)
    ledger.set(command="python run.py -m model=detr_tiny,rtdetr_tiny optimizer.lr='interval(1e-5,1e-1)'", total=runs)
    for number, (words, run, _) in enumerate(jobs, 1):
        state = "failed" if number % 17 == 0 else "pruned" if number % 13 == 0 else "finished"
        rate, seed, model = float(words[1].split("=")[1]), int(words[2][-1]), words[0].split("=")[1]
        result = write_run(Path(run), seed, rate, points, state, tuple(words), model)
        slot, start = number % 4, START + 90 * (number // 4)
        ledger.claim(number, "master", slot)
        more = {"problem": "out of memory", "tail": TRACEBACK} if state == "failed" else {}
        ledger.end(number, 1, state, {"state": state, "result": result, **more}, first_step=1, last_step=10 * points)
        with ledger._changing() as database:  # the times of a sweep that took hours
            values = (start, start + 80 + number % 7, number)
            database.execute("UPDATE attempts SET started = ?, ended = ? WHERE job = ?", values)
    return ledger
