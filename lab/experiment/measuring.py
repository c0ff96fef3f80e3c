"""Measures an exported file on a dataset by the task's own metrics, as its network is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lab.checking import check_choice
from lab.data.datamodule import DataModule
from lab.errors import DataError
from lab.experiment.assembly import build_data, build_task, give_plan, load_plan, load_task, prepare
from lab.export.description import ExportDescription
from lab.export.formats import EngineRunner
from lab.export.network import ColorStatistics
from lab.models.yolo_fastest.decoding import suppress
from lab.structures import DetectionPredictions
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


@dataclass
class EngineBoxes:
    """What an engine has found in one image.

    Attributes:
        boxes: (N, 4) xyxy in pixels of the engine's input.
        scores: (N,).
        labels: (N,).
        size: (height, width) of that input.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    size: tuple[int, int]


class EngineNetwork(nn.Module):
    """An exported file in the place of a task's network; it measures and does not train.

    Args:
        run: runs the file.
        statistics: what the task's images lose; the file wants them back.
        description: of the file.
    """

    def __init__(self, run: EngineRunner, statistics: ColorStatistics, description: ExportDescription) -> None:
        super().__init__()
        self.run, self.description = run, description
        self.image_statistics = statistics  # the task takes the same
        self.mean, self.std = (torch.tensor(tuple(values)).view(3, 1, 1) for values in statistics)

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> Any:
        """Return the logits (B, K) of normalised images (B, 3, H, W), or the ``EngineBoxes`` of each."""
        colours = (images.cpu() * self.std + self.mean).clamp(0, 1)
        found = []
        for place, image in enumerate(colours):
            if padding_mask is not None:
                seen = ~padding_mask[place]
                image = image[:, : int(seen.any(dim=1).sum()), : int(seen.any(dim=0).sum())]
            image = self._sized(image[None])
            outputs = self.run(image)
            found.append((image, outputs))
        if self.description.task == "classification":
            return torch.cat([outputs[0][:1] for _, outputs in found])
        sizes = [(image.shape[-2], image.shape[-1]) for image, _ in found]
        return [EngineBoxes(*(part[0] for part in each), size) for (_, each), size in zip(found, sizes, strict=True)]

    def predict(self, outputs: Sequence[EngineBoxes], original_sizes: Tensor) -> DetectionPredictions:
        """Return the boxes that remain, in pixels of images of ``original_sizes`` (B, 2)."""
        limits = self.description.thresholds
        rows = [self._kept(each, limits) for each in outputs]
        boxes, scores, labels = (pad_sequence(list(part), batch_first=True) for part in zip(*rows, strict=True))
        sizes = torch.tensor([each.size for each in outputs], dtype=boxes.dtype)
        scale = (original_sizes.cpu() / sizes).flip(-1).repeat(1, 2)
        return DetectionPredictions(boxes * scale[:, None], scores, labels)

    def _sized(self, image: Tensor) -> Tensor:
        """Return an image in the size and number that the file takes."""
        wanted = [
            side if axis in self.description.dynamic else fixed
            for axis, side, fixed in zip(("height", "width"), image.shape[-2:], self.description.size, strict=True)
        ]
        if wanted != list(image.shape[-2:]):
            image = F.interpolate(image, size=wanted, mode="bilinear", antialias=True).clamp(0, 1)
        return image

    @staticmethod
    def _kept(found: EngineBoxes, limits: Mapping[str, float]) -> tuple[Tensor, Tensor, Tensor]:
        if "nms_iou" not in limits:
            return found.boxes, found.scores, found.labels
        parts = (found.boxes[None], found.scores[None], found.labels[None])
        kept = suppress(*parts, limits["min_score"], limits["nms_iou"], int(limits["max_detections"]))
        return kept.boxes[0], kept.scores[0], kept.labels[0]


def measure(task: Task, data: DataModule, split: str, net: nn.Module) -> dict[str, float]:
    """Return the metrics of a split with another network in the place of the task's own, which is put back.

    Args:
        task: on the CPU, for this data.
        data: with its plan.
        split: ``test`` or ``val``.
        net: the task's own, or an ``EngineNetwork``.

    Raises:
        DataError: the data has no such split.
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
        data: for detection or classification.
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
