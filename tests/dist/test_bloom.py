"""BLOOM under tensor parallelism, by torch's plan and by Megatron's layers, against one process with the same steps.

One job on two gloo ranks and one on four make all that the tests read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lab.errors import ConfigError
from lab.experiment.planning import describe
from lab.models.bloom.network import Bloom
from lab.strategies.tensor_parallel import TensorParallelStrategy
from lab.structures.language_modeling import CausalTargets
from lab.tasks.language_modeling.predict import LanguagePredictor
from tests.dist.plain import STEPS, distance, fit, make_trainer, weights, worst_loss
from tests.dist.test_tensor_parallel import replicas_part
from tests.distributed import run_distributed
from tests.unit.tasks.language_modeling.generators import SETTINGS, make_data, make_generator

SIZES: dict[str, Any] = {"vocab_size": 23, "vocab_multiple": 4, "embed_dim": 16, "num_layers": 2, "num_heads": 4}
SIZES["init_std"] = 0.2
BATCH, LENGTH, FEW = 4, 11, 4
WAYS: dict[str, dict[str, Any]] = {
    "dtensor": {"tensor_parallel": "dtensor"},
    "megatron": {"tensor_parallel": "megatron"},
    "tokens split": {"tensor_parallel": "megatron", "sequence_parallel": True},
}


def make(**options: Any) -> Bloom:
    pl.seed_everything(0, verbose=False)
    return Bloom(**{**SIZES, **options})


class Language(pl.LightningModule):
    """Trains by the mean loss of the labels of a global batch; keeps the gradients of the first step, clipped."""

    def __init__(self, net: Bloom) -> None:
        super().__init__()
        self.net = net
        self.step_terms: dict[str, Tensor] = {}
        self.gradients: dict[str, Any] = {}

    def on_train_start(self) -> None:
        torch.manual_seed(3)  # for dropout: what a strategy draws before does not matter

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        input_ids, mask, labels, total = batch
        counts = tuple((labels >= 0).sum(1).tolist())
        outputs = self.net(input_ids, mask, targets=CausalTargets(labels, counts))
        loss: Tensor = outputs.scores.losses.sum() / total
        self.step_terms = {"loss": loss.detach()}
        return loss * getattr(self.trainer.strategy, "num_data_ranks", self.trainer.world_size)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if not self.gradients:
            found = {name: parameter.grad for name, parameter in self.net.named_parameters()}
            self.gradients = {name: getattr(g, "full_tensor", lambda g=g: g)() for name, g in found.items()}
            self.gradients = {name: g.double().numpy().copy() for name, g in self.gradients.items()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.net.parameters(), lr=1e-2, foreach=True)


class Tokens(IterableDataset):
    """Random tokens, some padded at the right; the same global batches on any number of ranks."""

    def __init__(self, rank: int, ranks: int, steps: int = STEPS) -> None:
        self.rank, self.ranks, self.steps = rank, ranks, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(1)
        for _ in range(self.steps):
            ids = torch.randint(SIZES["vocab_size"], (BATCH, LENGTH + 1), generator=generator)
            lengths = torch.randint(LENGTH // 2, LENGTH + 1, (BATCH, 1), generator=generator)
            mask = torch.arange(LENGTH) < lengths
            labels = ids[:, 1:].masked_fill(~mask, -1)
            total = int(mask.sum())
            yield *(part.chunk(self.ranks)[self.rank] for part in (ids[:, :-1], mask, labels)), total


def train(
    strategy: Any = None, rank: int = 0, world_size: int = 1, copies: int = 1, steps: int = STEPS, **options: Any
) -> tuple[list[float], dict[str, Any], dict[str, Any], Any]:
    """Train the network; ``copies`` ranks see the same samples."""
    task = Language(make(**options))
    if rank:  # what counts are the weights of rank 0
        torch.nn.init.zeros_(task.net.ln_f.weight)
    data = DataLoader(Tokens(rank // copies, world_size // copies, steps), batch_size=None)
    _, losses = fit(task, data, strategy, rank, world_size, clip=0.5, precision="64-true")
    return losses, task.gradients, weights(task), task


def evaluate(net: Any) -> dict[str, Any]:
    """What prediction and evaluation call outside of ``forward``."""
    ids = torch.randint(SIZES["vocab_size"], (2, 5), generator=torch.Generator().manual_seed(2))
    watched: list[Tensor] = []
    net.eval()
    with torch.no_grad():
        outputs = net(ids, targets=CausalTargets(ids, (5, 5)))
        found = {
            "logits": outputs.logits,
            "correct": outputs.scores.correct,
            "encode": net.encode(ids).last_hidden_state,
            "generate": net.generate(ids, 6, end_of_text=3, watch=lambda tokens, logprobs: watched.append(logprobs)),
            "sample": net.generate(ids, 6, sample=True, top_k=9, top_p=0.9, repetition_penalty=1.3, seed=5),
        }
    return {name: value.numpy() for name, value in {**found, "watched": torch.stack(watched)}.items()}


def refusals(rank: int) -> list[str]:
    lines = []
    for options in (
        {"num_heads": 1},
        {"vocab_multiple": 1},
        {"feedforward_dim": 33},
        {"tensor_parallel": "dtensor", "num_heads": 1},
    ):
        trainer = make_trainer(TensorParallelStrategy(), rank, 2, steps=1)
        with pytest.raises(ConfigError) as error:
            trainer.fit(Language(make(**{"tensor_parallel": "megatron", **options})), Tokens(0, 1))
        lines.append(str(error.value))
    return lines


def predict(rank: int, ranks: int, folder: str, **net: Any) -> None:
    """What ``stage=predict`` does with a file of prompts; in float64, or the last of four digits is chance."""
    task = make_generator(("<|endoftext|>",), **net).double()
    strategy = TensorParallelStrategy() if ranks > 1 else None
    groups = {"generation": SETTINGS | {"num_samples": 2, "stream": True}}
    made: Any = LanguagePredictor(f"{folder}/prompts.txt", task, make_data(3), groups)

    def trainer(callbacks: Any, progress: bool = True) -> Any:
        return make_trainer(strategy, rank, ranks, callbacks=callbacks, inference_mode=False)

    with redirect_stdout(io.StringIO()):
        made.run(trainer, Path(folder) / f"{ranks}-{net.get('tensor_parallel')}", rank)


def on_two(rank: int, folder: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("dtensor", "megatron"):
        predict(rank, 2, folder, **WAYS[name])
    for name, options in WAYS.items():
        *result, task = train(TensorParallelStrategy(), rank, 2, copies=2, **options)
        found[name] = result
        found[f"{name} held"] = sum(parameter.to_local().numel() for parameter in task.net.parameters())
        found[f"{name} evaluated"] = evaluate(task.net)
    *found["dropout"], _ = train(TensorParallelStrategy(), rank, 2, 2, FEW, hidden_dropout=0.2, **WAYS["megatron"])
    for name in ("megatron", "tokens split"):
        options = {**WAYS[name], "hidden_dropout": 0.2, "attention_dropout": 0.2}
        *_, task = train(TensorParallelStrategy(), rank, 2, 2, FEW, **options)
        found[f"{name} parted"] = replicas_part(task)
    found["refusals"] = refusals(rank)
    return found


def on_four(rank: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, options in WAYS.items():
        *found[name], _ = train(TensorParallelStrategy(2), rank, 4, copies=2, steps=FEW, **options)
    *found["four"], task = train(TensorParallelStrategy(), rank, 4, copies=4, steps=FEW, **WAYS["megatron"])
    found["four evaluated"] = evaluate(task.net)
    return found


@pytest.fixture(scope="module")
def alone() -> dict[int, tuple[Any, dict[str, Any]]]:
    """What one process makes in 20 steps and in 4."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    for steps in (STEPS, FEW):
        *result, task = train(steps=steps)
        found[steps] = result, evaluate(task.net)
    torch.set_num_threads(threads)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prompts, and what two ranks have made of them."""
    found = tmp_path_factory.mktemp("bloom")
    (found / "prompts.txt").write_text("abc\nh\ndead beef.\na\ncab\n")
    return found


@pytest.fixture(scope="module")
def two(folder: Path) -> list[dict[str, Any]]:
    return run_distributed(on_two, args=(str(folder),))


@pytest.fixture(scope="module")
def four() -> list[dict[str, Any]]:
    return run_distributed(on_four, world_size=4)


def compare(found: dict[str, Any], names: Any, alone: Any) -> None:
    (losses, gradients, state), evaluated = alone
    for name in names:
        own_losses, own_gradients, own_state = found[name]
        # In float64, because AdamW makes steps of the rounding of gradients that are zero, as the keys' bias has.
        assert worst_loss(own_losses, losses) < 1e-11  # measured: 3e-16
        assert distance(own_gradients, gradients) < 1e-11  # measured: 5e-16
        assert distance(own_state, state) < 1e-10  # measured: 9e-13
        for key, value in found.get(f"{name} evaluated", {}).items():
            close = 1e-6 if key == "watched" else 1e-9  # measured: 5e-7, in float32, and 2e-15
            assert value == pytest.approx(evaluated[key], abs=close), key


def test_two_ranks_train_as_one(two: Any, alone: Any) -> None:
    for rank in two:
        compare(rank, WAYS, alone[STEPS])


def test_four_ranks_and_a_grid_of_them_train_as_one(four: Any, alone: Any) -> None:
    for rank in four:
        compare(rank, [*WAYS, "four"], alone[FEW])


def test_dropout_outside_of_tensor_regions_is_that_of_one_process(two: Any) -> None:
    losses, _, state, _ = train(steps=FEW, hidden_dropout=0.2)
    for rank in two:
        assert worst_loss(rank["dropout"][0], losses) < 1e-11
        assert distance(rank["dropout"][2], state) < 1e-10
        assert rank["megatron parted"] == rank["tokens split parted"] == []  # with dropout in the regions too


def test_two_ranks_continue_prompts_as_one_does(two: Any, folder: Path) -> None:
    predict(0, 1, str(folder))
    expected = (folder / "1-None" / "predictions.jsonl").read_text()
    assert len(expected.splitlines()) == 10
    for name in ("dtensor", "megatron"):
        assert (folder / f"2-{name}" / "predictions.jsonl").read_text() == expected


def test_what_cannot_be_shared_is_said_in_one_line(two: Any) -> None:
    heads, rows, width, heads_of_dtensor = two[1]["refusals"]
    start = "strategy.tensor_parallel_size=2 does not divide "
    assert heads == heads_of_dtensor == f"{start}1, the number of heads"
    assert rows == f"{start}23, the rows of the vocabulary (model.net.vocab_multiple=2 adds rows)"
    assert width == f"{start}33, a side of h.0.mlp.dense_h_to_4h.weight"
    with pytest.raises(ConfigError, match=r"^sequence_parallel=true needs tensor_parallel=megatron$"):
        make(tensor_parallel="dtensor", sequence_parallel=True)


def test_each_rank_holds_half_of_what_is_split(two: Any) -> None:
    whole = make()
    of_all = sum(parameter.numel() for name, parameter in whole.named_parameters() if is_replicated(name))
    expected = (sum(parameter.numel() for parameter in whole.parameters()) + of_all) / 2
    assert [rank[f"{name} held"] for rank in two for name in WAYS] == [expected] * 2 * len(WAYS)
    config: Any = {
        "strategy": {"name": "tensor_parallel"},
        "trainer": {"precision": "32"},
        "optimizer": {"name": "adamw", "weight_decay": 0.0},
        "callbacks": {"ema": None},
    }
    for options in WAYS.values():  # as the planner counts them
        task: Any = SimpleNamespace(net=make(**options))
        parts = describe(config, task, training=False).weights
        assert sum(part.numel / (2 if part.split else 1) for part in parts) == expected


def is_replicated(name: str) -> bool:
    """Norms, and the biases that are added behind a sum over ranks."""
    return "layernorm" in name or name.startswith("ln_f") or name.endswith(("dense.bias", "4h_to_h.bias"))
