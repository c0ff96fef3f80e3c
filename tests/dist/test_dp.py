"""Threads in one process train as one device does; what torch's DataParallel does to buffers is done here too."""

from __future__ import annotations

import copy
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lab.errors import ConfigError
from lab.strategies import dp
from lab.strategies.dp import DataParallelStrategy, split
from lab.structures import DetectionBatch, DetectionSample, DetectionTruth, Movable
from lab.tasks.detection.data.collate import collate_detection
from tests.dist.harness import fit, losses, weights, worst_relative

# Some of DETR's biases have no gradient but rounding errors, which Adam's usual epsilon turns into whole steps; clipped
# gradients are so small that this one does too: these cases are computed in float64 (measured: 2.3e-16).
ADAMW = ("optimizer=adamw", "optimizer.eps=1e-5")
CASES = {
    "adamw": (*ADAMW, "trainer.gradient_clip_val=null"),
    "sgd": ("optimizer=sgd", "optimizer.lr=0.01", "trainer.gradient_clip_val=0.1"),
    "adamw-accumulated": (
        "optimizer=adamw",
        "optimizer.eps=1e-5",
        "trainer.accumulate_grad_batches=2",
        "trainer.gradient_clip_val=0.1",
        "trainer.precision=64",
    ),
    "sgd-accumulated": ("optimizer=sgd", "optimizer.lr=0.01", "trainer.accumulate_grad_batches=2"),
    "softmax": (
        "optimizer=adamw",
        "optimizer.eps=1e-5",
        "model.net.classification=softmax",
        "model.net.anchors=learned",
    ),
    "averaged": (
        "optimizer=adamw",
        "optimizer.eps=1e-5",
        "callbacks=ema",
        "callbacks.ema.decay=0.9",
        "trainer.val_every_n_steps=7",
        "trainer.precision=64",
    ),
}
ON_THREE = ("strategy=dp", "trainer.devices=3")  # 8 samples in chunks of 3, 3 and 2; of 4 in chunks of 2 and 2


def worst_weight(run: Path, other: Path, name: str = "last.ckpt") -> float:
    these, those = weights(run, name), weights(other, name)
    assert these.keys() == those.keys()
    return max((these[key] - those[key]).abs().max().item() for key in those if those[key].is_floating_point())


@pytest.mark.parametrize("case", CASES)
def test_losses_and_weights_are_those_of_one_device(case: str, tmp_path: Path) -> None:
    alone = fit((*CASES[case], "strategy=single"), tmp_path / "alone")
    run = fit((*CASES[case], *ON_THREE), tmp_path / "dp")
    assert worst_relative(losses(run), losses(alone)) < 1e-5  # measured: 1.2e-7
    assert worst_weight(run, alone) < 1e-5  # measured: 2.3e-7
    assert worst_weight(run, alone, "best.ckpt") < 1e-5


def drop_a_gradient(strategy: DataParallelStrategy, module: nn.Module, replica: nn.Module) -> None:
    for parameter in replica.parameters():
        parameter.grad = None


def own_totals(batch: DetectionBatch, parts: int) -> list[Any]:
    return [replace(chunk, totals=None) for chunk in split(batch, parts)]


def stale(strategy: DataParallelStrategy) -> None:
    for replica in strategy.replicas[1:]:
        replica.step_terms = {}  # type: ignore[assignment]


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "the gradient of a replica is dropped": (DataParallelStrategy, "add_gradients", drop_a_gradient),
    "each chunk divides by its own normalisers": (dp, "split", own_totals),
    "replicas keep their first parameters": (DataParallelStrategy, "_update_replicas", stale),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_comparison_sees(mutant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*CASES["sgd"], "trainer.gradient_clip_val=null", "trainer.max_steps=5")
    alone = fit((*words, "strategy=single"), tmp_path / "alone")
    monkeypatch.setattr(*MUTANTS[mutant])
    run = fit((*words, *ON_THREE), tmp_path / "dp")
    assert worst_relative(losses(run), losses(alone)) > 1e-3  # measured: from 0.18


@dataclass
class Rows(Movable):
    """Samples of a toy problem."""

    x: Tensor
    y: Tensor

    @property
    def num_samples(self) -> int:
        return len(self.x)

    def rows(self, chosen: slice) -> Rows:
        return Rows(self.x[chosen], self.y[chosen])


class Toy(pl.LightningModule):
    """A net with batch statistics and a buffer; a loss that adds up over chunks."""

    def __init__(self, watch: Callable[[Rows], None] = lambda chunk: None, norm: bool = True) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4) if norm else nn.Identity(), nn.Linear(4, 1))
        self.register_buffer("seen", torch.zeros(()))
        self.watch = watch
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.linspace(-1, 1 + number, parameter.numel()).view_as(parameter))

    def training_step(self, batch: Rows, batch_idx: int) -> Tensor:
        self.watch(batch)
        self.seen += batch.num_samples
        return (self.net(batch.x) - batch.y).square().sum() / 6

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3, momentum=0.9)  # at 0.05 weights grow to thousands


