"""The stream of training batches and the evaluation loaders, with and without workers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lab.data.datamodule import LoadPlan
from lab.data.loader import TrainStream
from lab.data.sampler import TrainBatches
from lab.data.scenes.shapes import ShapesDataset
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.shapes import ShapesDataModule, ShapesDetection


def module(plan: LoadPlan, **options: Any) -> ShapesDataModule:
    data = ShapesDataModule(batch_size=4, num_train=20, num_val=6, num_test=6, image_size=32, max_side=20, **options)
    data.plan = plan
    return data


def count_boxes(batch: Any) -> dict[str, float]:
    return {"num_boxes": float(sum(batch.targets.counts))}


def test_totals_are_those_of_the_whole_optimizer_step() -> None:
    batches = list(module(LoadPlan(max_steps=7, accumulate=2, totals=count_boxes)).train_dataloader())
    assert len(batches) == 14
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        expected = {"num_boxes": float(len(first.targets.boxes) + len(second.targets.boxes))}
        assert first.totals == second.totals == expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumed_stream_is_the_rest_of_the_whole_one(num_workers: int) -> None:
    whole = list(module(LoadPlan(max_steps=8)).train_dataloader())
    state = torch.get_rng_state()
    rest = list(module(LoadPlan(max_steps=8, start_step=3), num_workers=num_workers).train_dataloader())
    assert torch.equal(torch.get_rng_state(), state)  # loading draws nothing from the training's random numbers
    assert len(rest) == 5
    for one, other in zip(whole[3:], rest, strict=True):
        assert torch.equal(one.image_ids, other.image_ids)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets.boxes, other.targets.boxes)


@pytest.mark.parametrize("start", [0, 3])
def test_overfitting_repeats_the_first_batches_also_after_a_resume(start: int) -> None:
    first = list(module(LoadPlan(max_steps=2)).train_dataloader())
    plan = LoadPlan(max_steps=7, overfit_batches=2, start_step=start)
    repeated = list(module(plan).train_dataloader())
    assert len(repeated) == 7 - start
    for step, batch in enumerate(repeated, start):
        assert torch.equal(batch.images, first[step % 2].images)


@pytest.mark.parametrize(("limit", "steps"), [(None, 5), (0.5, 2), (0.01, 1), (3, 3), (99, 5)])
def test_limit_of_training(limit: float | None, steps: int) -> None:
    assert module(LoadPlan(limit_train=limit)).steps_per_epoch() == steps


@pytest.mark.parametrize(("limit", "rounds"), [(None, 2), (0.5, 1), (1, 1), (99, 2)])
def test_limit_of_evaluation(limit: float | None, rounds: int) -> None:
    batches = list(module(LoadPlan(limit_eval=limit)).val_dataloader())
    assert len(batches) == rounds
    assert all(batch.valid.all() for batch in batches)


def test_stream_ends_at_the_last_step() -> None:
    data = ShapesDetection(ShapesDataset(split="train", num_samples=8, image_size=32, max_side=20))
    stream = TrainStream(data, TrainBatches(8, 4, 0, 3, start_step=3), collate_detection, None, 0, False)
    assert (len(stream), list(stream)) == (0, [])
