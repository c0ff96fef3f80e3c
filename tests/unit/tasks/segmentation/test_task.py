"""SegmentationTask: what it measures, refuses, remembers and predicts, with a net that reads classes off the image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

import lab
from lab.callbacks.run_state import RunState
from lab.errors import CheckpointError, ConfigError
from lab.ops.images import normalize_images
from lab.registry import allow_package
from lab.structures import SegmentationBatch, SegmentationTargets, Term
from lab.tasks.recommendation.task import RecommendationTask
from lab.tasks.segmentation.data.collate import collate_segmentation
from lab.tasks.segmentation.data.shapes import ShapesDataModule
from lab.tasks.segmentation.task import SegmentationTask
from lab.training.terms import SetLoss, batch_terms
from tests.distributed import run_distributed

allow_package("tests")

TINY = {
    "_target_": "maskformer_tiny",
    "num_queries": 6,
    "embed_dim": 16,
    "mask_dim": 16,
    "num_heads": 2,
    "num_decoder_layers": 2,
    "feedforward_dim": 16,
}
PIXELS = {"_target_": "tests.unit.tasks.segmentation.test_task.Brightness"}
ALONE = SimpleNamespace(world_size=1)


class Brightness(nn.Module):
    """Says class ``k`` where the red of the normalised image is the k-th of equal steps; ``shift`` moves it."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        steps = torch.linspace(-2, 2, self.num_classes, device=images.device)
        return -((images[:, :1] + self.shift - steps[:, None, None]) ** 2)

    def totals(self, targets: SegmentationTargets) -> Mapping[str, float]:
        return {"images": float(len(targets.counts))}

    def loss(self, outputs: Tensor, targets: SegmentationTargets) -> dict[str, Term]:
        return {"loss": Term(outputs.logsumexp(1).mean((1, 2)).sum(), "images")}

    def semantic(self, outputs: Tensor, sizes: Tensor, original_sizes: Tensor) -> list[Tensor]:
        assert sizes.tolist() == original_sizes.tolist()
        return [
            item[:, : int(h), : int(w)].argmax(0).to(torch.int16) for item, (h, w) in zip(outputs, sizes, strict=True)
        ]


@pytest.fixture(scope="module")
def data() -> ShapesDataModule:
    module = ShapesDataModule(4, image_size=32, max_side=20, num_val=8, task="segmentation", segments="panoptic")
    module.setup("validate")
    return module


def make_task(data: ShapesDataModule, net: dict[str, Any], **asked: bool) -> SegmentationTask:
    torch.manual_seed(0)
    settings = {"name": "segmentation", "semantic": True, "panoptic": False, "instances": False, **asked}
    optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0}
    return SegmentationTask(net, data.spec.to_plain(), optimizer, {"name": "constant"}, 4, settings).eval()


def batches(data: ShapesDataModule, *sizes: int) -> list[SegmentationBatch]:
    dataset, result, start = data.build("val"), [], 0
    for size in sizes:
        result.append(collate_segmentation([dataset[0, index] for index in range(start, start + size)]))
        start += size
    return result


def evaluate(task: SegmentationTask, split: str, parts: list[SegmentationBatch]) -> dict[str, float]:
    task.reset_metrics(split)
    with torch.no_grad():
        for batch in parts:
            task.evaluate(split, task(batch), batch)
    return task.compute_metrics(split)


SEMANTIC = {"miou", "mean_accuracy", "pixel_accuracy"}
PANOPTIC = {"pq", "sq", "rq", "pq_things", "pq_stuff"}


@pytest.mark.parametrize(
    ("asked", "keys", "monitor"),
    [
        ({}, SEMANTIC, "val/miou"),
        ({"panoptic": True}, SEMANTIC | PANOPTIC, "val/pq"),
        ({"semantic": False, "panoptic": True}, PANOPTIC, "val/pq"),
        ({"instances": True}, None, "val/map_segm"),
    ],
)
def test_metrics_are_those_asked_for(data: Any, asked: dict[str, bool], keys: Any, monitor: str) -> None:
    task = make_task(data, TINY, **asked)
    values = evaluate(task, "val", batches(data, 3, 2))
    assert values.keys() == keys if keys else len(values) == len(SEMANTIC) + 12
    assert task.monitor == monitor
    assert monitor.removeprefix("val/") in values
    assert set(task.shown) <= values.keys()
    assert not task.tables
    assert evaluate(task, "val", batches(data, 1, 4)) == pytest.approx(values, abs=1e-12, nan_ok=True)


def test_what_cannot_be_measured_is_refused(data: Any) -> None:
    with pytest.raises(ConfigError, match="none of semantic, panoptic, instances"):
        make_task(data, TINY, semantic=False)
    for name in ("panoptic", "instances"):
        with pytest.raises(ConfigError, match=f"eval.{name}=true: Brightness .* no objects apart"):
            make_task(data, PIXELS, **{name: True})
    with pytest.raises(ConfigError, match=r"detr_tiny is no segmenter"):
        make_task(data, {"_target_": "detr_tiny"})


