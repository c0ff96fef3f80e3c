"""The kinds of problem on text under every strategy on two gloo ranks, against one process with the same batches.

One job makes all runs. Under the strategies a step has two micro-batches on each rank, on one process one batch.
"""

from __future__ import annotations

import gc
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.loggers.metrics_file import read_metrics
from tests.dist.harness import fit, losses, weights, worst_relative
from tests.distributed import run_distributed

BASE = (
    "trainer=cpu",
    "logger=csv",
    "callbacks=default",
    "callbacks.progress=false",
    "callbacks.pictures=0",
    "trainer.max_steps=4",
    "trainer.val_every_n_steps=4",
    "trainer.log_every_n_steps=1",
    "scheduler=constant",
    "optimizer=sgd",
    "optimizer.lr=0.3",
    "data.batch_size=8",
    "data.vocab_size=260",
)
COUNTS = ("data.num_train=64", "data.num_val=3", "data.num_test=2")
NO_DROPOUT = ("model.net.dropout=0", "model.net.encoder_options={attention_dropout: 0}")
BLOOM = (
    "model=bloom_tiny",
    "model.asks.max_length=12",
    "model.net.embed_dim=16",
    "model.net.num_layers=2",
    "model.net.num_heads=2",
    *COUNTS,
)
KINDS = {
    "bloom": BLOOM,
    "bert": (
        "model=bert_tiny",
        "model.net.dropout=0",
        "model.net.attention_dropout=0",
        "model.asks.max_length=24",
        "data.num_documents=60",
    ),
    "classifier": ("model=bert_tiny_classifier", "model.asks.max_length=16", *NO_DROPOUT, *COUNTS),
    "answerer": ("model=bert_tiny_answerer", "model.asks.max_length=64", "data.stride=10", *NO_DROPOUT, *COUNTS),
}
HAS_DEEPSPEED = importlib.util.find_spec("deepspeed") is not None
STRATEGIES = {
    "ddp": ("strategy=ddp",),
    "fsdp": ("strategy=fsdp",),
    **({"deepspeed_zero3": ("strategy=deepspeed_zero3", "strategy.persistence_threshold=0")} if HAS_DEEPSPEED else {}),
}
MEGATRON = ("strategy=tensor_parallel",)
CASES = {(name, kind): (*KINDS[kind], *words) for name, words in STRATEGIES.items() for kind in KINDS} | {
    ("tensor_parallel", "bloom"): (*BLOOM, *MEGATRON),
    ("tensor_parallel", "bert"): (*KINDS["bert"], "strategy=tensor_parallel"),
}
HALF_PRECISION = (*BLOOM, "trainer.precision=bf16-mixed")
# Where a gradient is zero but for rounding, AdamW with its default eps makes a whole step of the rounding.
WHOLE = (
    *BLOOM,
    "optimizer=adamw",
    "optimizer.lr=0.01",
    "optimizer.eps=1e-4",
    "callbacks=ema",
    "callbacks.ema.decay=0.5",
)
HALF = (*WHOLE, "trainer.max_steps=2", "trainer.val_every_n_steps=2")
WHOLE = (*WHOLE, "trainer.val_every_n_steps=2")
SWITCHES = {"single to megatron": ("single", MEGATRON), "megatron to fsdp": ("megatron", ("strategy=fsdp",))}


def on_ranks(rank: int, folder: str) -> dict[Any, str]:
    """Fit every case on two ranks, deepspeed's last: its import makes collections of garbage slow."""
    root, twice = Path(folder), ("trainer.accumulate_grad_batches=2",)
    runs: dict[Any, str] = {}
    runs["megatron"] = str(fit((*HALF, *MEGATRON), root / "half", rank, 2, base=BASE))
    for name, (source, words) in SWITCHES.items():
        begun = root / "single-half" if source == "single" else Path(runs[source])
        runs[name] = str(proceed(begun, root / name.replace(" ", "-"), words, rank, 2))
    runs["bf16"] = str(fit((*HALF_PRECISION, *MEGATRON), root / "bf16", rank, 2, base=BASE))
    for key in sorted(CASES, key=lambda key: "zero3" in key[0]):
        runs[key] = str(fit((*CASES[key], *twice), root / key[0], rank, 2, base=BASE))
        gc.freeze()
    return runs


def proceed(source: Path, copy: Path, words: tuple[str, ...], rank: int, world_size: int) -> Path:
    """Continue a copy of a run with other words."""
    if rank == 0:
        shutil.copytree(source, copy)
    if world_size > 1:
        torch.distributed.barrier()
    words = (f"resume={copy}", f"trainer.devices={world_size}", *WHOLE, *words)
    return fit(words, copy.parent, rank, world_size, base=BASE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("language")


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Path]:
    """The runs of one process."""
    runs = {kind: fit(words, folder / "alone", base=BASE) for kind, words in KINDS.items()}
    runs["bf16"] = fit(HALF_PRECISION, folder / "alone", base=BASE)
    runs["whole"] = fit(WHOLE, folder / "alone", base=BASE)
    shutil.copytree(fit(HALF, folder / "half-alone", base=BASE), folder / "single-half")
    return runs


@pytest.fixture(scope="module")
def ranks(folder: Path, alone: dict[str, Path]) -> dict[Any, Path]:
    """The runs of two ranks."""
    return {key: Path(path) for key, path in run_distributed(on_ranks, args=(str(folder),))[0].items()}


def compare(run: Path, one: Path) -> None:
    """Compare losses, metrics, and both checkpoints' weights (those of best.ckpt may be an average)."""
    assert worst_relative(losses(run), losses(one)) < 1e-5  # measured: 1.9e-7
    these, those = (read_metrics(path / "metrics.csv")[-1] for path in (run, one))
    for key, value in those.items():
        if key.startswith(("val/", "test/")):
            assert these[key] == (None if value is None else pytest.approx(value, rel=1e-5, abs=1e-6)), key
    for name in ("last.ckpt", "best.ckpt"):
        own, other = weights(run, name), weights(one, name)
        assert own.keys() == other.keys()
        worst = max(float((own[key] - other[key]).abs().max()) for key in other)
        assert worst < 1e-5, name  # measured: 1.7e-7


@pytest.mark.parametrize("case", sorted(CASES), ids=" ".join)
def test_losses_metrics_and_weights_are_those_of_one_process(
    ranks: dict[Any, Path], alone: dict[str, Path], case: tuple[str, str]
) -> None:
    compare(ranks[case], alone[case[1]])


@pytest.mark.parametrize("switch", [*SWITCHES, "megatron to single"])
def test_a_tensor_parallel_run_with_an_average_goes_on_elsewhere(
    ranks: dict[Any, Path], alone: dict[str, Path], folder: Path, switch: str
) -> None:
    if switch == "megatron to single":
        run = proceed(ranks["megatron"], folder / "megatron-to-single", ("strategy=single",), 0, 1)
    else:
        run = ranks[switch]
    compare(run, alone["whole"])


def test_bf16_mixed_under_tensor_parallelism_is_within_its_rounding(
    ranks: dict[Any, Path], alone: dict[str, Path]
) -> None:
    assert 0 < worst_relative(losses(ranks["bf16"]), losses(alone["bf16"])) < 1e-3  # measured: 2e-5
