"""Object detection: samples, targets, predictions and the protocol of detectors.

Letters in shapes: B images in a batch, H and W pixels (padded), Q predictions for each image, K classes, T boxes of all
images in a batch, packed one image after the other. Boxes are ``xyxy`` in pixels at every boundary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from lab.structures.common import (
    BoxPredictions,
    ClassSpec,
    ImageBatch,
    Movable,
    OutputsT,
    RankedBoxes,
    Term,
    split_packed,
)


@dataclass(frozen=True)
class DetectionSpec(ClassSpec):
    """What data for detection tells: the classes of its boxes.

    Attributes:
        resize: (shorter side, limit of the longer side) to which evaluation resizes images where ``input_shape`` leaves
            the size open; a limit of 0 is no limit. (0, 0): images are not resized. Empty: not known.
        grey: where ``input_shape`` has a size: images keep their aspect ratio and are padded to it with pixels of this
            level; None: they are stretched to it.
    """

    task: str = "detection"
    resize: tuple[int, ...] = ()
    grey: int | None = None


@dataclass
class DetectionSample:
    """One image and its annotations, as a dataset returns them for the key ``(epoch, index)``.

    Attributes:
        image: (3, h, w) uint8 RGB, resized and augmented, not padded, not normalised.
        boxes: (n, 4) float32 xyxy pixels of ``image``; crowds and degenerate boxes are left out.
        labels: (n,) int64 in 0..K-1.
        image_id: the dataset's own id of the image.
        original_size: (height, width) of the stored image; ``truth`` is in its pixels.
        truth: what evaluation compares predictions with; None in training.
        masks: (n, h, w) bool instance masks, or None where the dataset has none or the task needs none.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    image_id: int
    original_size: tuple[int, int]
    truth: DetectionTruth | None = None
    masks: Tensor | None = None


@dataclass
class DetectionTruth(Movable):
    """The annotations as stored, crowds included, of one image or a batch. COCO evaluation compares with them.

    Attributes:
        boxes: (T, 4) float32 xyxy pixels of the original images.
        labels: (T,) int64.
        iscrowd: (T,) bool.
        area: (T,) float32, the annotated area (in COCO that of the mask), in square pixels of the original image.
        counts: the number of boxes of each image.
    """

    boxes: Tensor
    labels: Tensor
    iscrowd: Tensor
    area: Tensor
    counts: tuple[int, ...]

    @classmethod
    def of_scene(cls, boxes: Tensor, labels: Tensor, area: Tensor) -> DetectionTruth:
        """Return the truth of one generated image, which has no crowds; the tensors are copied."""
        iscrowd = torch.zeros(len(labels), dtype=torch.bool)
        return cls(boxes.clone(), labels.clone(), iscrowd, area.to(torch.float32), (len(labels),))

    def rows(self, chosen: slice) -> DetectionTruth:
        """Return the annotations of consecutive images."""
        part = split_packed(self.counts, chosen)
        return DetectionTruth(
            self.boxes[part], self.labels[part], self.iscrowd[part], self.area[part], self.counts[chosen]
        )


@dataclass
class DetectionTargets(Movable):
    """What the loss compares outputs with, packed one image after the other.

    Attributes:
        boxes: (T, 4) float32 xyxy pixels of the batch's images.
        labels: (T,) int64 in 0..K-1.
        counts: the number of boxes of each image; host integers, so that reading them never waits for a device.
        sizes: (B, 2) float32 (height, width) of each image without its padding.
    """

    boxes: Tensor
    labels: Tensor
    counts: tuple[int, ...]
    sizes: Tensor

    def rows(self, chosen: slice) -> DetectionTargets:
        """Return the targets of consecutive images."""
        part = split_packed(self.counts, chosen)
        return DetectionTargets(self.boxes[part], self.labels[part], self.counts[chosen], self.sizes[chosen])


@dataclass
class DetectionBatch(ImageBatch[DetectionTargets, DetectionTruth]):
    """A batch of images with boxes.

    Attributes:
        grey: the level with which images are padded in place of zeros; these pixels are normalised as all others.
            None: the padding is 0 in normalised images too.
        train_size: (height, width) to which the task resizes the images, mask and boxes on the device before the
            network sees them: multi-scale training. None: as they are.
    """

    grey: int | None = None
    train_size: tuple[int, int] | None = None


@dataclass
class Detections(RankedBoxes):
    """The detections of one image: ``boxes`` are (n, 4) float32 xyxy pixels of the image as it was given."""


@dataclass
class DetectionPredictions(BoxPredictions[Detections]):
    """What a detector found: ``boxes`` are (B, Q, 4) float32 xyxy pixels of the original images."""

    ranked = Detections


@runtime_checkable
class Detector(Protocol[OutputsT]):
    """The protocol of detection architectures; an ``nn.Module`` with these four methods fits the detection task.

    Images lose ImageNet's mean and standard deviation. A detector that was trained with others has the attribute
    ``image_statistics``, (mean, standard deviation), three numbers each for RGB from 0 to 1: zeros and ones leave the
    colours as they are.
    """

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> OutputsT:
        """Map normalised images (B, 3, H, W) and their padding mask (B, H, W) to the architecture's own outputs."""
        ...

    def totals(self, targets: DetectionTargets) -> Mapping[str, float]:
        """Return this batch's share of every normaliser of the loss, by name.

        For instance the number of boxes, or the number of images for a term that is a mean over images. The task adds
        up the shares of all micro-batches and ranks of an optimizer step and divides by the total, so that the loss of
        a global batch does not depend on how it was split. Computed from host integers only.
        """
        ...

    def loss(self, outputs: OutputsT, targets: DetectionTargets) -> Mapping[str, Term]:
        """Return named terms: weighted sums over this batch, each with the name of its normaliser in ``totals``.

        Nothing is divided here. The task divides each sum by the total of the whole optimizer step, or of the whole
        validation set, and minimises the sum of the quotients.
        """
        ...

    def predict(self, outputs: OutputsT, original_sizes: Tensor) -> DetectionPredictions:
        """Turn outputs into boxes in pixels of the original images, whose sizes (B, 2) are (height, width)."""
        ...


@runtime_checkable
class Limited(Protocol):
    """What a detector offers beside ``Detector`` if an argument says how many objects of an image it finds at most."""

    @property
    def most_objects(self) -> tuple[str, int]:
        """The name of the argument, and its value."""
        ...


@runtime_checkable
class Suppressing(Protocol):
    """What a detector offers beside ``Detector`` if its ``predict`` leaves out boxes that overlap better ones.

    Boxes outside of the image are left out before that, and others are clipped to it after. An exported file
    (``lab.export``) ends before that: how many boxes remain depends on the values.

    Attributes:
        thresholds: what ``predict`` applies: ``min_score``, ``nms_iou`` (the overlap of two boxes of one class),
            ``max_boxes``.
    """

    @property
    def thresholds(self) -> Mapping[str, float]:
        """What ``predict`` applies."""
        ...

    def candidates(self, outputs: Any) -> DetectionPredictions:
        """Return all boxes before that, each with its best class, in pixels of the network's input."""
        ...