def test_numbers_and_table_of_a_known_net(data: Any) -> None:
    """By hand, from the scenes' own maps."""
    task, (batch,) = make_task(data, PIXELS), batches(data, 6)
    values = evaluate(task, "test", [batch])
    red = normalize_images(batch.images, None)[:, 0]
    names = data.spec.class_names
    steps = torch.linspace(-2, 2, len(names))
    found = (red[..., None] - steps).abs().argmin(-1)
    labels = batch.truth.labels.split(list(batch.truth.counts))
    true = torch.stack(
        [own[part.view(32, 32).long()] for own, part in zip(labels, batch.truth.pixels.split(1024), strict=True)]
    )
    assert values["pixel_accuracy"] == pytest.approx(float((found == true).double().mean()), abs=1e-12)
    rows = task.tables["classes"]
    assert [row["class"] for row in rows] == list(names)
    for number, row in enumerate(rows):
        both, either = ((found == number) & (true == number)).sum(), ((found == number) | (true == number)).sum()
        assert row.keys() == {"class", "iou", "accuracy"}
        assert row["iou"] == (pytest.approx(float(both) / float(either), abs=1e-12) if either else None)
    defined = [row["iou"] for row in rows if row["iou"] is not None]
    assert values["miou"] == pytest.approx(sum(defined) / len(defined), abs=1e-12)


def table_of_rank(rank: int) -> Any:
    module = ShapesDataModule(4, image_size=32, max_side=20, num_val=8, task="segmentation", segments="panoptic")
    task = make_task(module, TINY, panoptic=True)
    evaluate(task, "test", [batches(module, 3, 2)[rank]])
    return task.tables


def test_table_is_of_the_images_of_all_ranks(data: Any) -> None:
    task = make_task(data, TINY, panoptic=True)
    evaluate(task, "test", batches(data, 5))
    for found in run_distributed(table_of_rank, 2, timeout=60):
        assert found == task.tables


def test_fillers_count_nowhere(data: Any) -> None:
    task, (batch,) = make_task(data, TINY, panoptic=True, instances=True), batches(data, 3)
    batch.image_ids[2], batch.valid[2] = batch.image_ids[0], False
    assert evaluate(task, "val", [batch]) == pytest.approx(
        evaluate(task, "val", batches(data, 2)), abs=1e-12, nan_ok=True
    )
    numbers, found = task.predict_step(batch, 0)
    assert numbers.tolist() == batch.image_ids[:2].tolist()
    assert [item.semantic.shape for item in found] == [(32, 32)] * 2
    assert all(item.panoptic is not None and item.instances is not None for item in found)
    assert make_task(data, PIXELS).predict_step(batch, 0)[1][0].panoptic is None


@pytest.mark.parametrize("net", [TINY, {**TINY, "_target_": "per_pixel_tiny"}])
def test_loss_of_the_set_does_not_depend_on_batches(data: Any, net: dict[str, Any]) -> None:
    if net["_target_"] == "per_pixel_tiny":
        net = {"_target_": "per_pixel_tiny", "embed_dim": 16, "mask_dim": 16}
    task = make_task(data, net)
    with torch.no_grad():
        (whole,) = batches(data, 8)
        assert len(set(whole.targets.counts)) > 1
        expected = float(sum(batch_terms(task.net, task(whole), whole.targets).values()))
        for sizes in ((8,), (3, 3, 2), (1,) * 8):
            loss = SetLoss()
            for batch in batches(data, *sizes):
                loss.update(task.terms(batch)[1], task.totals(batch), batch.valid)
            assert loss.compute(ALONE) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("net", [TINY, {"_target_": "per_pixel_tiny"}, PIXELS])
def test_dry_run_on_the_meta_device(data: Any, net: dict[str, Any]) -> None:
    (batch,) = batches(data, 2)
    line = make_task(data, net).to("meta").dry_run(batch.to("meta"))
    assert line.startswith("images (2, 3, 32, 32) -> ")
    assert ("class_logits (2, 6, 6), mask_logits (2, 6, 8, 8)" if net is TINY else "logits (2, 5, ") in line


def test_checkpoint_stands_alone(data: Any, tmp_path: Path) -> None:
    task, parts = make_task(data, TINY, panoptic=True), batches(data, 3)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(accelerator="cpu", devices=1, **quiet)
    trainer.strategy.connect(task)
    RunState(None).write_weights(tmp_path / "best.ckpt", trainer, task)
    again = SegmentationTask.load_from_checkpoint(tmp_path / "best.ckpt").eval()
    assert (again.spec, again.monitor) == (task.spec, "val/pq")
    assert evaluate(again, "test", parts) == evaluate(task, "test", parts)
    other = SegmentationTask.load_from_checkpoint(
        tmp_path / "best.ckpt", eval={**task.eval_settings, "panoptic": False}
    )
    assert other.monitor == "val/miou"
    with pytest.raises(CheckpointError, match="of a model for segmentation, not for recommendation"):
        RecommendationTask.load_from_checkpoint(tmp_path / "best.ckpt")


def test_batch_without_truth_is_refused(data: Any) -> None:
    (batch,) = batches(data, 1)
    batch.truth = None
    task = make_task(data, PIXELS)
    with pytest.raises(ConfigError, match="no truth"):
        task.evaluate("val", task(batch), batch)
    assert lab.create_model("per_pixel_tiny", num_classes=3).num_classes == 3


def test_how_many_classes_a_mean_is_over_is_said(data: Any) -> None:
    task = make_task(data, TINY, panoptic=True, instances=True)
    assert task.describe_evaluation() == ""
    evaluate(task, "val", batches(data, 3, 2))
    counts = task.classes_measured("val")
    iou, _ = task.val_semantic.of_classes()
    assert counts.keys() == {"miou", "pq", "map_segm"}
    assert counts["miou"] == int((~iou.isnan()).sum()) > 0
    evaluate(task, "val", batches(data, 3, 2))
    task._finish("val", {})
    assert task.results["val/miou_classes_measured"] == counts["miou"]
    of = f"of {len(task.class_names)} classes"
    assert task.describe_evaluation() == "; ".join(f"{n} is the mean over {k} {of}" for n, k in counts.items())
