"""An AFNO trains under ddp and fsdp as on one process, with the norm that nothing uses, and recomputing its blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch

from lab.data.datamodule import LoadPlan
from lab.strategies.build import make_strategy
from lab.strategies.collectives import sum_over_ranks
from lab.tasks.operator_learning.data.advection import AdvectionDataModule
from lab.tasks.operator_learning.task import OperatorLearningTask
from tests.dist.plain import OPTIMIZERS, distance, fit, weights, worst_loss
from tests.distributed import run_distributed
from tests.unit.tasks.operator_learning.makers import EVAL

STEPS = 4
NET = {
    "_target_": "afno_fourcastnet",
    "patch_size": 2,
    "embed_dim": 16,
    "num_layers": 2,
    "num_blocks": 2,
    "mode_cut": "axes",
}
STRATEGIES: dict[str, dict[str, Any]] = {
    "ddp": {"name": "ddp"},
    "fsdp": {"name": "fsdp", "reshard_after_forward": True},
    "recomputing": {"name": "fsdp", "reshard_after_forward": True, "activation_checkpointing": True},
}
Trained = tuple[list[float], dict[str, Any]]


def trained(strategy: str | None, rank: int = 0, ranks: int = 1, **more: Any) -> Trained:
    """Return losses and weights."""
    pl.seed_everything(0, verbose=False)
    data = AdvectionDataModule(resolution=8, waves=3, batch_size=4, num_train=16, num_test=5)
    data.plan = LoadPlan(STEPS, 0, 1, rank, ranks)
    settings = {**OPTIMIZERS["sgd"], "weight_decay": 1e-4, "no_decay_norm_bias": True, "groups": []}
    schedule = {"name": "constant", "warmup_steps": 0}
    task = OperatorLearningTask(NET | more, data.spec.to_plain(), settings, schedule, STEPS, EVAL)
    data.plan = replace(data.plan, totals=task.totals, reduce=sum_over_ranks if ranks > 1 else dict)
    made = None if strategy is None else make_strategy(STRATEGIES[strategy])
    losses = fit(task, data, made, rank, ranks, steps=STEPS)[1]
    return losses, weights(task.net)


def on_two(rank: int) -> dict[str, Trained]:
    """Train under each strategy."""
    torch.set_num_threads(1)
    return {name: trained(name, rank, 2) for name in STRATEGIES}


def test_two_ranks_train_as_one_process() -> None:
    losses, state = trained(None)
    again, recomputed = trained(None, memory_efficient=True)
    assert losses == again
    assert distance(recomputed, state) == 0
    assert (state["norm.weight"] == 1).all()
    for results in run_distributed(on_two):
        for name, (of_rank, after) in results.items():
            assert worst_loss(of_rank, losses) < 1e-6, name
            assert distance(after, state) < 1e-6, name
