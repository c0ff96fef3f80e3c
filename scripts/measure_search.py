"""Measure how long each sampler of a search takes for one more point, after many trials.

    OMP_NUM_THREADS=1 python scripts/measure_search.py --trials 100

Prints the processor time of a point, its own processes included: the smallest of several.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence

import torch

from lab.sweeps.drawing import RandomDraws, Sampler, SobolDraws
from lab.sweeps.ledger import JobRow
from lab.sweeps.objective import Objective
from lab.sweeps.optuna_sampler import OptunaSampler
from lab.sweeps.space_words import read_space
from lab.sweeps.trials import Trial

SPACE = ["lr=tag(log,interval(1e-5,1e-1))", "dropout=interval(0,0.8)", "layers=int(interval(1,8))", "model=a,b,c"]


def main() -> None:
    """Print a row for each sampler."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100, help="trials before the point")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    space = read_space(SPACE)[0]
    draws, trials = RandomDraws(space, 1), list[Trial]()
    for number in range(arguments.trials):
        point = draws.point(number, trials)
        assert point is not None
        loss = abs(float(str(point["lr"])) - 1e-3) + float(str(point["dropout"]))
        trials.append(Trial(number, point, (JobRow(number + 1, [], "", "finished", result={"val/loss": loss}),)))
    samplers: dict[str, Sampler] = {"random": RandomDraws(space, 0), "qmc": SobolDraws(space, 0)}
    samplers |= {name: OptunaSampler(space, name, 0) for name in ("tpe", "cmaes", "nsga2", "gp")}
    for name, sampler in samplers.items():
        times = [_seconds(sampler, trials) for _ in range(arguments.repeats)]
        print(f"{name:8} {1000 * min(times):8.1f} ms")


def _seconds(sampler: Sampler, trials: Sequence[Trial]) -> float:
    before = _used()
    sampler.point(len(trials), trials, [Objective("val/loss", "min")])
    return _used() - before


def _used() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
