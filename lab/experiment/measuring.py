"""Measures an exported file on a dataset by the task's own metrics, and gives it images to be calibrated on."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.checking import check_choice
from lab.data.datamodule import DataModule
from lab.errors import DataError
from lab.experiment.assembly import build_data, build_task, give_plan, load_plan, load_task, prepare
from lab.system.ranks import Place
from lab.training.task import Task

SPLITS = ("test", "val")


def measured_parts(config: dict[str, Any]) -> tuple[Task, DataModule]:
    """Return the task of a config on the CPU, with its weights if the config names some, and its data.

    Raises:
        LabError: they cannot be made.
    """
    prepare(config)
    data = build_data(config)
    give_plan(data, load_plan(config, Place()))
    has_weights = config["ckpt"] or config["model"]["pretrained"]
    task = load_task(config, data) if has_weights else build_task(config, data, 1)
    return task.eval(), data


def measure(task: Task, data: DataModule, split: str, net: nn.Module) -> dict[str, float]:
    """Return the metrics of a split with a network in the place of the task's own, which is put back.

    Args:
        task: on the CPU, for this data.
        data: with its plan.
        split: ``test`` or ``val``.
        net: the task's own, or a ``lab.export.engine.EngineNetwork``.

    Raises:
        DataError: the split has no images.
    """
    check_choice("split", split, SPLITS)
    loader = data.test_dataloader() if split == "test" else data.val_dataloader()
    own = task.net
    task.net = net
    try:
        task.reset_metrics(split)
        seen = 0
        with torch.no_grad(), task.evaluating():
            for batch in loader:
                task.evaluate(split, task(batch), batch)
                seen += 1
        if not seen:
            raise DataError(f"the data has no images in its {split} set")
        return task.compute_metrics(split)
    finally:
        task.net = own


def training_images(data: DataModule, count: int, size: tuple[int, int]) -> Tensor:
    """Return images of the training set as the training reads them, spread evenly over it.

    Args:
        data: of images.
        count: how many; fewer where the set is smaller.
        size: (height, width) that they are brought to.

    Returns:
        (N, 3, H, W) float32 RGB from 0 to 1.
    """
    dataset = data.dataset("train")
    count = min(count, len(dataset))
    found = []
    for place in range(count):
        image = dataset[0, place * len(dataset) // count].image
        found.append(F.interpolate(image[None] / 255, size=size, mode="bilinear", antialias=True).clamp(0, 1))
    return torch.cat(found)
