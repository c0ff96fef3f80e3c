"""An operator is measured alike on one rank and on two, trains alike, and its files of forecasts are the same."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.data.datamodule import LoadPlan
from lab.strategies.build import make_strategy
from lab.strategies.collectives import sum_over_ranks
from lab.tasks.operator_learning.data.advection import AdvectionDataModule
from lab.tasks.operator_learning.predict import OperatorLearningPredictor
from tests.dist.plain import fit, make_trainer, weights, worst_loss
from tests.distributed import run_distributed
from tests.unit.tasks.operator_learning.makers import make_task

STEPS = 4


def make(rank: int, ranks: int) -> AdvectionDataModule:
    data = AdvectionDataModule(
        resolution=8, waves=3, batch_size=4, num_train=16, num_test=5, eval_steps=3, train_steps=2
    )
    data.plan = LoadPlan(STEPS, 0, 1, rank, ranks)
    return data


def measured(rank: int, ranks: int, folder: str) -> tuple[dict[str, float], str, list[float], dict[str, Any]]:
    """Test, predict, then train on two steps of the rollout; return metrics, the file of errors, losses, weights."""
    root, data = Path(folder), make(rank, ranks)
    task = make_task(data.spec, {"steps": 2, "loss": "mse"})

    def trainer(callbacks: Any, progress: bool = True) -> Any:
        strategy = make_strategy({"name": "ddp"}) if ranks > 1 else None
        return make_trainer(strategy, rank, ranks, callbacks=callbacks, inference_mode=False)

    trainer([]).test(task, dataloaders=data.test_dataloader(), verbose=False)
    results, errors = dict(task.results), task.files["errors.csv"]
    rollout = {"steps": 2, "format": "npz", "pictures": 1, "frames_per_second": 6}
    predictor = OperatorLearningPredictor(str(root / "states.npz"), task, data, {"rollout": rollout})
    with redirect_stdout(io.StringIO()):
        predictor.run(trainer, root / f"out-{ranks}", rank)
    fresh, data = make_task(data.spec, {"steps": 2, "loss": "mse"}), make(rank, ranks)
    reduce = sum_over_ranks if ranks > 1 else dict
    data.plan = replace(data.plan, totals=fresh.totals, reduce=reduce)
    strategy = make_strategy({"name": "ddp"}) if ranks > 1 else None
    losses = fit(fresh, data, strategy, rank, ranks, steps=STEPS)[1]
    return results, errors, losses, weights(fresh.net)


def on_two(rank: int, folder: str) -> tuple[dict[str, float], str, list[float], dict[str, Any]]:
    """Do it on two ranks."""
    torch.set_num_threads(1)
    return measured(rank, 2, folder)


def test_two_ranks_do_what_one_does(tmp_path: Path) -> None:
    """Five samples, two a rank at a time: in the last round the second rank has none."""
    fields = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "states.npz", fields=fields)
    results, _, losses, state = measured(0, 1, str(tmp_path))
    for found, _, of_rank, after in run_distributed(on_two, args=(str(tmp_path),)):
        assert found == pytest.approx(results, rel=1e-12, nan_ok=True)  # worst measured: see below
        assert worst_loss(of_rank, losses) < 1e-6
        for name, value in state.items():
            np.testing.assert_allclose(after[name], value, rtol=1e-5)
    one, two = (tmp_path / f"out-{ranks}" for ranks in (1, 2))
    assert (one / "forecast.npz").exists()
    with np.load(one / "forecast.npz") as alone, np.load(two / "forecast.npz") as both:
        for name in alone:
            np.testing.assert_array_equal(alone[name], both[name])
    assert (one / "pictures/forecast-00000.gif").read_bytes() == (two / "pictures/forecast-00000.gif").read_bytes()
