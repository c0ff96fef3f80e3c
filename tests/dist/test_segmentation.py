"""Segmenters train and are measured alike on one rank and on two, whatever the ranks hold of the network."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from lab.data.datamodule import LoadPlan
from lab.loggers.metrics_file import read_metrics
from lab.strategies.build import make_strategy
from lab.strategies.collectives import sum_over_ranks
from lab.tasks.segmentation.task import SegmentationTask, Segmented
from tests.dist import harness
from tests.dist.plain import fit, make_trainer, worst_loss
from tests.dist.segmenters import ADAMW, MASKFORMER, NETS, SGD, STEPS, Scenes, make_task
from tests.dist.test_deepspeed import gathered
from tests.distributed import run_distributed

SETTINGS: dict[str, dict[str, Any]] = {
    "ddp": {},
    "fsdp": {},
    # Else ZeRO-3 would keep all of a tiny network whole.
    **({"deepspeed_zero3": {"persistence_threshold": 0}} if importlib.util.find_spec("deepspeed") else {}),
}
PRECISION = {"ddp": "64-true", "fsdp": "64-true", "deepspeed_zero3": "32-true"}
# In float32 a ReLU's input may be so near to 0 that rounding decides: one process whose first weights are changed by
# 6e-8 has then parted from itself by 2.7e-5 in its weights, and by 4e-5 in the next loss.
TOLERANCE = {"64-true": 1e-13, "32-true": 1e-4}
"""Relative for losses, absolute for weights; the worst measured are 5.1e-16 and 2.3e-16, 1.2e-7 and 1.2e-7."""
LEARNING_STEPS = 80
LENGTHS = (1, 5, 9)
"""Images to evaluate, two at a time: the second of two ranks has one that fills up in the last round of each."""
MEASURED = [("maskformer", 9), *((name, length) for name in ("maskformer-encoder", "per-pixel") for length in LENGTHS)]

CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "maskformer sgd 1": ("maskformer", SGD, 1),
    "maskformer adamw 2": ("maskformer", ADAMW, 2),
    "maskformer-encoder sgd 2": ("maskformer-encoder", SGD, 2),
    "per-pixel sgd 1": ("per-pixel", SGD, 1),
    "per-pixel adamw 2": ("per-pixel", ADAMW, 2),
}
"""Network, optimizer and micro-batches of a step."""


def made(strategy: str) -> Any:
    return None if strategy == "single" else make_strategy({"name": strategy, **SETTINGS[strategy]})


class Weights(pl.Callback):
    """Gathers the weights before the strategy ends, and notes the numbers of segments of each micro-batch."""

    def __init__(self) -> None:
        self.weights: dict[str, Any] = {}
        self.counts: list[tuple[int, ...]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.counts.append(batch.targets.counts)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        for name, parameter in pl_module.named_parameters():
            with gathered(parameter):
                whole = getattr(parameter, "full_tensor", lambda p=parameter: p)()
                self.weights[name] = whole.detach().double().numpy().copy()


def train(
    case: str, strategy: str, rank: int = 0, ranks: int = 1, precision: str = "32-true", mutant: bool = False
) -> dict[str, Any]:
    """Return the loss of each step, the last weights and the numbers of segments of this rank's micro-batches.

    The mutant divides by each rank's own normalisers and averages over ranks.
    """
    name, optimizer, parts = CASES[case]
    accumulate = parts if ranks > 1 else 1
    task = make_task(name, optimizer)
    data = Scenes(rank, ranks)
    data.plan = LoadPlan(STEPS, 0, accumulate, rank, ranks, task.totals)
    if ranks > 1:
        data.plan = replace(data.plan, reduce=_own if mutant else sum_over_ranks)
    watch = Weights()
    options: dict[str, Any] = {"accumulate": accumulate, "steps": STEPS, "precision": precision, "clip": 1.0}
    _, losses = fit(task, data, made(strategy), rank, ranks, callbacks=[watch], **options)
    return {"losses": losses, "weights": watch.weights, "counts": watch.counts}


def _own(values: Any) -> dict[str, float]:
    return {name: 2 * value for name, value in values.items()}


def worst_weight(these: dict[str, Any], those: dict[str, Any]) -> float:
    assert these.keys() == those.keys()
    return max(float(abs(these[name] - value).max()) for name, value in those.items())


@dataclass
class Found:
    """What an evaluation says, and the images that this rank has predicted."""

    metrics: dict[str, float] = field(default_factory=dict)
    classes: list[dict[str, Any]] = field(default_factory=list)
    maps: list[tuple[Any, ...]] = field(default_factory=list)


def learn(name: str) -> dict[str, Any]:
    """Return weights with which something is found."""
    optimizer = {**ADAMW, "lr": 5e-3, "eps": 1e-8}
    task, data, watch = make_task(name, optimizer), Scenes(0, 1, learning=True), Weights()
    data.plan = LoadPlan(LEARNING_STEPS, 0, 1, 0, 1, task.totals)
    fit(task, data, callbacks=[watch], steps=LEARNING_STEPS, clip=1.0)
    return watch.weights


def evaluate(name: str, length: int, weights: dict[str, Any], strategy: str, rank: int = 0, ranks: int = 1) -> Found:
    """Validate and test, and predict the most images.

    A batch of a rank has two images whatever the number of ranks, so that each image stands in the same batch.
    """
    found = Found()
    for stage in ("validate", "test", *(["predict"] if length == LENGTHS[-1] else [])):
        task, data = make_task(name), Scenes(rank, ranks, 2 * ranks, length)  # ZeRO-3 leaves nothing of a task
        task.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=False)
        trainer = make_trainer(made(strategy), rank, ranks, inference_mode=False)
        if stage == "predict":
            for ids, images in trainer.predict(task, data.test_dataloader()) or []:
                found.maps += [(int(number), *digest(image)) for number, image in zip(ids, images, strict=True)]
        else:
            getattr(trainer, stage)(task, data, verbose=False)
            found.metrics |= task.results
            found.classes = task.tables.get("classes", [])
    return found


def digest(image: Segmented) -> tuple[Any, ...]:
    """Return what was found in an image as plain values."""
    if image.panoptic is None or image.instances is None:
        return (image.semantic.numpy().tobytes(),)
    masks = image.instances.masks.numpy().tobytes()
    return image.semantic.numpy().tobytes(), image.panoptic.segments.numpy().tobytes(), masks


FITS = (
    *(word for word in harness.SMALL if not word.startswith(("data.image_size", "data.max_side", "trainer.max_steps"))),
    "data.image_size=48",
    "data.max_side=24",
    "trainer.max_steps=4",
)
COMMAND = (
    "model=maskformer_tiny",
    "model.asks.segments=panoptic",
    "eval.panoptic=true",
    "eval.instances=true",
    "model.net.num_queries=5",
    "model.net.embed_dim=16",
    "model.net.mask_dim=16",
    "model.net.num_heads=2",
    "model.net.num_decoder_layers=2",
    "model.net.feedforward_dim=16",
    "+model.net.object_threshold=0.3",
    "+model.net.backbone_options.widths=[8,8,16,16]",
    "optimizer=sgd",
    "optimizer.lr=0.01",
    "trainer.precision=64",
    "trainer.val_every_n_steps=4",
)
PARTS = ("strategy=ddp", "trainer.accumulate_grad_batches=2")


def on_two(rank: int, weights: dict[str, Any], folder: str) -> dict[str, Any]:
    """Train and evaluate everything under every strategy."""
    found: dict[str, Any] = {"command": harness.fit((*COMMAND, *PARTS), Path(folder), rank, 2, FITS)}
    for strategy in SETTINGS:
        for case in CASES:
            found[f"{strategy} {case}"] = train(case, strategy, rank, 2, PRECISION[strategy])
        for name, length in MEASURED:
            found[f"{strategy} {name} {length}"] = evaluate(name, length, weights[name], strategy, rank, 2)
    for case in CASES:
        found[f"mutant {case}"] = train(case, "ddp", rank, 2, "64-true", mutant=True)
    SegmentationTask.evaluate = counts_fillers  # type: ignore[method-assign]
    found["mutant fillers"] = evaluate("per-pixel", 9, weights["per-pixel"], "ddp", rank, 2)
    SegmentationTask.evaluate = EVALUATE  # type: ignore[method-assign]
    return found


EVALUATE = SegmentationTask.evaluate


def counts_fillers(self: SegmentationTask, split: str, outputs: Any, batch: Any) -> None:
    """A mutant."""
    EVALUATE(self, split, outputs, replace(batch, valid=torch.ones_like(batch.valid)))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As on the ranks; two threads beside other processes take many times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """The trainings of one process."""
    precisions = sorted({PRECISION[strategy] for strategy in SETTINGS})
    return {
        f"{precision} {case}": train(case, "single", precision=precision) for precision in precisions for case in CASES
    }


@pytest.fixture(scope="module")
def learnt() -> dict[str, dict[str, Any]]:
    """Weights of each network to evaluate."""
    return {name: learn(name) for name in NETS}


@pytest.fixture(scope="module")
def measured(learnt: dict[str, Any]) -> dict[tuple[str, int], Found]:
    """The evaluations of one process."""
    return {(name, length): evaluate(name, length, learnt[name], "single") for name, length in MEASURED}


@pytest.fixture(scope="module")
def ranks(learnt: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks finds."""
    return run_distributed(on_two, 2, (learnt, str(tmp_path_factory.mktemp("ranks"))))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("strategy", SETTINGS)
