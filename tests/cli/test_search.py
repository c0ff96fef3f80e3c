"""A search from the command line: trials, pruning, and an objective that is not logged."""

from __future__ import annotations

from pathlib import Path

from lab.sweeps.ledger import Ledger
from tests.runs import Runs

WORDS = [
    "-m", "sweep=study", "sweeper=optuna", "sweeper.pruner=median", "sweeper.pruning.startup_trials=1",
    "launcher.workers=1", "model=gru4rec", "data=sessions_synthetic", "logger=csv", "trainer.max_epochs=null",
    "trainer.max_steps=6", "trainer.val_every_n_steps=2", "optimizer.lr=tag(log,interval(1e-6,0.1))",
]  # fmt: skip


def test_a_short_study(runs: Runs, tmp_path: Path) -> None:
    first = runs.run(*WORDS, "sweeper.n_trials=4", folder=tmp_path, fresh_ranks=True)
    assert first.code == 0, first.out[-2000:] + first.err
    ledger = Ledger(tmp_path / "runs" / "sweeps" / "study")
    jobs = ledger.jobs()
    assert len(jobs) == 4
    assert "optimizer.lr=0.05" in jobs[0].words  # the config's own
    assert ledger.get("objectives") == [{"metric": "val/mrr_20", "direction": "max"}]
    pruned = [job for job in jobs if job.state == "pruned"]
    assert pruned, "a tiny rate is worse at step 2"
    assert all(ledger.reports(job.number)[-1][0] < 6 for job in pruned)
    assert f"search    4 trials of 4: {4 - len(pruned)} finished, {len(pruned)} pruned\n" in first.out
    assert f"\npruned    {len(pruned)} trials, " in first.out
    assert "\nbest      job " in first.out

    words = [
        *WORDS,
        "sweep=wrong",
        "sweeper.metric=val/mrr_21",
        "sweeper.pruner=none",
        "sweeper.pruning.startup_trials=null",
    ]
    wrong = runs.run(*words, "trainer.max_steps=100000", folder=tmp_path, fresh_ranks=True)
    assert wrong.code == 2
    assert "error: sweeper.metric=val/mrr_21: the runs do not log it; did you mean 'val/mrr_20'" in wrong.err
    assert wrong.err.count("\n") == 1
    assert Ledger(tmp_path / "runs" / "sweeps" / "wrong").jobs() == []  # before the first job
