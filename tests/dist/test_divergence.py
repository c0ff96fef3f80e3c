"""A loss or gradient that is not finite stops or skips a step on all ranks alike, under every strategy."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from lab.checkpoint.format import CheckpointReader
from lab.loggers.metrics_file import read_metrics
from lab.models.gru4rec.network import GRU4Rec
from lab.training.row_adagrad import Adagrad
from tests.dist.harness import fit, losses, weights, worst_relative
from tests.dist.poison import NAN, TERM, poisoned
from tests.distributed import run_distributed
from tests.runs import record

ZERO = ["deepspeed_zero2", "deepspeed_zero3"] if importlib.util.find_spec("deepspeed") else []
STRATEGIES = ["ddp", "fsdp", "tensor_parallel", *ZERO]
WORDS = (
    "optimizer=sgd",
    "optimizer.lr=0.01",
    "trainer.max_steps=6",
    "trainer.val_every_n_steps=6",
    "trainer.checkpoint_every_n_steps=1",
    "data.num_val=2",
    "data.num_test=2",
    "data.num_train=32",
    "trainer.accumulate_grad_batches=2",
    "scheduler=cosine",
    "scheduler.warmup_steps=1",
    "callbacks=ema",
    "callbacks.ema.decay=0.9",
)
STEPS = {2: "loss", 5: "gradient"}
TERMS = {"loss": TERM, "gradient": "the gradient's norm"}
STOPPED_BY = {"fsdp": ["gradient"], "deepspeed_zero2": ["gradient"], "single": ["loss", "gradient"]}
"""What stops a run of a strategy; the loss where nothing is said."""
CLIP = "trainer.gradient_clip_val=0.1"
SKIP = (*WORDS, CLIP, "trainer.on_nonfinite=skip")


def stop_and_skip(rank: int, folder: str, strategy: str, world_size: int) -> None:
    """Fit one run that skips both steps and others that stop at one of them."""
    bad = min(1, world_size - 1)
    # The partners of tensor parallelism share samples: what is wrong with them is wrong on each of them.
    ranks = range(world_size) if strategy == "tensor_parallel" else [bad]
    words = [f"strategy={strategy}", "trainer.devices=2"] if strategy == "dp" else [f"strategy={strategy}"]
    words += ["strategy.persistence_threshold=0"] if "zero" in strategy else []
    at = rank if rank in ranks else bad
    with poisoned(STEPS, at, micro_batch=1):
        fit((*SKIP, *words), Path(folder) / "skip", rank, world_size)
    for kind in STOPPED_BY.get(strategy, ["loss"]):
        with poisoned({2: kind}, at, micro_batch=0):
            fit((*WORDS, *words), Path(folder) / kind, rank, world_size, code=1)


def only(folder: Path) -> Path:
    (run,) = folder.iterdir()
    return run


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    stop_and_skip(0, str(folder), "single", 1)
    return folder


@pytest.fixture(scope="module", params=STRATEGIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp(request.param)
    run_distributed(stop_and_skip, 2, (str(folder), request.param, 2))
    return folder


def check_skipped(run: Path) -> None:
    rows = read_metrics(run / "metrics.csv")
    assert {row["step"]: row["train/skipped_steps"] for row in rows if row["train/skipped_steps"]} == {2: 1, 5: 2}
    assert record(run)["skipped_steps"] == 2
    assert record(run)["state"] == "finished"


def check_stopped(folder: Path) -> None:
    kinds = [kind for kind in TERMS if (folder / kind).exists()]
    assert kinds
    for kind in kinds:
        run = only(folder / kind)
        assert record(run)["state"] == "diverged"
        assert record(run)["exit_code"] == 1
        assert record(run)["diverged"] == [{"step": 2, "term": TERMS[kind]}]
        assert all(tensor.isfinite().all() for tensor in weights(run).values())
        assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["last.ckpt"]


def test_skipped_steps_are_counted(folder: Path) -> None:
    check_skipped(only(folder / "skip"))


def test_weights_after_skipped_steps_are_those_of_one_process(folder: Path, alone: Path) -> None:
    there, here = only(folder / "skip"), only(alone / "skip")
    good = [[loss for step, loss in enumerate(losses(run), 1) if step not in STEPS] for run in (there, here)]
    assert worst_relative(*good) < 1e-5
    for name in ("last.ckpt", "best.ckpt"):  # the average is in the second
        torch.testing.assert_close(weights(there, name), weights(here, name), rtol=0, atol=1e-5)
    rates = [[row["train/lr"] for row in read_metrics(run / "metrics.csv") if row["train/lr"]] for run in (there, here)]
    assert rates[0] == pytest.approx(rates[1])


def test_a_run_stops_and_keeps_finite_checkpoints(folder: Path) -> None:
    check_stopped(folder)


def test_one_process(alone: Path) -> None:
    check_skipped(only(alone / "skip"))
    check_stopped(alone)


def test_dp(alone: Path, tmp_path: Path) -> None:
    stop_and_skip(0, str(tmp_path), "dp", 1)
    check_skipped(only(tmp_path / "skip"))
    check_stopped(tmp_path)
    torch.testing.assert_close(weights(only(tmp_path / "skip")), weights(only(alone / "skip")), rtol=0, atol=1e-5)


def test_a_run_that_skips_resumes_to_the_same_bits(alone: Path, tmp_path: Path) -> None:
    whole = only(alone / "skip")
    with poisoned({**STEPS, 6: "loss"}, 0, micro_batch=1):  # the checkpoint of 5 knows that 5 was skipped
        first = fit((*SKIP, "strategy=single", "trainer.max_skips=2"), tmp_path, code=1)
    assert record(first)["diverged"] == [{"step": 6, "term": TERM}]
    torch.testing.assert_close(weights(first), weights(first, "previous.ckpt"), rtol=0, atol=0)  # before and after 5
    with poisoned(STEPS, 0, micro_batch=1):
        run = fit((*SKIP, "strategy=single"), tmp_path)
    assert record(run)["resumed_at"] == [5]
    check_skipped(run)
    for name in ("last.ckpt", "best.ckpt"):
        torch.testing.assert_close(weights(run, name), weights(whole, name), rtol=0, atol=0)
    assert losses(run) == pytest.approx(losses(whole), abs=0, nan_ok=True)


def validate_badly(rank: int, folder: str) -> None:
    """The second validation of a run is bad on one rank only."""
    words = ("optimizer.lr=1e-3", "trainer.max_steps=4", "trainer.val_every_n_steps=2", "strategy=ddp")
    with poisoned({4: "validation"}, rank=1):
        fit((*words, "data.num_train=32"), Path(folder), rank, 2, code=1)


def test_outputs_that_are_not_finite_stop_all_ranks_after_the_validation(tmp_path: Path) -> None:
    run_distributed(validate_badly, 2, (str(tmp_path),))
    run = only(tmp_path)
    assert record(run)["state"] == "diverged"
    assert record(run)["diverged"] == [{"step": 4, "term": "an output of the network for the validation set"}]
    assert {name: CheckpointReader(run / "checkpoints" / name).step for name in ("best.ckpt", "last.ckpt")} == {
        "best.ckpt": 2,
        "last.ckpt": 2,
    }


GRU4REC = (
    "trainer=cpu",
    "logger=csv",
    "model=gru4rec",
    "data=sessions_synthetic",
    "data.num_items=30",
    "data.num_train=60",
    "data.num_val=20",
    "data.num_test=20",
    "data.batch_size=8",
    "eval.ks=[5]",
    "trainer.checkpoint_every_n_steps=1",
    "callbacks.progress=false",
)


def test_states_of_gru4rec_and_its_rows_are_put_back(tmp_path: Path) -> None:
    """Gradients of tables are handed over by rows here; the step before the last is the good one."""
    words = ("trainer.max_steps=4", "trainer.on_nonfinite=skip", "optimizer.momentum=0.3")
    with poisoned({3: "states", 4: "gradient"}):
        run = fit(words, tmp_path, base=GRU4REC)
    last, before = (CheckpointReader(run / "checkpoints" / name) for name in ("last.ckpt", "previous.ckpt"))
    assert (last.step, before.step) == (4, 3)
    assert record(run)["skipped_steps"] == 2
    for reader in (last, before):
        assert all(state.isfinite().all() and state.any() for state in reader.state["network"].values())
    torch.testing.assert_close(last.state["network"], before.state["network"], rtol=0, atol=0)
    assert all(torch.equal(last.read(name), before.read(name)) for name in last.names())
    assert any("/sum" in name for name in last.names("optimizer/"))


def test_weights_that_a_step_has_made_infinite_are_not_kept(tmp_path: Path) -> None:
    """Loss and gradients are finite; what the optimizer makes of a weight at the second step is not."""
    step, calls = Adagrad.step, []

    def overflow(optimizer: Any, closure: Any) -> Any:
        loss = step(optimizer, closure)
        calls.append(loss)
        if len(calls) == 2:
            optimizer.param_groups[0]["params"][-1].detach().view(-1)[-1] = float("inf")
        return loss

    with mock.patch.object(Adagrad, "step", overflow):
        run = fit(("trainer.max_steps=2",), tmp_path, base=GRU4REC, code=1)
    assert record(run)["diverged"] == [{"step": 2, "term": "net.By.weight"}]
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    assert CheckpointReader(run / "checkpoints" / "last.ckpt").step == 1


def test_scores_that_are_not_finite_stop_a_recommender(tmp_path: Path) -> None:
    """It has no loss of the validation set: lanes are for training only."""
    with mock.patch.object(GRU4Rec, "encode", lambda self, batch, queries: torch.full((len(queries), 100), NAN)):
        run = fit(("trainer.max_steps=2",), tmp_path, base=GRU4REC, code=1)
    assert record(run)["diverged"] == [{"step": 2, "term": "an output of the network for the validation set"}]