def toy_batches(sizes: tuple[int, ...]) -> list[Rows]:
    generator = torch.Generator().manual_seed(0)
    return [Rows(torch.randn(n, 3, generator=generator), torch.randn(n, 1, generator=generator)) for n in sizes]


def train(toy: Toy, sizes: tuple[int, ...], devices: int = 2, precision: Any = "32-true") -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        strategy=DataParallelStrategy("cpu", devices),
        precision=precision,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(toy, DataLoader(toy_batches(sizes), batch_size=None))


def test_batch_statistics_are_those_of_chunks_and_the_buffers_those_of_the_first() -> None:
    """By hand: a copy for each chunk, gradients added up, one step; the second copy is thrown away."""
    sizes = (6, 5, 6)
    toy, expected = Toy(), Toy()
    train(toy, sizes)
    optimizer = expected.configure_optimizers()
    for batch in toy_batches(sizes):
        other = copy.deepcopy(expected)
        optimizer.zero_grad()
        other.zero_grad()
        (
            expected.training_step(batch.rows(slice(0, 3)), 0) + other.training_step(batch.rows(slice(3, 6)), 0)
        ).backward()
        for own, theirs in zip(expected.parameters(), other.parameters(), strict=True):
            own.grad += theirs.grad
        optimizer.step()
    for name, value in expected.state_dict().items():
        assert (toy.state_dict()[name] - value).abs().max() < 1e-6, name  # measured: 2.4e-7
    assert toy.seen == 9  # the first half of each batch


def test_fewer_samples_than_devices_take_fewer_replicas() -> None:
    chunks: list[tuple[str, int]] = []

    def watch(chunk: Rows) -> None:
        chunks.append((threading.current_thread().name, chunk.num_samples))

    train(Toy(watch, norm=False), (7, 3, 6), devices=4)
    assert sorted(size for _, size in chunks) == sorted([2, 2, 2, 1, 1, 1, 1, 2, 2, 2])
    assert all(name.startswith("replica") for name, _ in chunks)


def sample(number: int) -> DetectionSample:
    """An image with as many boxes as its number says, with the annotations of one more."""
    truth = DetectionTruth(
        torch.full((number + 1, 4), float(number)),
        torch.full((number + 1,), number),
        torch.zeros(number + 1, dtype=torch.bool),
        torch.ones(number + 1),
        (number + 1,),
    )
    boxes, labels = torch.full((number, 4), float(number)), torch.full((number,), number)
    image = torch.full((3, 8 + number, 9), number, dtype=torch.uint8)
    return DetectionSample(image, boxes, labels, number, (20, 30), truth)


def test_a_batch_is_cut_with_its_packed_targets() -> None:
    batch = replace(collate_detection([sample(index) for index in range(5)]), totals={"num_boxes": 99.0})
    chunks = split(batch, 2)
    assert [chunk.targets.counts for chunk in chunks] == [(0, 1, 2), (3, 4)]
    assert [len(chunk.targets.boxes) for chunk in chunks] == [3, 7]
    assert [chunk.targets.labels.tolist() for chunk in chunks] == [[1, 2, 2], [3, 3, 3, 4, 4, 4, 4]]
    assert [chunk.truth.counts for chunk in chunks] == [(1, 2, 3), (4, 5)]
    assert [chunk.truth.labels.tolist() for chunk in chunks] == [[0, 1, 1, 2, 2, 2], [3, 3, 3, 3, 4, 4, 4, 4, 4]]
    assert [chunk.image_ids.tolist() for chunk in chunks] == [[0, 1, 2], [3, 4]]
    assert torch.equal(torch.cat([chunk.padding_mask for chunk in chunks]), batch.padding_mask)
    assert torch.equal(torch.cat([chunk.images for chunk in chunks]), batch.images)
    assert torch.equal(torch.cat([chunk.targets.sizes for chunk in chunks]), batch.targets.sizes)
    assert [chunk.totals for chunk in chunks] == [batch.totals] * 2


def test_a_batch_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="a batch of type list cannot be divided"):
        split([1, 2], 2)


def test_threads_have_one_torch_thread_and_the_autocast_of_their_caller() -> None:
    states = []

    def watch(chunk: Rows) -> None:
        autocast = (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"))
        states.append((torch.get_num_threads(), torch.is_grad_enabled(), *autocast))

    train(Toy(watch), (6, 6), precision="bf16-mixed")
    assert states == [(1, True, True, torch.bfloat16)] * 4


@contextmanager
def raised() -> Iterator[list[str]]:
    lines: list[str] = []
    try:
        yield lines
    except ZeroDivisionError as error:
        lines += traceback.format_exception(error)


def test_an_error_in_a_thread_keeps_its_traceback() -> None:
    def break_down(chunk: Rows) -> None:
        if chunk.num_samples == 2:  # the second chunk of 5 samples
            1 / 0  # noqa: B018

    with raised() as lines:
        train(Toy(break_down), (6, 5))
    assert "break_down" in "".join(lines)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("replica")]