def test_losses_and_weights_are_those_of_one_process(
    alone: dict[str, Any], ranks: list[dict[str, Any]], strategy: str, case: str
) -> None:
    one, tolerance = alone[f"{PRECISION[strategy]} {case}"], TOLERANCE[PRECISION[strategy]]
    assert len(one["losses"]) == STEPS
    for rank in ranks:
        both = rank[f"{strategy} {case}"]
        assert worst_loss(both["losses"], one["losses"]) < tolerance
        assert worst_weight(both["weights"], one["weights"]) < tolerance


def test_shares_are_unlike_and_some_are_empty(ranks: list[dict[str, Any]]) -> None:
    """So that what is compared depends on the normalisers, and on ranks that find no mask to learn from."""
    first, second = (rank["ddp maskformer adamw 2"]["counts"] for rank in ranks)
    assert len(first) == len(second) == 2 * STEPS
    assert sum(sum(a) != sum(b) for a, b in zip(first, second, strict=True)) > STEPS
    assert any(sum(counts) == 0 for counts in (*first, *second))
    assert max(max(counts) for counts in first) > MASKFORMER["num_queries"]


@pytest.mark.parametrize("case", CASES)
def test_normalisers_of_each_rank_are_seen(alone: dict[str, Any], ranks: list[dict[str, Any]], case: str) -> None:
    one, mutant = alone[f"64-true {case}"], ranks[0][f"mutant {case}"]
    assert worst_loss(mutant["losses"], one["losses"]) > 1e-2  # measured: from 2.5e-2
    assert worst_weight(mutant["weights"], one["weights"]) > 1e-3  # measured: from 4.2e-3


