"""A command whose training diverges: one line, exit 1, finite checkpoints, and how it goes on."""

from __future__ import annotations

from pathlib import Path

from lab.checkpoint.format import CheckpointReader
from lab.loggers.metrics_file import read_metrics
from tests.runs import SMALL, Runs, only_run, record

# From step 8 on the rate is 1e12 times higher.
WORDS = (
    *(word for word in SMALL if not word.startswith("scheduler.")),
    "scheduler=multistep",
    "scheduler.milestones=[7]",
    "scheduler.gamma=1e15",
    "trainer.checkpoint_every_n_steps=6",
    "trainer.gradient_clip_val=null",
)


def test_a_diverged_run_and_what_comes_after_it(runs: Runs, tmp_path: Path) -> None:
    first = runs.run(*WORDS, folder=tmp_path)
    assert first.code == 1, first.err
    run = only_run(tmp_path)
    assert first.err.startswith("error: diverged at step 9: loss_ce is not finite; try a smaller optimizer.lr (it was")
    assert f"the same command continues from step 6, and so does resume={run.relative_to(tmp_path)} with" in first.err
    assert first.err.count("\n") == 1
    assert "Traceback" not in first.out
    assert record(run)["state"] == "diverged"
    assert record(run)["result"] == {}
    for name, step in (("last.ckpt", 6), ("previous.ckpt", 5), ("best.ckpt", 5)):
        reader = CheckpointReader(run / "checkpoints" / name)
        reader.verify()
        assert reader.step == step
        assert all(reader.read(key).isfinite().all() for key in reader.names() if reader.dtype(key).is_floating_point)

    again = runs.run(*WORDS, folder=tmp_path)
    assert again.code == 1
    assert again.err == first.err
    assert "at step 6 of 12" in again.out
    assert record(run)["resumed_at"] == [6]
    assert record(run)["diverged"] == [{"step": 9, "term": "loss_ce"}] * 2

    tested = runs.run("stage=test", f"ckpt={run / 'checkpoints' / 'best.ckpt'}", folder=tmp_path)
    assert tested.code == 0, tested.err
    assert "test/map" in (run / "test-best" / "result.json").read_text()

    mended = runs.run(f"resume={run}", "scheduler.gamma=1", folder=tmp_path)
    assert mended.code == 0, mended.err
    assert record(run)["state"] == "finished"
    assert record(run)["resumed_at"] == [6, 6]
    assert record(run)["result"]["val/loss"] > 0
    assert [row["step"] for row in read_metrics(run)] == list(range(1, 13))
