"""When a training stops, counted by hand; a resumed one stops at the same step, and run.json says why."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.callbacks.early_stopping import EarlyStopping
from lab.callbacks.resumable import read_training
from lab.checkpoint.format import CheckpointReader
from lab.errors import CheckpointError
from lab.loggers.metrics_file import read_metrics
from tests.dist.harness import fit

NAN = math.nan


def stopped_at(values: list[float], mode: str = "max", **settings: Any) -> int | None:
    """Return the validation, from 1, after which a training with these values of its metric stops."""
    stopping = EarlyStopping(**settings)
    for number, value in enumerate(values, 1):
        trainer: Any = SimpleNamespace(state=SimpleNamespace(fn="fit"), global_step=10 * number, should_stop=False)
        module = SimpleNamespace(monitor="val/metric", monitor_mode=mode, results={"val/metric": value})
        saved, stopping = stopping.state_dict(), EarlyStopping(**settings)
        stopping.load_state_dict(json.loads(json.dumps(saved)))  # as if it was resumed each time
        stopping.on_validation_end(trainer, module)
        assert trainer.should_stop == stopping.has_stopped
        if trainer.should_stop:
            return number
    return None


@pytest.mark.parametrize(
    ("values", "mode", "settings", "expected"),
    [
        ([0.1, 0.2, 0.2, 0.1], "max", {"patience": 2}, 4),  # an equal value is no improvement
        ([0.1, 0.2, 0.1, 0.3, 0.2, 0.1], "max", {"patience": 2}, 6),
        ([3.0, 2.0, 2.5, 1.9, 1.8], "min", {"patience": 2}, None),
        ([3.0, 2.0, 2.5, 2.1, 1.8], "min", {"patience": 2}, 4),
        ([0.10, 0.14, 0.18, 0.22], "max", {"patience": 2, "min_delta": 0.05}, None),  # 0.18 > 0.10 + 0.05
        ([0.10, 0.14, 0.15, 0.22], "max", {"patience": 2, "min_delta": 0.05}, 3),
        ([0.5, 0.4, 0.3, 0.2, 0.1], "max", {"patience": 2, "start": 40}, 5),
        ([NAN, NAN, 0.1, NAN, 0.2], "max", {"patience": 2}, None),  # any number is better than none
        ([NAN, NAN, NAN], "max", {"patience": 2}, 3),
    ],
)
def test_it_stops_after_the_validation_counted_by_hand(
    values: list[float], mode: str, settings: dict[str, Any], expected: int | None
) -> None:
    assert stopped_at(values, mode, **settings) == expected


WORDS = (
    "model=shufflenet_v2_x0_5",
    "optimizer.lr=0",
    "optimizer.weight_decay=0",
    "callbacks.early_stopping={patience: 2}",
    "eval.monitor=top_1",
    "trainer.max_steps=20",
    "trainer.val_every_n_steps=2",
)


def test_a_run_that_stops(tmp_path: Path) -> None:
    """With a rate of 0 and frozen statistics no validation is better than the first."""
    run = fit((*WORDS, "callbacks=head_only"), tmp_path)
    record = json.loads((run / "run.json").read_text())
    assert record["state"] == "finished"
    assert record["best_step"] == 2
    assert record["stopped_early"] == {
        "step": 6,
        "reason": record["stopped_early"]["reason"],
    }
    assert record["stopped_early"]["reason"].startswith("val/top_1 has not improved in 2 validations since step 2 (")
    rows = read_metrics(run / "metrics.csv")
    assert max(row["step"] or 0 for row in rows) == 6
    assert rows[-1]["test/top_1"] is not None
    assert rows[-1]["step"] == 6

    reader = CheckpointReader(run / "checkpoints" / "last.ckpt")
    assert reader.state["early_stopping"]["waited"] == 2
    reader.state["early_stopping"]["waited"] = "2"
    with pytest.raises(CheckpointError, match="its early_stopping counts no validations"):
        read_training(reader)

    # Killed after the last checkpoint and before the test: nothing is trained, the test follows.
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    record["state"], record["result"] = "running", {}
    (copy / "run.json").write_text(json.dumps(record))
    fit((f"resume={copy}",), tmp_path, base=())
    again = json.loads((copy / "run.json").read_text())
    assert (again["state"], again["stopped_early"]["step"]) == ("finished", 6)
    assert again["result"]["test/top_1"] == rows[-1]["test/top_1"]

    # More patience continues it.
    fit((f"resume={copy}", "callbacks.early_stopping.patience=3"), tmp_path, base=())
    assert json.loads((copy / "run.json").read_text())["stopped_early"]["step"] == 8
