"""The task with a tiny network: loss, metrics, augmentation in training alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from lab.errors import ConfigError
from lab.structures.detection3d import Detection3dPredictions
from tests.unit.tasks.detection3d.makers import EVAL, make_batch, make_spec, make_task


def test_the_loss_goes_down() -> None:
    task, batch = make_task(), make_batch(3, train=True)
    optimizer = torch.optim.SGD(task.parameters(), lr=0.001)
    losses = []
    for _ in range(5):
        _, terms = task.train().terms(batch)
        loss = terms["loss_box"].sum / task.totals(batch)["boxes"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == sorted(losses, reverse=True)
    assert task.dry_run(batch) == "pictures (3, 2, 3, 32, 64) -> boxes (3, 4, 9)"


def test_the_truth_itself_scores_one() -> None:
    """NDS of perfect boxes of all classes: 1, but for the attribute, which the rule gets wrong for what moves."""
    task, batch = make_task(), make_batch(3)
    assert batch.truth is not None
    counts, most = batch.truth.counts, max(batch.truth.counts)
    boxes, scores, labels = torch.zeros(3, most, 9), torch.zeros(3, most), torch.zeros(3, most, dtype=torch.int64)
    start = 0
    for row, count in enumerate(counts):
        boxes[row, :count] = batch.truth.boxes[start : start + count].float()
        labels[row, :count] = batch.truth.labels[start : start + count]
        scores[row, :count] = 0.5 + 0.01 * torch.arange(count)
        start += count
    metric = task._metric("test")
    metric.update(Detection3dPredictions(boxes, scores, labels), batch.truth, batch)
    values = task.compute_metrics("test")
    assert values["map"] == pytest.approx(1.0)
    assert values["mate"] == pytest.approx(0.0, abs=1e-6)
    assert values["maoe"] == pytest.approx(0.0, abs=1e-6)
    errors = dict.fromkeys(("ate", "ase", "aoe", "ave", "aae"), 0.0)
    row = {"class": "car", "ap": 1.0, **errors, "boxes": 3, "range": 50.0}
    assert task.tables["classes"][0] | {"aae": 0.0} == pytest.approx(row, abs=1e-6)
    assert task.tables["classes"][2]["ave"] is None  # of barriers
    assert task.tables["distances"][1] == pytest.approx(
        {"class": "pedestrian", "ap at 0.5 m": 1.0, "ap at 1 m": 1.0} | {"ap at 2 m": 1.0, "ap at 4 m": 1.0}
    )
    assert task.tables["bands"][0] == {"class": "car", "0 to 20 m": pytest.approx(1.0), "20 to 50 m": None}
    assert task.tables["bands"][2] == {"class": "barrier", "0 to 20 m": None, "20 to 50 m": pytest.approx(1.0)}
    assert task.classes_measured("test") == {"map": 3}


def test_without_truth_nothing_is_defined() -> None:
    task, batch = make_task(), make_batch(2)
    assert batch.truth is not None
    batch = replace(batch, truth=replace(batch.truth, points=torch.zeros_like(batch.truth.points)))
    task.evaluate("val", task(batch), batch)
    assert all(math.isnan(value) for value in task.compute_metrics("val").values())


def test_pictures_are_augmented_in_training_alone() -> None:
    task, batch = make_task(learning={"grid_mask": {"probability": 1.0}, "photometric": {}}), make_batch(2, train=True)
    plain = task.eval().network_input(batch)
    torch.testing.assert_close(plain, make_task().train().network_input(batch), rtol=0, atol=0)
    assert (task.train().network_input(batch) != plain).any()
    part = task.network_input(batch.rows(slice(1, 2)))
    torch.testing.assert_close(part, task.network_input(batch)[1:], rtol=0, atol=0)


def test_pixels_become_bgr_with_the_padding_at_zero() -> None:
    batch = make_batch(1)
    found = make_task().network_input(batch)
    assert not found[..., 30:, :].any()
    assert not found[..., :, 60:].any()
    expected = (batch.images[0, 1, 2, 3, 4].float() - 100) / 50
    torch.testing.assert_close(found[0, 1, 0, 3, 4], expected)


def test_an_unknown_class_of_the_ranges_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"eval.class_ranges.cra: the data has no such class: car, pedestrian"):
        make_task(class_ranges={"cra": 3.0})


def test_the_direction_of_each_metric() -> None:
    task = make_task(make_spec(), monitor="loss")
    assert [task.better(name) for name in ("val/loss", "map", "nds", "mate", "map_05")] == [
        "min",
        "max",
        "max",
        "min",
        "max",
    ]
    assert make_task().better("map_40") == "max"
    assert EVAL["monitor"] == "map"