@pytest.mark.parametrize(("name", "length"), MEASURED)
@pytest.mark.parametrize("strategy", SETTINGS)
def test_evaluation_is_exact(
    measured: dict[tuple[str, int], Found], ranks: list[dict[str, Any]], strategy: str, name: str, length: int
) -> None:
    one, both = measured[name, length], [rank[f"{strategy} {name} {length}"] for rank in ranks]
    for found in both:
        assert found.metrics == pytest.approx(one.metrics, rel=0, abs=1e-12, nan_ok=True)  # worst 2.3e-16
        assert [plain(row) for row in found.classes] == [pytest.approx(plain(row), abs=1e-12) for row in one.classes]
    assert sorted(both[0].maps + both[1].maps) == sorted(one.maps)


def plain(row: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a row, -1 where nothing defines one."""
    return {key: -1.0 if value is None else value for key, value in row.items() if key != "class"}


def test_something_is_measured(measured: dict[tuple[str, int], Found]) -> None:
    for name in ("maskformer", "maskformer-encoder"):
        found = measured[name, 9]
        for key in ("miou", "pq", "pq_things", "pq_stuff", "map_segm"):
            assert 0.01 < found.metrics[f"test/{key}"] < 1  # measured: from 0.17
        assert len(found.maps) == len(set(found.maps)) == 9


def test_counted_fillers_are_seen(measured: dict[tuple[str, int], Found], ranks: list[dict[str, Any]]) -> None:
    found, one = ranks[0]["mutant fillers"].metrics, measured["per-pixel", 9].metrics
    assert abs(found["test/miou"] - one["test/miou"]) > 1e-6  # measured: 1.1e-3


def test_the_command_on_two_ranks(ranks: list[dict[str, Any]], tmp_path: Path) -> None:
    one, both = harness.fit(COMMAND, tmp_path, base=FITS), ranks[0]["command"]
    losses = harness.losses(one)
    assert len(losses) == 4
    assert harness.worst_relative(harness.losses(both), losses) < 1e-6  # worst 1.2e-7: they are logged in float32
    found = harness.weights(both)
    for key, value in harness.weights(one).items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-13)  # worst 1.4e-17
    these, those = read_metrics(both)[-1], read_metrics(one)[-1]
    names = [key for key in those if key.startswith(("val/", "test/"))]
    assert {"val/loss", "val/miou", "test/miou", "test/pq", "test/map_segm"} <= set(names)
    for key in names:
        assert these[key] == pytest.approx(those[key], abs=1e-12), key
