"""What must hold for every strategy: the same losses, weights and metrics as one process, and checkpoints for all.

Two gloo ranks are started once; they run whole configs, and each test looks at what came out.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.loggers.metrics_file import read_metrics
from lab.strategies import collectives
from lab.tasks.detection.task import DetectionTask
from tests.dist.harness import fit, losses, weights, worst_relative
from tests.distributed import run_distributed

SHARDED = ["fsdp", *(["deepspeed_zero3"] if importlib.util.find_spec("deepspeed") else [])]
STRATEGIES = ["ddp", *SHARDED]
ALL_SPLIT = "strategy.persistence_threshold=0"  # else ZeRO-3 would keep all of a tiny network whole

# Where a gradient is zero but for rounding, AdamW with its default eps makes a whole step of the rounding.
ADAMW = ("optimizer=adamw", "optimizer.lr=1e-3", "optimizer.eps=1e-4")
SGD = ("optimizer=sgd", "optimizer.lr=0.01")
CASES = {
    "adamw": (*ADAMW, "trainer.gradient_clip_val=0.1"),
    "sgd": (*SGD, "trainer.gradient_clip_val=0.1"),
    "adamw-accumulated": (*ADAMW, "trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=0.1"),
    "sgd-accumulated": (*SGD, "trainer.accumulate_grad_batches=2"),
    # A weighted cross-entropy divides by the sum of the class weights of the whole optimizer step. With AdamW, one
    # process with one thread parts from itself with two: 6e-5 after 20 steps.
    "softmax-accumulated": (
        *SGD,
        "model.net.classification=softmax",
        "model.net.anchors=learned",
        "trainer.accumulate_grad_batches=2",
    ),
    "averaged": (*ADAMW, "callbacks=ema", "callbacks.ema.decay=0.9", "trainer.max_steps=10"),
    **{
        f"{count}-samples": (*SGD, f"data.num_val={count}", f"data.num_test={count}", "trainer.max_steps=4")
        for count in (1, 9)
    },
}
HALF = (*ADAMW, "trainer.max_steps=10", "trainer.val_every_n_steps=10")
WHOLE = (*ADAMW, "trainer.max_steps=20", "trainer.val_every_n_steps=10")
SWITCHES = [
    (first, second) for first in ["single", *STRATEGIES] for second in ["single", *STRATEGIES] if second != first
] + [(name, name) for name in STRATEGIES]
WEIGHTS_TOLERANCE = 1e-5
"""Absolute; the worst measured under ddp and fsdp is 2.4e-7."""


def words_of(strategy: str) -> tuple[str, ...]:
    return (f"strategy={strategy}", *([ALL_SPLIT] if "zero" in strategy else []))


def on_ranks(rank: int, folder: str) -> dict[str, str]:
    """Fit every case, with every strategy that needs two ranks."""
    root = Path(folder)
    runs = {}
    for strategy in STRATEGIES:
        for case, words in CASES.items():
            runs[f"{strategy} {case}"] = fit((*words, *words_of(strategy)), root / strategy, rank, 2)
        runs[f"{strategy} half"] = fit((*HALF, *words_of(strategy)), root / "half", rank, 2)
    for first, second in SWITCHES:
        if second != "single":
            source = root / "single-half" if first == "single" else runs[f"{first} half"]
            runs[f"{first} {second}"] = proceed(source, root / f"{first}-{second}", second, rank, 2)
    runs |= mutants(root, rank)
    return {name: str(path) for name, path in runs.items()}


def proceed(source: Path, copy: Path, strategy: str, rank: int, world_size: int) -> Path:
    """Continue a copy of a run under another strategy."""
    if rank == 0:
        shutil.copytree(source, copy)
    if world_size > 1:
        torch.distributed.barrier()
    words = (f"resume={copy}", f"trainer.devices={world_size}", *WHOLE, *words_of(strategy))
    return fit(words, copy.parent, rank, world_size)


def mutants(root: Path, rank: int) -> dict[str, Path]:
    """What parity must see: normalisers of this rank alone, a loss that is averaged, the samples of rank 0 twice."""
    runs = {}
    keep, step = collectives.sum_over_ranks, DetectionTask.training_step
    collectives.sum_over_ranks = lambda values, copies=1: dict(values)
    runs["mutant totals"] = fit((*CASES["adamw"], "strategy=ddp"), root / "totals", rank, 2)
    collectives.sum_over_ranks = keep
    DetectionTask.training_step = lambda self, batch, index: step(self, batch, index) / 2  # type: ignore[method-assign]
    runs["mutant averaged"] = fit(
        (*CASES["sgd"], "trainer.gradient_clip_val=null", "strategy=fsdp"), root / "averaged", rank, 2
    )
    DetectionTask.training_step = step  # type: ignore[method-assign]
    return runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("strategies")


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Path]:
    """The runs of one process."""
    runs = {case: fit(words, folder / "single") for case, words in CASES.items()}
    runs["unclipped"] = fit((*CASES["sgd"], "trainer.gradient_clip_val=null"), folder / "single")
    runs["whole"] = fit(WHOLE, folder / "single")
    half = fit(HALF, folder / "half-alone")
    shutil.copytree(half, folder / "single-half")
    return runs


@pytest.fixture(scope="module")
def ranks(folder: Path, alone: dict[str, Path]) -> dict[str, Path]:
    """The runs of two ranks."""
    results = run_distributed(on_ranks, args=(str(folder),))
    return {name: Path(path) for name, path in results[0].items()}


def last_row(run: Path) -> dict[str, Any]:
    rows = read_metrics(run / "metrics.csv")
    return {key: value for key, value in rows[-1].items() if key.startswith(("val/", "test/"))}


def worst_weight(run: Path, other: Path, name: str = "last.ckpt") -> float:
    these, those = weights(run, name), weights(other, name)
    assert these.keys() == those.keys()
    return max((these[key] - those[key]).abs().max().item() for key in those if those[key].is_floating_point())


@pytest.mark.parametrize("case", [case for case in CASES if "samples" not in case])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_losses_and_weights_are_those_of_one_process(
    ranks: dict[str, Path], alone: dict[str, Path], strategy: str, case: str
) -> None:
    run = ranks[f"{strategy} {case}"]
    assert worst_relative(losses(run), losses(alone[case])) < 1e-5  # measured: 1.7e-7
    assert worst_weight(run, alone[case]) < WEIGHTS_TOLERANCE
    assert worst_weight(run, alone[case], "best.ckpt") < WEIGHTS_TOLERANCE


@pytest.mark.parametrize("case", ["adamw", "1-samples", "9-samples"])  # the first evaluates 5
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_evaluation_is_exact(ranks: dict[str, Path], alone: dict[str, Path], strategy: str, case: str) -> None:
    these, those = last_row(ranks[f"{strategy} {case}"]), last_row(alone[case])
    assert these.keys() == those.keys()
    assert {"val/loss", "val/map", "test/map", "test/mar_100"} <= these.keys()
    for key, value in those.items():
        assert these[key] == (None if value is None else pytest.approx(value, rel=1e-5, abs=1e-6)), key


@pytest.mark.parametrize(("first", "second"), SWITCHES, ids=["-".join(pair) for pair in SWITCHES])
def test_a_run_goes_on_under_another_strategy(
    ranks: dict[str, Path], alone: dict[str, Path], folder: Path, first: str, second: str
) -> None:
    run = (
        proceed(ranks[f"{first} half"], folder / f"{first}-single", "single", 0, 1)
        if second == "single"
        else ranks[f"{first} {second}"]
    )
    assert worst_relative(losses(run), losses(alone["whole"])) < 1e-5
    assert worst_weight(run, alone["whole"]) < WEIGHTS_TOLERANCE


def test_mutants_are_seen(ranks: dict[str, Path], alone: dict[str, Path]) -> None:
    assert worst_relative(losses(ranks["mutant totals"]), losses(alone["adamw"])) > 1e-2
    assert worst_relative(losses(ranks["mutant averaged"]), losses(alone["unclipped"])) > 1e-3
