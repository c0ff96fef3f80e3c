"""A search as the master sees it, played on a ledger without any job: numbers of trials, restarts, refusals, totals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.sweeps.ledger import JobRow
from lab.sweeps.setup import read_setup
from lab.sweeps.space import identity
from lab.sweeps.sweepers import make_proposer
from tests.unit.sweeps.studies import Sweep, composed_once, proposer, settings, value_of

__all__ = ["composed_once"]
pytestmark = pytest.mark.usefixtures("composed_once")

SPACE = ["optimizer.lr=tag(log,interval(1e-4,1e-2))", "seed=int(interval(0,1000))"]
RANDOM = ["sweeper=random", "sweeper.n_trials=8", "sweeper.metric=val/map", "sweeper.direction=max"]


def by_rate(job: JobRow) -> dict[str, float | None]:
    return {"val/map": -abs(value_of(job, "optimizer.lr") - 3e-3)}


def test_exactly_n_trials_and_the_config_s_values_first(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, RANDOM, ["optimizer.lr=tag(log,interval(1e-5,1e-2))", "seed=range(0,9)"], by_rate)
    assert (sweep.run(room=3), sweep.proposer.total) == (8, 8)
    jobs = sweep.ledger.jobs()
    assert jobs[0].words == ["optimizer.lr=0.002", "seed=0"]  # what `python run.py` has
    assert len({identity(job.point) for job in jobs}) == 8
    assert not sweep.proposer.prunes


def test_the_point_of_a_trial_follows_from_its_number(tmp_path: Path) -> None:
    def failing(job: JobRow) -> str:
        return "failed"

    sweeps = [Sweep(tmp_path / name, RANDOM, SPACE, outcome) for name, outcome in [("a", by_rate), ("b", failing)]]
    for sweep, room in zip(sweeps, (1, 4), strict=True):
        sweep.run(room=room)
    assert sweeps[0].ledger.jobs()[0].words == ["optimizer.lr=0.002", "seed=0"]
    assert [job.words for job in sweeps[0].ledger.jobs()] == [job.words for job in sweeps[1].ledger.jobs()]
    other = Sweep(tmp_path / "c", [*RANDOM, "sweeper.seed=1"], SPACE, by_rate)
    other.run()
    assert other.ledger.jobs()[1].words != sweeps[0].ledger.jobs()[1].words


def test_a_master_that_starts_again_goes_on_and_more_trials_may_be_asked(tmp_path: Path) -> None:
    whole = Sweep(tmp_path / "whole", [*RANDOM, "sweeper.n_trials=12"], SPACE, by_rate)
    whole.run()
    Sweep(tmp_path / "parts", RANDOM, SPACE, by_rate).run(most=5)
    assert Sweep(tmp_path / "parts", RANDOM, SPACE, by_rate).run() == 3
    assert Sweep(tmp_path / "parts", RANDOM, SPACE, by_rate).run() == 0
    more = Sweep(tmp_path / "parts", [*RANDOM, "sweeper.n_trials=12"], SPACE, by_rate)
    assert more.run() == 4
    assert [job.words for job in more.ledger.jobs()] == [job.words for job in whole.ledger.jobs()]
    assert Sweep(tmp_path / "parts", RANDOM, SPACE, by_rate).propose(5) == []  # fewer than there are


def test_a_finite_space_ends_when_each_point_has_its_trial(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, RANDOM, ["seed=1,2", "optimizer.lr=1e-3,1e-4"], by_rate)
    assert (sweep.proposer.total, sweep.run(room=3)) == (4, 4)
    assert len({tuple(job.words) for job in sweep.ledger.jobs()}) == 4
    assert sweep.proposer.summary(sweep.ledger)[0] == (
        "search    4 trials of 8: 4 finished; the space has no further point"
    )


def test_the_seeds_of_a_point(tmp_path: Path) -> None:
    words, sweeper = ["optimizer.lr=interval(1e-4,1e-2)"], [*RANDOM, "sweeper.n_trials=3", "sweeper.seeds=3"]

    def result(job: JobRow) -> dict[str, float | None]:
        return {"val/map": value_of(job, "seed") + value_of(job, "optimizer.lr")}

    sweep = Sweep(tmp_path, sweeper, words, result)
    assert sweep.proposer.total == 9
    first = sweep.propose(1)
    assert [job.words for job in first] == [["optimizer.lr=0.002", f"seed={seed}"] for seed in range(3)]
    assert first[1].point == {"optimizer.lr": 0.002, "seed": 1}
    for job in first:
        sweep.end(job)
    # a master that was killed while it added the jobs of a point
    (last,) = sweep.proposer.propose(sweep.ledger, 1)[:1]
    sweep.ledger.add([(last.words, "run", last.point)])
    again = Sweep(tmp_path, sweeper, words, result)
    assert [job.words[-1] for job in again.propose(1)] == ["seed=1", "seed=2"]
    again.run()
    assert len(again.ledger.jobs()) == 9
    lines = again.proposer.summary(again.ledger)
    rates = sorted({job.point["optimizer.lr"] for job in again.ledger.jobs()})
    assert lines[1].endswith(f"val/map {1 + rates[-1]:.4f} (higher is better)")
    with pytest.raises(ConfigError, match=r"seed=... and sweeper.seeds=3: give one of them"):
        proposer(sweeper, [*words, "seed=4"])


def test_a_failed_trial_has_no_value_and_counts(tmp_path: Path) -> None:
    def outcome(job: JobRow) -> dict[str, float | None] | str:
        return {2: "failed", 3: "diverged", 4: "withdrawn"}.get(job.number) or (
            {"val/map": None} if job.number == 5 else by_rate(job)
        )

    sweep = Sweep(tmp_path, RANDOM, SPACE, outcome)
    assert sweep.run() == 8
    lines = sweep.proposer.summary(sweep.ledger)
    assert lines[0] == "search    8 trials of 8: 4 finished, 3 failed, 1 without a value"
    best = max(
        (job for job in sweep.ledger.jobs() if job.number not in (2, 3, 4, 5)), key=lambda j: j.result["val/map"]
    )
    assert lines[1].startswith(f"best      job {best.number} (optimizer.lr=")
    assert lines[2].startswith("default   job 1 (optimizer.lr=0.002 seed=0): val/map -0.0010; ")


def test_another_study_is_refused_by_what_differs(tmp_path: Path) -> None:
    words = ["optimizer.lr=interval(1e-4,1e-2)", "model=detr_tiny,maskformer_tiny"]
    Sweep(tmp_path, RANDOM, words, by_rate).run(most=2)
    cases = {
        "optimizer.lr: interval 0.0001..0.01 before, interval 0.001..0.01 now; sweep=NEWNAME starts another study": (
            RANDOM,
            ["optimizer.lr=interval(1e-3,1e-2)", words[1]],
        ),
        "model: one of detr_tiny, maskformer_tiny before, not searched now": (RANDOM, words[:1]),
        "shared overrides: none before, trainer.max_steps=3 now": (RANDOM, [*words, "trainer.max_steps=3"]),
        "sweeper: random before, optuna now; sweeper.sampler: not set before, tpe now": (["sweeper=optuna"], words),
        "sweeper.metric: val/map before, val/loss now": ([*RANDOM, "sweeper.metric=val/loss"], words),
        "sweeper.direction: max before, min now": ([*RANDOM, "sweeper.direction=min"], words),
        "sweeper.seed: 0 before, 3 now": ([*RANDOM, "sweeper.seed=3"], words),
    }
    for line, (sweeper, other) in cases.items():
        with pytest.raises(ConfigError) as refused:
            Sweep(tmp_path, sweeper, other, by_rate)
        assert line in str(refused.value)


def test_the_monitored_metric_comes_from_the_first_run_that_finished(tmp_path: Path) -> None:
    def outcome(job: JobRow) -> dict[str, float | None]:
        record = {
            "state": "finished", "sources": "", "overrides": [], "exit_code": 0, "resumed_at": [], "changes": [],
            "result": {"val/rmse": 1.0}, "monitor": "val/rmse", "lower_is_better": ["val/rmse"],
        }  # fmt: skip
        Path(job.run).mkdir(parents=True)
        (Path(job.run) / "run.json").write_text(json.dumps(record))
        return {"val/rmse": value_of(job, "optimizer.lr"), "val/map": 0.0}

    sweep = Sweep(tmp_path, ["sweeper=random", "sweeper.n_trials=4"], SPACE, outcome)
    sweep.run()
    least = min(job.point["optimizer.lr"] for job in sweep.ledger.jobs())
    assert sweep.proposer.summary(sweep.ledger)[1].endswith(f"val/rmse {least:.4f} (lower is better)")
    again = Sweep(tmp_path, ["sweeper=random", "sweeper.n_trials=4"], SPACE, outcome)
    assert again.proposer.objectives == sweep.proposer.objectives  # type: ignore[attr-defined]


def test_a_metric_that_is_not_logged_is_refused_at_once(tmp_path: Path) -> None:
    sweeper = [*RANDOM, "sweeper.metric=val/mpa"]
    sweep = Sweep(tmp_path, sweeper, SPACE, by_rate)
    (job,) = sweep.propose()
    line = "sweeper.metric=val/mpa: the runs do not log it; did you mean 'val/map'"
    with pytest.raises(ConfigError, match=line):
        sweep.proposer.judge(job, 10, {"val/map": 0.5, "val/loss": 1.0})
    with pytest.raises(ConfigError, match=line):
        sweep.end(job)
    with pytest.raises(ConfigError, match="should be a metric of val or test, such as val/map"):
        proposer([*RANDOM, "sweeper.metric=map"], SPACE)


@pytest.mark.parametrize(
    ("sweeper", "line"),
    [
        (["sweeper.pruner=median", "sweeper.seeds=2"], "give sweeper.pruner=none or sweeper.seeds=null"),
        (["sweeper.pruning.min_resource=3"], "sweeper.pruning: there is no pruner"),
        (["sweeper.pruner=median", "sweeper.pruning.min_resource=3"], "takes startup_trials, warmup_steps"),
        (["sweeper.objectives=[val/map,val/loss]", "sweeper.metric=val/map"], "sweeper.objectives replaces"),
        (["sweeper.objectives=[val/map,val/loss]", "sweeper.directions=[max]"], "1 for 2 of sweeper.objectives"),
        (["sweeper.objectives=[val/map,val/loss]", "sweeper.sampler=cmaes"], "cmaes knows one objective"),
        (["sweeper.objectives=[val/map,val/loss]", "sweeper.pruner=median"], "median knows one objective"),
        (["sweeper.sampler=grid"], "optimizer.lr: sweeper.sampler=grid needs a list of values; write a,b,c"),
        (["sweeper.population=9"], "sweeper.sampler=tpe has no generations"),
        (["sweeper.sampler=qmc", "sweeper.startup_trials=9"], "sweeper.sampler=qmc has none"),
    ],
)
def test_settings_that_contradict_each_other(sweeper: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        proposer(["sweeper=optuna", *sweeper], ["optimizer.lr=interval(1e-4,1e-2)"])
    assert line in str(refused.value)


def test_values_outside_of_the_space_are_said() -> None:
    found, notes = make_proposer(settings("sweeper=random"), ["optimizer.lr=interval(5e-3,1e-2)"])
    assert notes == ["the config's own values are no point of the space: optimizer.lr=0.002 is outside of it"]
    assert found.total == 20


def test_a_grid_has_all_its_jobs_at_once(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, ["sweeper=grid", "sweeper.seeds=2"], ["optimizer.lr=1e-3,1e-4"], by_rate)
    assert sweep.proposer.total == 4
    assert [job.words for job in sweep.propose(1)] == [
        [f"optimizer.lr={rate}", f"seed={seed}"] for rate in ("0.001", "0.0001") for seed in (0, 1)
    ]
    more = Sweep(tmp_path, ["sweeper=grid", "sweeper.seeds=3"], ["optimizer.lr=1e-3,1e-4,1e-5"], by_rate)
    assert len(more.propose(1)) == 5
    with pytest.raises(
        ConfigError, match=r"3 jobs of the sweep are none of this command's, the first optimizer.lr=0.001"
    ):
        Sweep(tmp_path, ["sweeper=grid", "sweeper.seeds=3"], ["optimizer.lr=1e-4,1e-5"], by_rate)
    with pytest.raises(ConfigError, match=r"begun with sweeper=grid; sweep=NEWNAME starts another study"):
        Sweep(tmp_path, RANDOM, SPACE, by_rate)
    with pytest.raises(ConfigError, match=r"needs a list of values; write a,b,c"):
        proposer(["sweeper=grid"], SPACE)


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("sweeper.space={a:{lwo:1,high:2}}", "unknown key 'lwo' in sweeper.space.a"),
        ("sweeper.space={a:{lwo:1,high:2}}", "did you mean 'low' or 'log'?"),
        ("sweeper.space={a:{choices:[]}}", "sweeper.space.a.choices: should have at least 1 item"),
        ("sweeper.pruning.warmup=3", "did you mean 'warmup_steps'?"),
        ("sweeper.sampler=tpee", "sweeper.sampler=tpee: should be one of tpe, cmaes, gp, random, grid, qmc, nsga2"),
        ("sweeper.n_trials=0", "sweeper.n_trials=0: should be greater than 0"),
    ],
)
def test_a_wrong_setting_is_one_line(word: str, line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_setup(["sweeper=optuna", word], [])
    assert line in str(refused.value)
