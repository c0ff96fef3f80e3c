"""The verdicts are Optuna's own on a table of values, a new master gives the same, and what it saves is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

optuna: Any = pytest.importorskip("optuna")

from lab.sweeps.ledger import JobRow  # noqa: E402
from lab.sweeps.pruning import OptunaPruner  # noqa: E402
from lab.sweeps.settings import PrunerSettings  # noqa: E402
from tests.unit.sweeps.studies import Sweep, composed_once  # noqa: E402

__all__ = ["composed_once"]
pytestmark = pytest.mark.usefixtures("composed_once")

STEPS = (1, 2, 3, 6, 9)
TABLE = [
    (0.50, 0.60, 0.70, 0.75, 0.80),
    (0.40, 0.45, 0.50, 0.55, 0.60),
    (0.55, 0.62, 0.60, 0.78, 0.85),
    (0.52, 0.20, 0.30, 0.40, 0.50),
    (0.60, 0.61, 0.50, 0.45, 0.40),
    (0.52, 0.58, 0.72, 0.80, 0.86),
    (0.30, 0.70, 0.80, 0.85, 0.90),
    (0.45, 0.50, 0.71, 0.76, 0.79),
]
"""Of each trial the validations by step, higher is better."""
SETTINGS = {
    "median": ["sweeper.pruning.startup_trials=2", "sweeper.pruning.warmup_steps=1"],
    "successive_halving": ["sweeper.pruning.min_resource=1", "sweeper.pruning.reduction_factor=2"],
    "hyperband": ["sweeper.pruning.min_resource=1", "sweeper.pruning.max_resource=9"],
}


def optuna_s_own(name: str, table: list[tuple[float, ...]], two_at_a_time: bool, sign: int = 1) -> list[int]:
    """Return for each trial the number of validations after which Optuna stops it, by its documented loop."""
    pruner = {
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1),
        "successive_halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3),
    }[name]()
    study = optuna.create_study(
        study_name="search", direction="maximize" if sign > 0 else "minimize", pruner=pruner,
        sampler=optuna.samplers.RandomSampler(),
    )  # fmt: skip
    lengths = [len(STEPS)] * len(table)
    for first in range(0, len(table), 2 if two_at_a_time else 1):
        numbers = range(first, min(first + (2 if two_at_a_time else 1), len(table)))
        trials = {number: study.ask() for number in numbers}
        for place, step in enumerate(STEPS):
            for number in numbers:
                if place < lengths[number]:
                    trials[number].report(sign * table[number][place], step)
                    if trials[number].should_prune():
                        lengths[number] = place + 1
                        study.tell(trials[number], state=optuna.trial.TrialState.PRUNED)
        for number in numbers:
            if lengths[number] == len(STEPS) and trials[number].number not in [
                each.number for each in study.get_trials(states=(optuna.trial.TrialState.PRUNED,))
            ]:
                study.tell(trials[number], sign * table[number][-1])
    return lengths


def ours(folder: Path, name: str, two_at_a_time: bool, restart: bool = False, sign: int = 1) -> list[int]:
    """Return the same for the sweeper on a ledger; with ``restart`` a new master judges every report."""
    sweeper = [
        "sweeper=optuna", "sweeper.n_trials=8", "sweeper.sampler=random", f"sweeper.pruner={name}",
        "sweeper.metric=val/map", f"sweeper.direction={'max' if sign > 0 else 'min'}", *SETTINGS[name],
    ]  # fmt: skip

    def outcome(job: JobRow) -> dict[str, float | None] | str:
        length = lengths[job.number - 1]
        return "pruned" if job.number in pruned else {"val/map": sign * TABLE[job.number - 1][length - 1]}

    def sweep() -> Sweep:
        return Sweep(folder, sweeper, ["optimizer.lr=interval(1e-4,1e-2)"], outcome)

    lengths, pruned, played = [len(STEPS)] * len(TABLE), set[int](), sweep()
    assert played.proposer.prunes
    while jobs := played.propose(2 if two_at_a_time else 1):
        for place, step in enumerate(STEPS):
            for job in jobs:
                if place < lengths[job.number - 1] and job.number not in pruned:
                    played = sweep() if restart else played
                    value = sign * TABLE[job.number - 1][place]
                    if played.proposer.judge(job, step, {"val/map": value, "val/loss": 1.0}):
                        lengths[job.number - 1] = place + 1
                        pruned.add(job.number)
                        played.end(job)
        for job in jobs:
            if job.number not in pruned:
                played.end(job)
    ours.summary = played.proposer.summary(played.ledger)  # type: ignore[attr-defined]
    return lengths


@pytest.mark.parametrize("two_at_a_time", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_verdicts_are_optuna_s_own(name: str, two_at_a_time: bool, tmp_path: Path) -> None:
    expected = optuna_s_own(name, TABLE, two_at_a_time)
    assert len(set(expected)) > 1, "the table prunes nothing"
    assert ours(tmp_path / "a", name, two_at_a_time) == expected
    assert ours(tmp_path / "b", name, two_at_a_time, restart=True) == expected
    assert ours(tmp_path / "c", name, two_at_a_time, sign=-1) == expected


def test_the_median_by_hand(tmp_path: Path) -> None:
    """From the third trial on: the best value so far is below the median of the finished ones at the same step.

    Trials 0, 1, 2 have the median 0.50 at step 1 and 0.60 at step 2. Trial 3 has 0.52, which is not below 0.50, but is
    below 0.60, and its 0.20 does not count.
    """
    lengths = ours(tmp_path, "median", two_at_a_time=False)
    assert lengths[:4] == [5, 5, 5, 2]
    saved = sum(9 - STEPS[length - 1] for length in lengths)
    count = sum(length < 5 for length in lengths)
    assert ours.summary[-1] == f"pruned    {count} trials, {saved} steps of {9 * 8} not trained"  # type: ignore[attr-defined]


def test_the_resources_follow_from_the_trainer() -> None:
    known = {"min_resource": 50, "max_resource": 600}
    assert OptunaPruner("hyperband", PrunerSettings(), known).arguments == known
    assert OptunaPruner("hyperband", PrunerSettings(min_resource=10), known).arguments == {**known, "min_resource": 10}
    assert OptunaPruner("successive_halving", PrunerSettings(), known).arguments == {"min_resource": 50}
    assert OptunaPruner("median", PrunerSettings(), known).arguments == {}


def test_nothing_is_pruned_before_the_direction_is_known(tmp_path: Path) -> None:
    """Reports that came before the first result count from then on."""
    sweeper = [
        "sweeper=optuna",
        "sweeper.sampler=random",
        "sweeper.pruner=successive_halving",
        *SETTINGS["successive_halving"],
    ]
    sweep = Sweep(
        tmp_path,
        [*sweeper, "sweeper.metric=test/map"],
        ["optimizer.lr=interval(1e-4,1e-2)"],
        lambda job: {"test/map": 1.0},
    )
    first, second = sweep.propose(2)
    assert not sweep.proposer.judge(first, 1, {"val/map": 0.9})
    assert not sweep.proposer.judge(second, 1, {"val/map": 0.1})
    assert sweep.ledger.all_reports() == []
    sweep.end(first)
    assert sweep.ledger.all_reports() == [(1, 1, 0.9), (2, 1, 0.1)]
    assert sweep.proposer.judge(second, 2, {"val/map": 0.1})


def test_a_failed_trial_that_is_tried_again_is_judged_again(tmp_path: Path) -> None:
    sweeper = ["sweeper=optuna", "sweeper.sampler=random", "sweeper.pruner=median", "sweeper.pruning.startup_trials=1"]
    sweep = Sweep(
        tmp_path, [*sweeper, "sweeper.metric=val/map", "sweeper.direction=max"], ["optimizer.lr=interval(1e-4,1e-2)"],
        lambda job: {"val/map": 1.0} if job.number == 1 else "failed",
    )  # fmt: skip
    first, second = sweep.propose(2)
    assert not sweep.proposer.judge(first, 1, {"val/map": 0.9})
    sweep.end(first)
    assert sweep.proposer.judge(second, 1, {"val/map": 0.1})
    sweep.end(second)
    sweep.ledger.change(second.number, state="running")
    assert sweep.proposer.judge(second, 1, {"val/map": 0.1})
