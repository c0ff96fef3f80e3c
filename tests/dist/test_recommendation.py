"""Recommenders train and are measured alike on one rank and on two, whatever the ranks hold of the network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lab.data.sampler import EvalBatches
from lab.loggers.metrics_file import read_metrics
from lab.strategies.build import make_strategy
from tests.dist.harness import fit, losses, weights, worst_relative
from tests.dist.plain import make_trainer
from tests.distributed import run_distributed
from tests.unit.tasks.recommendation.recommenders import make_batch, make_task

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


FITS = (
    "trainer=cpu",
    "logger=csv",
    "callbacks.progress=false",
    "data=sessions_synthetic",
    "data.num_items=40",
    "data.num_train=64",
    "data.num_val=5",
    "data.num_test=9",
    "data.mean_length=3",
    "data.batch_size=8",
    "trainer.max_steps=20",
    "trainer.max_epochs=null",
    "trainer.val_every_n_steps=20",
    "trainer.log_every_n_steps=1",
    "eval.ks=[1,5]",
    "eval.also=sampled",
    "eval.num_negatives=9",
)
"""Of eight steps an epoch and more."""
# A bias of keys has a gradient of zero but for rounding, of which Adam with its default eps makes whole steps.
SMALL_SASREC = (
    "model=sasrec",
    "model.asks.max_length=5",
    "model.net.embed_dim=8",
    "model.net.dropout=0",
    "optimizer.eps=1e-4",
)
CASES = {
    "gru4rec": ("model=gru4rec", "model.net.layers=[8]", "model.asks.num_negatives=16", "optimizer.momentum=0.3"),
    "sasrec": (*SMALL_SASREC, "model.asks.num_negatives=2"),
    "sasrec-ce": (*SMALL_SASREC, "model.loss=ce", "model.asks.num_negatives=0"),
}


def fit_on_two(rank: int, folder: str) -> dict[str, Path]:
    """Fit every case under DDP, with one micro-batch a step and with two."""
    runs = {}
    for parts in (1, 2):
        for name, words in CASES.items():
            more = ("strategy=ddp", f"trainer.accumulate_grad_batches={parts}")
            runs[f"{name} {parts}"] = fit((*words, *more), Path(folder), rank, 2, FITS)
    return runs


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("fits")
    alone = {name: fit(words, folder / "alone", base=FITS) for name, words in CASES.items()}
    return alone | run_distributed(fit_on_two, 2, (str(folder / "ranks"),))[0]


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_ranks_and_micro_batches_train_as_one(fits: dict[str, Path], name: str, parts: int) -> None:
    alone, both = fits[name], fits[f"{name} {parts}"]
    steps = losses(alone)
    assert len(steps) == 20
    assert max(row["epoch"] for row in read_metrics(alone)) > 0
    assert worst_relative(losses(both), steps) < 1e-5  # worst 2.9e-7
    found = weights(both)
    for key, value in weights(alone).items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-5)  # worst 5.8e-7
    one, two = (read_metrics(run)[-1] for run in (alone, both))
    names = [key for key in one if key.startswith(("val/", "test/"))]
    assert {"test/recall_5", "test/mrr_5", "test/sampled_ndcg_5", "test/coverage_5", "val/mrr_5"} <= set(names)
    for key in names:
        assert two[key] == pytest.approx(one[key], rel=1e-5), key
