"""What a task says of itself: the terms of its loss, the one way to a loss; which way its metrics are better."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lab.errors import ConfigError
from lab.experiment.planning import _step
from lab.strategies.activations import count_saved
from lab.structures import Term
from lab.tasks.detection.data.shapes import ShapesDataModule
from lab.tasks.detection.task import DetectionTask
from lab.training.outline import outline

SMALL = {"_target_": "detr_tiny", "embed_dim": 16, "num_heads": 2, "feedforward_dim": 16, "num_queries": 2}
CPU = torch.device("cpu")


def data() -> Any:
    return ShapesDataModule(batch_size=4, image_size=32, max_side=20, num_train=8, num_val=4, num_test=1)


def make(kind: type[DetectionTask]) -> Any:
    torch.manual_seed(0)
    return kind(SMALL, data().spec.to_plain(), {}, {}, 1, {"name": "none"})


def attach(task: Any) -> Any:
    """As a Trainer on one rank with one micro-batch a step would."""
    task._trainer = SimpleNamespace(
        accumulate_grad_batches=1, world_size=1, strategy=SimpleNamespace(), state=SimpleNamespace(fn="fit")
    )
    return task


class Consistent(DetectionTask):
    """As a semi-supervised task: two forward passes of one batch, a term of its own beside the network's."""

    def terms(self, batch: Any) -> tuple[Any, Mapping[str, Term]]:
        outputs, terms = super().terms(batch)
        again = self(batch)
        return outputs, {**terms, "agree": Term((outputs.logits - again.logits).abs().sum() + 6, "guessed")}

    def totals(self, batch: Any) -> Mapping[str, float]:
        return {**super().totals(batch), "guessed": 3.0}


def test_training_and_validation_take_the_terms_of_the_task() -> None:
    plain, task, batch = attach(make(DetectionTask)).eval(), attach(make(Consistent)).eval(), data().first_batch()
    with torch.no_grad():
        losses = [float(item.training_step(batch, 0)) for item in (plain, task)]
    assert losses[1] == pytest.approx(losses[0] + 6 / 3, rel=1e-6)
    assert list(task.step_terms)[-1] == "agree"
    for item in (plain, task):
        item.may_measure = lambda finite: False
        item.on_validation_epoch_start()
        with torch.no_grad():
            assert item.validation_step(batch, 0) is not None
    found = [item.val_loss.compute(item.trainer) for item in (plain, task)]
    assert found == pytest.approx(losses, rel=1e-6)


def test_a_step_is_divided_by_its_own_totals() -> None:
    """Those of the whole optimizer step stand in the batch; the task's own count where there are none."""
    task, batch = attach(make(Consistent)).eval(), data().first_batch()
    with torch.no_grad():
        task.training_step(batch, 0)
        assert float(task.step_terms["agree"]) == pytest.approx(2.0)
        batch.totals = {**task.totals(batch), "guessed": 12.0}
        task.training_step(batch, 0)
    assert float(task.step_terms["agree"]) == pytest.approx(0.5)


def test_the_planner_counts_every_pass_of_the_task() -> None:
    """The matching reads values, so outputs stand for the loss; the second pass is counted before it does."""

    class Twice(DetectionTask):
        def terms(self, batch: Any) -> tuple[Any, Mapping[str, Term]]:
            self(batch)
            return super().terms(batch)

    batch = data().first_batch()
    once, twice = (count_saved(make(kind), _step, batch, CPU, "32").total for kind in (DetectionTask, Twice))
    assert 1.7 < twice / once < 2.1


class Smooth(DetectionTask):
    """Its loss can be computed where there are no values, unless ``change`` says otherwise."""

    change: Any = staticmethod(lambda value: value)

    def terms(self, batch: Any) -> tuple[Any, Mapping[str, Term]]:
        outputs = self(batch)
        return outputs, {"smooth": Term(self.change(outputs.logits.square().sum()), "num_boxes")}


def reads(value: Tensor) -> Tensor:
    return value * value.item()


def breaks(value: Tensor) -> Tensor:
    return value + torch.zeros(2, 3) @ torch.zeros(2, 3)


def test_a_loss_that_can_be_outlined_is() -> None:
    batch = data().first_batch()
    outputs, terms = outline(make(Smooth).to("meta"), batch.to("meta"))
    assert terms is not None
    assert list(terms) == ["smooth"]
    assert outputs.logits.is_meta
    outputs, terms = outline(make(DetectionTask).to("meta"), batch.to("meta"))
    assert terms is None
    assert outputs.logits.is_meta


@pytest.mark.parametrize("where", ["planner", "check"])
def test_only_the_reading_of_values_is_forgiven(where: str) -> None:
    """What is wrong with a loss stops ``check=true`` and the planner, where it was taken for a matching before."""
    batch = data().first_batch()

    def run(change: Any) -> Any:
        kind = type("Changed", (Smooth,), {"change": staticmethod(change)})
        if where == "planner":
            return count_saved(make(kind), _step, batch, CPU, "32").total
        return make(kind).to("meta").dry_run(batch.to("meta"))

    assert run(reads)
    with pytest.raises(RuntimeError, match=r"reduction dim|shapes cannot be multiplied"):
        run(breaks)


def test_a_wrong_normalizer_is_refused_before_the_first_step() -> None:
    class Wrong(Smooth):
        def terms(self, batch: Any) -> tuple[Any, Mapping[str, Term]]:
            outputs, terms = super().terms(batch)
            return outputs, {"smooth": Term(terms["smooth"].sum, "num_boxs")}

    with pytest.raises(ConfigError, match="term 'smooth' names the normaliser 'num_boxs'"):
        make(Wrong).to("meta").dry_run(data().first_batch().to("meta"))
    with pytest.raises(ConfigError, match="it returns num_boxes, class_weight"):
        attach(make(Wrong)).training_step(data().first_batch(), 0)


def test_a_task_says_which_way_its_metrics_are_better() -> None:
    task = make(DetectionTask)
    assert [task.better(name) for name in ("val/map", "map_50", "val/loss", "loss")] == ["max", "max", "min", "min"]
    task.monitor, task.monitor_mode = "val/rmse", "min"
    task.directions = {**task.directions, "r2": "max"}
    names = ("val/rmse", "test/rmse", "test/mae", "val/loss", "test/r2", "test/map_classes_measured")
    assert [task.better(name) for name in names] == ["min", "min", "min", "min", "max", "max"]
    task.monitor, task.monitor_mode = "val/r2", "max"
    assert (task.better("test/r2"), task.better("val/loss")) == ("max", "min")
