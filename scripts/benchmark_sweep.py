"""Time what a trial costs beside its training: in a sweep, as fresh processes one by one, and two at a time by xargs.

    python scripts/benchmark_sweep.py
    python scripts/benchmark_sweep.py --trials 8 --block 4

A trial is 3 steps of detr_tiny on 64 px, a validation and a test, ``logger=csv``. Blocks of trials of each kind run in
turn, so that the machine's load meets all alike; medians are over blocks. The time of a trial is that of its place: of
two places, a second gives two. Overhead is this time minus the one of the same trial in a warm process: the later ones
of ``launcher=here``, which does everything but fork. The sweep's overhead has its master's start (imports, composing)
divided by the number of trials. The first line is what a process prints first; a trial's is ``-- job`` in output.log,
from its claim in the ledger on. CPU is the user and system time that one trial more costs, of all processes: that of a
block (of a sweep's or of one process's, less that of a single trial), which machine load changes little.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORDS = (
    "model=detr_tiny",
    "data=shapes",
    "data.image_size=64",
    "data.num_train=64",
    "data.num_val=8",
    "data.num_test=8",
    "data.batch_size=8",
    "trainer=cpu",
    "trainer.max_steps=3",
    "trainer.val_every_n_steps=3",
    "logger=csv",
)
LAUNCHER = ("launcher.workers=2", "launcher.threads_per_job=1")


@dataclass
class Block:
    """What a block of trials took, in seconds.

    Attributes:
        trial: the time of a trial in its place.
        start: the time before the first trial.
        cpu: user and system time of all processes.
        lines: from the start of each trial to its first line.
    """

    trial: float
    start: float = 0.0
    cpu: float = 0.0
    lines: list[float] = field(default_factory=list)


def run(command: Sequence[str], feed: str = "") -> tuple[float, float, float]:
    """Run a command; return the seconds until its first output, until its end, and of all its processes' CPU."""
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(feed.encode())
    process.stdin.close()
    said = process.stdout.readline()
    first = time.monotonic() - began
    said += process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{shlex.join(command)} has failed:\n{said.decode(errors='replace')[-3000:]}")
    return first, time.monotonic() - began, usage.ru_utime + usage.ru_stime


def fresh(words: Sequence[str], seeds: Sequence[int], folder: Path) -> Block:
    """A fresh process for each trial, one after another."""
    times = [run([sys.executable, str(ROOT / "run.py"), *words, f"seed={seed}"]) for seed in seeds]
    firsts, walls, cpu = zip(*times, strict=True)
    return Block(statistics.median(walls), 0.0, sum(cpu), list(firsts))


def two_at_a_time(words: Sequence[str], seeds: Sequence[int], folder: Path) -> Block:
    """Fresh processes, two at a time, by ``xargs -P2``."""
    command = ["xargs", "-P2", "-I{}", sys.executable, str(ROOT / "run.py"), *words, "seed={}"]
    first, wall, cpu = run(command, "\n".join(map(str, seeds)))
    return Block(2 * wall / len(seeds), 0.0, cpu, [first])


def sweep(words: Sequence[str], seeds: Sequence[int], folder: Path) -> Block:
    """A sweep with two workers."""
    began = time.time()
    command = [sys.executable, str(ROOT / "run.py"), "-m", *words, *LAUNCHER, f"seed={','.join(map(str, seeds))}"]
    _, wall, cpu = run(command)
    rows = _attempts(folder)
    start = min(started for _, started, _ in rows) - began
    lines = [_first_line(Path(path)) - started for path, started, _ in rows]
    return Block(2 * (wall - start) / len(seeds), start, cpu, lines)


def warm(words: Sequence[str], seeds: Sequence[int], folder: Path) -> Block:
    """All trials in one process: the times of all but the first, which finds nothing warm."""
    command = [sys.executable, str(ROOT / "run.py"), "-m", *words, "launcher=here", f"seed={','.join(map(str, seeds))}"]
    _, _, cpu = run(command)
    times = [ended - started for _, started, ended in _attempts(folder)]
    return Block(statistics.median(times[1:] or times), 0.0, cpu)


