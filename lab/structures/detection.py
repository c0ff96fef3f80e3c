"""Object detection: samples, targets, predictions and the protocol of detectors.

B images in a batch, H and W pixels (padded), Q predictions for each image, K classes, T boxes of all images of a batch
one after the other. Boxes are ``xyxy`` in pixels at every boundary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from lab.structures.common import ClassSpec, ImageBatch, Movable, OutputsT, Term, split_packed


@dataclass(frozen=True)
class DetectionSpec(ClassSpec):
    """What data for detection tells: the classes of its boxes.

    Attributes:
        resize: (shorter side, longest side) of images in evaluation where ``input_shape`` leaves their size open, 0
            for no limit; (0, 0): they stay as they are. Empty: not known.
    """

    task: str = "detection"
    resize: tuple[int, ...] = ()


@dataclass
class DetectionSample:
    """One image and what stands in it, as a dataset returns it for the key ``(epoch, index)``.

    Attributes:
        image: (3, h, w) uint8 RGB, resized and augmented, not padded, not normalised.
        boxes: (n, 4) float32 xyxy pixels of ``image``, without crowds and degenerate boxes.
        labels: (n,) int64 in 0..K-1.
        image_id: the dataset's own id of the image.
        original_size: (height, width) of the stored image, in whose pixels ``truth`` stands.
        truth: what evaluation compares with; None in training.
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
    """The annotations as stored, crowds included: what COCO evaluation compares with, for one image or a batch.

    Attributes:
        boxes: (T, 4) float32 xyxy pixels of the original images.
        labels: (T,) int64.
        iscrowd: (T,) bool.
        area: (T,) float32, the annotation's own area (of the mask in COCO), in square pixels of the original.
        counts: how many of the T belong to each image.
    """

    boxes: Tensor
    labels: Tensor
    iscrowd: Tensor
    area: Tensor
    counts: tuple[int, ...]

    def rows(self, chosen: slice) -> DetectionTruth:
        """Return the annotations of consecutive images."""
        part = split_packed(self.counts, chosen)
        return DetectionTruth(
            self.boxes[part], self.labels[part], self.iscrowd[part], self.area[part], self.counts[chosen]
        )


@dataclass
class DetectionTargets(Movable):
    """What the loss compares with, all images packed one after the other.

    Attributes:
        boxes: (T, 4) float32 xyxy pixels of the batch's images.
        labels: (T,) int64 in 0..K-1.
        counts: how many of the T belong to each image; host integers, so that reading them never waits for a device.
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


DetectionBatch = ImageBatch[DetectionTargets, DetectionTruth]


@dataclass
class DetectionPredictions(Movable):
    """What a detector found: Q candidates for each image, unordered, not thresholded.

    Attributes:
        boxes: (B, Q, 4) float32 xyxy pixels of the original images.
        scores: (B, Q) float32 in 0..1.
        labels: (B, Q) int64 in 0..K-1.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def rows(self, chosen: Tensor | slice) -> DetectionPredictions:
        """Return the predictions of some of the images."""
        return DetectionPredictions(self.boxes[chosen], self.scores[chosen], self.labels[chosen])

    def named(self, class_names: Sequence[str]) -> list[Detections]:
        """Return what was found in each image, best first, with the names of the classes."""
        found = []
        for boxes, scores, labels in zip(self.boxes, self.scores, self.labels, strict=True):
            order = scores.argsort(descending=True, stable=True)
            names = tuple(class_names[label] for label in labels[order].tolist())
            found.append(Detections(boxes[order], scores[order], labels[order], names))
        return found


@dataclass
class Detections(Movable):
    """What was found in one image, best first, not thresholded.

    Attributes:
        boxes: (n, 4) float32 xyxy pixels of the image as it was given.
        scores: (n,) float32 in 0..1.
        labels: (n,) int64 in 0..K-1.
        names: the name of each label.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def above(self, score: float) -> Detections:
        """Return those with a score above ``score``."""
        count = int((self.scores > score).sum())
        return Detections(self.boxes[:count], self.scores[:count], self.labels[:count], self.names[:count])


@runtime_checkable
class Detector(Protocol[OutputsT]):
    """The protocol of detection architectures; an ``nn.Module`` with these four methods fits the detection task."""

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> OutputsT:
        """Map normalised images (B, 3, H, W) and their padding mask (B, H, W) to the architecture's own outputs."""
        ...

    def totals(self, targets: DetectionTargets) -> Mapping[str, float]:
        """Return this batch's share of every normaliser of the loss, by its name.

        The number of boxes for instance, or of images where a term is a mean over images. Shares are added up over the
        micro-batches and ranks of an optimizer step before the task divides by them, so that the loss of a global
        batch does not depend on how it was split. Computed from host integers only.
        """
        ...

    def loss(self, outputs: OutputsT, targets: DetectionTargets) -> Mapping[str, Term]:
        """Return named terms: weighted sums over this batch, each with the name of its normaliser in ``totals``.

        Nothing is divided here: the task divides the sums by the totals of the whole optimizer step, or of the whole
        validation set, and minimises the sum of what comes out.
        """
        ...

    def predict(self, outputs: OutputsT, original_sizes: Tensor) -> DetectionPredictions:
        """Turn outputs into boxes in pixels of the original images, whose sizes (B, 2) are (height, width)."""
        ...
