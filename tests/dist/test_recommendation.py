"""Recommenders are measured alike on one rank and on two, whatever the ranks hold of the network."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch.utils.data import DataLoader

from lab.data.sampler import EvalBatches
from lab.strategies.build import make_strategy
from tests.dist.plain import make_trainer
from tests.distributed import run_distributed
from tests.unit.tasks.recommenders import make_batch, make_task

SASREC = {"_target_": "sasrec", "max_length": 8, "embed_dim": 8, "dropout": 0.0}
SHARDED = ["fsdp", *(["deepspeed_zero3"] if importlib.util.find_spec("deepspeed") else [])]


def batches(length: int, rank: int, world_size: int) -> list[Any]:
    """Return this rank's evaluation batches of two; a rank without a sequence has one that fills up."""
    found = EvalBatches(length, 2 * world_size, rank, world_size)
    return [make_batch([index for _, index, _ in keys], valid=keys[0][2], every=True) for keys in found]


def counted(rank: int, world_size: int) -> list[Any]:
    """Evaluate 1, 5 and 9 sequences."""
    results: list[Any] = []
    for length in (1, 5, 9):
        for changes in ({"also": "sampled"}, {"protocol": "sampled", "exclude_train": True, "ties": "median"}):
            task = make_task(**changes)
            with torch.no_grad():
                for batch in batches(length, rank, world_size):
                    task.evaluate("test", None, batch)
            results += [task.compute_metrics("test"), task.tables]
    return results


def under_strategies(rank: int, world_size: int, names: list[str]) -> list[Any]:
    """Test SASRec under each strategy, then recommend; its weights are those of the seed."""
    results = []
    for name in names:
        torch.manual_seed(0)
        task = make_task(SASREC, also="sampled")
        strategy = None if name == "single" else make_strategy({"name": name})
        trainer = make_trainer(strategy, rank, world_size, inference_mode=False)
        loader: Any = DataLoader(batches(9, rank, world_size), batch_size=None)
        trainer.test(task, dataloaders=loader, verbose=False)
        lists = trainer.predict(task, dataloaders=loader) or []
        results.append((task.results, [items.tolist() for _, items, _ in lists if len(items)]))
    return results


def on_two(rank: int) -> tuple[list[Any], list[Any]]:
    """Return what rank ``rank`` of two finds."""
    return counted(rank, 2), under_strategies(rank, 2, ["ddp", *SHARDED])


def test_the_same_on_two_ranks() -> None:
    """To the last bit, tables included."""
    alone, ((metrics, lists),) = counted(0, 1), under_strategies(0, 1, ["single"])
    both = run_distributed(on_two, 2)
    assert [found for found, _ in both] == [alone, alone]
    for first, second in zip(both[0][1], both[1][1], strict=True):
        assert first[0] == second[0] == metrics
        in_turn = [batch for pair in zip(first[1], [*second[1], []], strict=True) for batch in pair if batch]
        assert in_turn == lists
