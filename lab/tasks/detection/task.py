"""The detection task: trains any ``lab.structures.Detector`` with its own loss and measures COCO's mAP."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lab.errors import ConfigError
from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lab.ops.images import normalize_images, resize_batch
from lab.structures import DetectionBatch, DetectionPredictions, DetectionSpec, Detector, Term
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.files import ImageFolder
from lab.tasks.detection.data.mosaic import NO_MOSAIC, MosaicOptions
from lab.tasks.detection.data.sizes import targets_at
from lab.tasks.detection.data.transforms import DetectionTransform
from lab.tasks.detection.limits import too_many_boxes
from lab.tasks.detection.metrics import DetectionMAP
from lab.tasks.detection.pictures import draw_inputs
from lab.tasks.detection.yolo_fastest_map import DESCRIPTION
from lab.training.classes import ClassTask
from lab.training.inputs import predict_images, resize_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from lab.data.datamodule import DataModule

_RESIZED = "resized_images"
"""The normaliser of ``train/image_size``."""


class DetectionTask(ClassTask):
    """Train and measure a detector; see ``Task`` for the arguments."""

    spec: DetectionSpec

    kind = "detection"
    protocol = Detector
    monitor = "val/map"
    shown = ("map", "map_50")

    def make_metrics(self) -> None:
        """Make one mAP for validation and one for test."""
        also = self.eval_settings.get("also")  # checkpoints up to November 2026 lack it
        self.val_map, self.test_map = (DetectionMAP(self.class_names, also) for _ in range(2))

    def remarks(self, data: DataModule) -> list[str]:
        """Return a line if images have more boxes than the network can find in one."""
        return too_many_boxes(self.net, data)

    def reset_metrics(self, split: str) -> None:
        """Reset the metric."""
        self._metric(split).reset()

    def forward(self, batch: DetectionBatch) -> Any:
        """Return the network's outputs for a batch of uint8 images, which lose its own statistics or ImageNet's."""
        statistics = getattr(self.net, "image_statistics", (IMAGENET_MEAN, IMAGENET_STD))
        blank = batch.padding_mask if batch.grey is None else None
        images, padding_mask = normalize_images(batch.images, blank, *statistics), batch.padding_mask
        if batch.train_size is not None:
            images, padding_mask = resize_batch(images, padding_mask, batch.train_size)
        return self.net(images, padding_mask)

    def terms(self, batch: DetectionBatch) -> tuple[Any, Mapping[str, Term]]:
        """Run the network at the size of the batch, and return its outputs and the terms of its loss."""
        outputs = self(batch)
        self.figures = {}
        if batch.train_size is not None:
            side = torch.full((), float(max(batch.train_size) * len(batch.images)), device=batch.images.device)
            self.figures = {"image_size": Term(side, _RESIZED)}
        return outputs, self.net.loss(outputs, targets_at(batch))

    def totals(self, batch: DetectionBatch) -> Mapping[str, float]:
        """Return a batch's share of the normalisers, and of multi-scale training the number of its images."""
        totals = super().totals(batch)
        return totals if batch.train_size is None else {**totals, _RESIZED: float(len(batch.images))}

    def draw_inputs(self, batch: DetectionBatch, count: int) -> Image | None:
        """Return the first images of a training batch, augmented, with their boxes."""
        return draw_inputs(batch, count, self.class_names)

    def evaluate(self, split: str, outputs: Any, batch: DetectionBatch) -> None:
        """Add the predictions of a batch."""
        if batch.truth is None:
            raise ConfigError("the dataset has no truth to evaluate against")
        predictions = self.net.predict(outputs, batch.original_sizes)
        self._metric(split).update(predictions, batch.truth, batch.image_ids, batch.valid)

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return COCO's twelve numbers, and what ``eval.also`` names."""
        return self._metric(split).compute()

    def classes_measured(self, split: str) -> dict[str, int]:
        """Return the number of classes in COCO's means."""
        return {"map": self._metric(split).classes_measured}

    def describe_evaluation(self) -> str:
        """Return what the metric is that ``eval.also`` names, and over how many classes means were taken."""
        words = [DESCRIPTION] if self.eval_settings.get("also") else []
        return "; ".join(word for word in (*words, super().describe_evaluation()) if word)

    def predict_step(self, batch: DetectionBatch, batch_idx: int) -> tuple[Tensor, list[DetectionPredictions]]:
        """Return image ids (b,) and the predictions for each, without images that only pad the batch."""
        predictions = self.net.predict(self(batch), batch.original_sizes)
        rows = batch.valid.nonzero().flatten().tolist()
        return batch.image_ids[batch.valid], [predictions.rows(slice(row, row + 1)) for row in rows]

    def predict(self, inputs: Any, batch_size: int = 16) -> Any:
        """Return the ``Detections`` of an image, or a list of them for several, the same as ``stage=predict``.

        Args:
            inputs: a path, PIL image, array (h, w, 3) or tensor (3, h, w), uint8 or floats from 0 to 1; or a folder, a
                list or a batch of them. Boxes are in pixels of the image as given.
            batch_size: images in one forward pass.

        Raises:
            DataError: an image cannot be used.
        """
        size, scales, longest = resize_of(self)
        grey = None if size is None else self.spec.grey
        transform = DetectionTransform(
            train=False,
            scales=scales or (1,),
            max_size=longest or 1,
            size=size,
            letterbox=grey is not None,
            mosaic=NO_MOSAIC if grey is None else MosaicOptions(grey=grey),
        )
        dataset, collate = (
            partial(ImageFolder, transform=transform),
            partial(collate_detection, letterbox=transform.padding),
        )
        found, several = predict_images(self, inputs, batch_size, dataset, collate)
        named = [item for image in found for item in image.to("cpu").named(self.class_names)]
        return named if several else named[0]

    def describe_pass(self, batch: DetectionBatch, outputs: Any, terms: Mapping[str, Term] | None) -> str:
        """Return the shapes of images and boxes."""
        predictions = self.net.predict(outputs, batch.original_sizes)
        return f"images {tuple(batch.images.shape)} -> boxes {tuple(predictions.boxes.shape)}"

    def _metric(self, split: str) -> DetectionMAP:
        return self.val_map if split == "val" else self.test_map
