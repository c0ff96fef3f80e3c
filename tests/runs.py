"""Runs commands as ``python run.py`` does, each in a process that can be killed, without importing torch anew.

A driver (``tests/driver.py``) imports lab once and forks a child for each command, and for each rank of a command: the
same code, signals and exit codes, in a second.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

SMALL = (
    "trainer=cpu",
    "logger=csv",
    "data.num_train=64",
    "data.batch_size=8",
    "data.num_val=8",
    "data.num_test=8",
    "data.image_size=32",
    "data.max_side=20",
    "trainer.max_steps=12",
    "trainer.val_every_n_steps=5",
    "trainer.checkpoint_every_n_steps=1",
    "trainer.log_every_n_steps=1",
    "trainer.deterministic=true",
    "callbacks.pictures=2",
    "scheduler.warmup_steps=2",
    "model.net.embed_dim=16",
    "model.net.num_heads=2",
    "model.net.feedforward_dim=16",
    "model.net.num_queries=5",
)
"""Words of a run of 12 steps, 8 an epoch, validated at 5, 10 and 12, a checkpoint at every step."""

DETECTOR = (
    *SMALL,
    "callbacks=ema",
    "callbacks.ema.decay=0.9",
    "trainer.max_steps=6",
    "optimizer.lr=1e-3",
    "optimizer.groups=[{pattern: backbone, lr: 1e-4}]",
)
"""With an average of the weights and two groups of parameters."""
SEGMENTER = (
    "model=maskformer_tiny",
    "data=shapes",
    *(word for word in SMALL if not word.startswith("model.net.")),
    "model.asks.segments=panoptic",
    "eval.panoptic=true",
    "eval.instances=true",
    "trainer.max_steps=4",
    "trainer.val_every_n_steps=4",
    "trainer.checkpoint_every_n_steps=4",
    "model.net.embed_dim=16",
    "model.net.mask_dim=16",
    "model.net.num_heads=2",
    "model.net.num_queries=5",
    "model.net.num_decoder_layers=1",
    "model.net.feedforward_dim=16",
)
"""Panoptic, measured in all three ways."""
SESSIONS = (
    "trainer=cpu",
    "logger=csv",
    "data=sessions_synthetic",
    "data.num_items=30",
    "data.num_train=60",
    "data.num_val=20",
    "data.num_test=20",
    "data.mean_length=3",
    "data.batch_size=8",
    "trainer.log_every_n_steps=1",
    "trainer.deterministic=true",
    "eval.ks=[1,5]",
)
"""Words of generated sessions."""
RECOMMENDER = (
    *SESSIONS,
    "model=gru4rec",
    "model.net.layers=[12]",
    "model.net.dropout_hidden=0.1",
    "model.asks.num_negatives=16",
    "optimizer.momentum=0.3",
    "trainer.max_steps=40",
    "trainer.val_every_n_steps=15",
    "trainer.checkpoint_every_n_steps=1",
)
"""GRU4Rec: 40 steps, about 18 an epoch, a checkpoint at each."""


@dataclass
class Command:
    """A running or finished command."""

    runs: Runs
    pid: int
    log: Path
    code: int | None = None

    def wait(self) -> int:
        """Return the exit code; that of a signal is negative."""
        if self.code is None:
            self.code = int(self.runs.ask({"wait": self.pid}))
        return self.code

    def send(self, signum: int) -> None:
        os.kill(self.pid, signum)

    @property
    def out(self) -> str:
        return self.said("out")

    @property
    def err(self) -> str:
        return self.said("err")

    def said(self, stream: str) -> str:
        """What it wrote so far: nothing, until the driver has opened the file."""
        path = self.log.with_name(f"{self.log.name}.{stream}")
        return path.read_text() if path.exists() else ""


class Runs:
    """The driver. Commands run in ``folder`` and write their runs to ``folder/runs`` unless they say otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"}
        self.driver = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "driver.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.driver.stdout is not None
        assert self.driver.stdout.readline() == "ready\n"

    def ask(self, request: dict[str, Any]) -> str:
        assert self.driver.stdin is not None
        assert self.driver.stdout is not None
        print(json.dumps(request), file=self.driver.stdin, flush=True)
        return self.driver.stdout.readline()

    def start(self, *words: object, folder: Path | None = None, fresh_ranks: bool = False, **env: str) -> Command:
        """Begin a command.

        Args:
            words: those after ``run.py``.
            folder: where it is run.
            fresh_ranks: start ranks as users' commands do, by interpreters of their own, not by forks.
            env: further variables.
        """
        self.count += 1
        folder = folder or self.folder
        log = self.folder / f"log-{self.count}"
        request = {"words": [str(word) for word in words], "log": str(log), "cwd": str(folder), "env": env}
        request["fresh_ranks"] = fresh_ranks
        return Command(self, int(self.ask(request)), log)

    def run(self, *words: object, folder: Path | None = None, fresh_ranks: bool = False, **env: str) -> Command:
        """Run a command to its end."""
        command = self.start(*words, folder=folder, fresh_ranks=fresh_ranks, **env)
        command.wait()
        return command

    def fit(self, *words: object, code: int = 0, folder: Path | None = None) -> Path:
        """Run a small fit in ``folder`` and return its run directory."""
        command = self.run(*SMALL, *words, folder=folder)
        assert command.code == code, command.out[-2000:] + command.err
        return only_run(folder or self.folder)

    def close(self) -> None:
        assert self.driver.stdin is not None
        self.driver.stdin.close()
        self.driver.wait()


def only_run(folder: Path) -> Path:
    """Return the one run directory in ``folder/runs``, those set aside not counted."""
    (run,) = [path for path in (folder / "runs").iterdir() if "~" not in path.name]
    return run


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


def summary(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the only sweep's summary below ``folder/runs``, in the order of the jobs."""
    (file,) = (folder / "runs" / "sweeps").glob("*/summary.csv")
    with file.open(newline="", encoding="utf-8") as opened:
        return sorted(csv.DictReader(opened), key=lambda row: int(row["job"]))


def last_step(folder: Path) -> int:
    """Return the last step that stands in the metrics.csv of ``folder``'s one run, 0 if none does."""
    lines = [line for file in (folder / "runs").glob("*/metrics.csv") for line in file.read_text().splitlines()]
    return int(lines[-1].split(",")[0]) if len(lines) > 1 else 0


def wait_for(condition: Any, command: Command, seconds: float = 120.0) -> bool:
    """Wait until ``condition()`` holds; return False if the command ended before."""
    end = time.monotonic() + seconds
    while not condition():
        if command.code is None and not is_alive(command.pid):
            return False
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)
    return True


def is_alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
