"""Measure how many threads a training should compute with, and how they should wait: samples/s, and what auto chooses.

    python scripts/measure_threads.py                                # detr_tiny, maskformer_tiny and gru4rec
    python scripts/measure_threads.py --models detr_tiny --steps 60 --rounds 3

Three ways are compared: one thread, threads for all cores that spin while they wait, and such that sleep; each on this
machine as it is, and beside busy processes. They train for a few steps in turns, in two processes that live for the
whole measurement, because OpenMP reads how to wait when it is loaded. The first steps do not count. A row has the
medians, what ``trainer.threads=auto`` chooses at the start of each round, and its share of the best.
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
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.launch.prepare import prepare_job
from lab.launch.threads import decide
from lab.system.cores import NUM_THREADS, WAIT_POLICY, full_cores

WORDS = ("trainer=cpu", "logger=csv", "callbacks.pictures=0", "callbacks.progress=false", "resume=never")
GENERATED = ("data.num_train=320", "data.num_val=8", "data.num_test=8")
WARM = 5
"""Steps that do not count."""
BUSY = "while True: pass"


def serve() -> int:
    """Train for each line of standard input; answer with the samples per second."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    import lightning.pytorch as pl

    import lab
    from lab.callbacks.steps import StepLog

    ends: list[float] = []
    log = StepLog.on_train_batch_end

    def logged(self: StepLog, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        log(self, trainer, pl_module, *args)
        ends.append(time.perf_counter())

    StepLog.on_train_batch_end = logged  # type: ignore[method-assign]
    answers.write("ready\n")  # imports would keep a core busy while the other ways are measured
    for line in sys.stdin:
        ends.clear()
        batch = lab.fit(*json.loads(line)).config["data"]["batch_size"]
        answers.write(f"{batch * (len(ends) - WARM) / (ends[-1] - ends[WARM - 1])}\n")
    return 0


class Trainer:
    """A process that trains, its threads waiting in one way."""

    def __init__(self, policy: str | None) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in (NUM_THREADS, WAIT_POLICY)}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            env=environment | ({WAIT_POLICY: policy} if policy else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer("")

    def rate(self, words: list[str]) -> float:
        """Return the samples per second of a short training."""
        assert self.process.stdin is not None
        print(json.dumps(words), file=self.process.stdin, flush=True)
        return float(self._answer(" ".join(words)))

    def _answer(self, words: str) -> str:
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the training ended with exit code {self.process.wait()}: {words}")
        return answer

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep so many processes busy."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["detr_tiny", "maskformer_tiny", "gru4rec"])
    parser.add_argument("--steps", type=int, default=25, help="of each training, beside the first")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1], help="busy processes beside")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve()
    for name in (NUM_THREADS, WAIT_POLICY):
        os.environ.pop(name, None)
    cores = full_cores()
    spin, sleep = Trainer(None), Trainer("PASSIVE")
    ways = {"1 thread": (1, sleep), f"{cores} spin": (cores, spin), f"{cores} sleep": (cores, sleep)}
    print(f"{cores} cores, load {os.getloadavg()[0]:.1f}, {time.ctime()}; samples/s")
    print(f"{'model':<18}{'busy':>5}" + "".join(f"{way:>10}" for way in ways) + "   auto, its share of the best")
    try:
        with tempfile.TemporaryDirectory() as folder:
            for count in options.busy:
                for model in options.models:
                    measure(model, count, ways, options, Path(folder))
    finally:
        spin.close()
        sleep.close()
    return 0


def measure(
    model: str, count: int, ways: dict[str, tuple[int, Trainer]], options: argparse.Namespace, folder: Path
) -> None:
    """Print one row."""
    words = [f"model={model}", *WORDS, f"trainer.max_steps={options.steps + WARM}", f"paths.runs_dir={folder}"]
    prepared = prepare_job(words, [], machine=False)
    words += GENERATED if "num_train" in prepared.config["data"] else ()
    rates, chosen = defaultdict(list), []
    with busy(count):
        time.sleep(0.2 if count else 0)
        for number in range(options.rounds):
            found = decide(prepared.config)
            chosen.append(f"{found.number} {found.waiting}" if found.number > 1 else "1 thread")
            for way in list(ways) if number % 2 else reversed(ways):
                threads, trainer = ways[way]
                rates[way].append(trainer.rate([*words, f"trainer.threads={threads}"]))
    medians = {way: statistics.median(rates[way]) for way in ways}
    best = max(medians.values())
    auto = ", ".join(f"{way}: {medians[way] / best:.0%}" if way in medians else way for way in chosen)
    print(f"{model:<18}{count:>5}" + "".join(f"{rate:>10.1f}" for rate in medians.values()) + f"   {auto}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