KINDS = {"fresh": fresh, "xargs -P2": two_at_a_time, "sweep": sweep, "warm": warm}


def _attempts(folder: Path) -> list[tuple[str, float, float]]:
    """Return run directory, start and end of the attempts in the one ledger below a folder."""
    (file,) = folder.glob("sweeps/*/ledger.sqlite")
    query = "SELECT run, attempts.started, attempts.ended FROM attempts JOIN jobs ON number = job ORDER BY 2"
    with closing(sqlite3.connect(file)) as database:
        return database.execute(query).fetchall()


def _first_line(run_directory: Path) -> float:
    """Return the time in the first line of a trial's output."""
    line = next(line for line in (run_directory / "output.log").read_text().splitlines() if line.startswith("-- job"))
    return datetime.fromisoformat(line.rpartition(", ")[2]).timestamp()


def main() -> int:
    """Run the blocks in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--block", type=int, default=8)
    arguments = parser.parse_args()
    blocks: dict[str, list[Block]] = {kind: [] for kind in KINDS}
    single = dict.fromkeys(KINDS, 0.0)
    with tempfile.TemporaryDirectory(prefix="benchmark-sweep-") as name:
        for kind in ("sweep", "warm"):
            folder = Path(name) / "single" / kind.split()[0]
            single[kind] = KINDS[kind]([*WORDS, f"paths.runs_dir={folder}"], [0], folder).cpu
        for number, first in enumerate(range(0, arguments.trials, arguments.block)):
            order = list(KINDS)[number % len(KINDS) :] + list(KINDS)[: number % len(KINDS)]
            for kind in order:
                folder = Path(name) / f"{kind.split()[0]}-{number}"
                words = [*WORDS, f"paths.runs_dir={folder}"]
                blocks[kind].append(KINDS[kind](words, range(first, first + arguments.block), folder))
                shutil.rmtree(folder)
                print(f"{kind}: {blocks[kind][-1].trial:.2f} s a trial, load {os.getloadavg()[0]:.1f}", flush=True)
    more = {
        kind: statistics.median((block.cpu - single[kind]) / (arguments.block - (single[kind] > 0)) for block in of)
        for kind, of in blocks.items()
    }
    report(blocks, arguments.trials, more)
    return 0


def report(blocks: dict[str, list[Block]], trials: int, cpu: dict[str, float]) -> None:
    """Print the table; ``cpu`` is what a trial more costs of each kind."""
    base = statistics.median(block.trial for block in blocks["warm"])
    print(f"\n{trials} trials, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {time.ctime()}")
    print(f"the same trial in a warm process: {base:.2f} s, CPU {cpu['warm']:.2f} s\n")
    print("| | first line | start | a trial | overhead | with the start | CPU a trial | overhead in CPU |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    overhead = {}
    for kind in (kind for kind in KINDS if kind != "warm"):
        trial, start = (
            statistics.median(getattr(block, name) for block in blocks[kind]) for name in ("trial", "start")
        )
        line = statistics.median(line for block in blocks[kind] for line in block.lines)
        overhead[kind] = (trial - base, trial - base + start / trials, cpu[kind] - cpu["warm"])
        cells = (start, trial, *overhead[kind][:2], cpu[kind], overhead[kind][2])
        print(f"| {kind} | {line:.3f} s | {' | '.join(f'{cell:.2f} s' for cell in cells)} |")
    for kind in ("fresh", "xargs -P2"):
        times = [other / max(mine, 1e-9) for other, mine in zip(overhead[kind], overhead["sweep"], strict=True)]
        print(
            f"overhead of {kind} / of the sweep: {times[0]:.0f}, with the start {times[1]:.0f}, in CPU {times[2]:.0f}"
        )


if __name__ == "__main__":
    sys.exit(main())
