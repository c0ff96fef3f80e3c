"""``train/grad_norm`` is the norm of all gradients of the global batch, however the ranks share them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lab.loggers.metrics_file import read_metrics
from tests.dist.harness import fit, worst_relative
from tests.distributed import run_distributed

ZERO = ["deepspeed_zero2", "deepspeed_zero3"] if importlib.util.find_spec("deepspeed") else []
STRATEGIES = ["ddp", "fsdp", "tensor_parallel", *ZERO]
WORDS = (
    "optimizer=sgd",
    "optimizer.lr=0.01",
    "trainer.max_steps=3",
    "trainer.val_every_n_steps=3",
    "trainer.accumulate_grad_batches=2",
    "trainer.gradient_clip_val=0.1",
    "data.num_train=32",
    "data.num_val=2",
    "data.num_test=2",
)


def on_ranks(rank: int, folder: str) -> dict[str, str]:
    split = dict.fromkeys(ZERO[1:], ("strategy.persistence_threshold=0",))
    return {
        strategy: str(fit((*WORDS, f"strategy={strategy}", *split.get(strategy, ())), Path(folder), rank, 2))
        for strategy in STRATEGIES
    }


def norms(run: Path) -> list[float]:
    return [row["train/grad_norm"] for row in read_metrics(run / "metrics.csv") if row.get("train/grad_norm")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return norms(fit(WORDS, tmp_path_factory.mktemp("alone")))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return run_distributed(on_ranks, args=(str(tmp_path_factory.mktemp("ranks")),))[0]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_norm_is_that_of_one_process(ranks: dict[str, str], alone: list[float], strategy: str) -> None:
    """Before clipping, which is at 0.1."""
    assert len(alone) == 3
    assert min(alone) > 1
    assert worst_relative(norms(Path(ranks[strategy])), alone) < 1e-4
