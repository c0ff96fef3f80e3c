"""The types that tie the house together: what a dataset offers, what a batch holds, what an architecture must do.

Whoever writes a new architecture or dataset reads this file and nothing else. Only dataclasses and Protocols stand
here. Shapes: B images in a batch, H and W pixels (padded), Q predictions for each image, K classes, T boxes of all
images of a batch one after the other. Boxes are ``xyxy`` in pixels at every boundary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor

OutputsT = TypeVar("OutputsT")


def split_packed(counts: Sequence[int], rows: slice) -> slice:
    """Return where the items of some images stand among those of all, packed one after the other.

    Args:
        counts: items of each image.
        rows: consecutive images.
    """
    first, last, _ = rows.indices(len(counts))
    return slice(sum(counts[:first]), sum(counts[:last]))


class Movable:
    """A dataclass of tensors (and nested Movables) that moves to a device as a whole."""

    def _map(self, apply: Callable[[Tensor], Tensor]) -> Self:
        changes: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changes[field.name] = apply(value)
            elif isinstance(value, Movable):
                changes[field.name] = value._map(apply)
        return replace(self, **changes)  # type: ignore[type-var]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return a copy whose tensors live on ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return a copy in page-locked host memory, as DataLoader's ``pin_memory`` asks for."""
        return self._map(lambda tensor: tensor.pin_memory())


@dataclass(frozen=True)
class DataSpec:
    """What a DataModule tells a task after ``setup``; the network is sized from it.

    Attributes:
        task: the kind of problem, ``"detection"`` for instance; equal to the ``task`` of the model's YAML.
        class_names: the name of each label, in label order (K names).
        input_shape: ``(3, H, W)``; a 0 stands where the size varies from image to image.
    """

    task: str
    class_names: tuple[str, ...] = ()
    input_shape: tuple[int, ...] = ()

    @property
    def num_classes(self) -> int:
        """K, the number of labels, no-object not counted."""
        return len(self.class_names)


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


@dataclass
class DetectionBatch(Movable):
    """A batch of a detection dataset.

    Attributes:
        images: (B, 3, H, W) uint8 RGB, padded with zeros at the right and bottom. The task normalises on the device.
        padding_mask: (B, H, W) bool, True where padded; None when nothing is padded.
        targets: what the loss compares with.
        image_ids: (B,) int64.
        original_sizes: (B, 2) int64 (height, width) of the stored images.
        valid: (B,) bool, False for a sample that only fills up the batch and must not be counted by a metric.
        truth: the annotations as stored, for evaluation; None in training.
        totals: the normalisers of the whole optimizer step (all ranks and accumulated micro-batches), as the
            architecture's ``totals`` names them; empty outside of training, where the batch stands for itself.
    """

    images: Tensor
    padding_mask: Tensor | None
    targets: DetectionTargets
    image_ids: Tensor
    original_sizes: Tensor
    valid: Tensor
    truth: DetectionTruth | None = None
    totals: Mapping[str, float] | None = None

    @property
    def num_samples(self) -> int:
        """B."""
        return len(self.images)

    def rows(self, chosen: slice) -> DetectionBatch:
        """Return the part of the batch with consecutive images, ``totals`` still those of the whole step."""
        return DetectionBatch(
            images=self.images[chosen],
            padding_mask=None if self.padding_mask is None else self.padding_mask[chosen],
            targets=self.targets.rows(chosen),
            image_ids=self.image_ids[chosen],
            original_sizes=self.original_sizes[chosen],
            valid=self.valid[chosen],
            truth=None if self.truth is None else self.truth.rows(chosen),
            totals=self.totals,
        )


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


@runtime_checkable
class Detector(Protocol[OutputsT]):
    """The protocol of detection architectures; an ``nn.Module`` with these four methods fits the detection task."""

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> OutputsT:
        """Map normalised images (B, 3, H, W) and their padding mask (B, H, W) to the architecture's own outputs."""
        ...

    def totals(self, targets: DetectionTargets) -> Mapping[str, float]:
        """Return this batch's share of every normaliser of the loss.

        Shares are added up over the micro-batches and ranks of an optimizer step before ``loss`` divides by them, so
        that the loss of a global batch does not depend on how it was split. Computed from host integers only.
        """
        ...

    def loss(
        self, outputs: OutputsT, targets: DetectionTargets, totals: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """Return named scalar terms, already weighted; their sum is minimised.

        Each term is this batch's sum divided by the normaliser in ``totals`` (default: this batch's own), so terms of
        the micro-batches and ranks of one optimizer step add up to the term of the global batch.
        """
        ...

    def predict(self, outputs: OutputsT, original_sizes: Tensor) -> DetectionPredictions:
        """Turn outputs into boxes in pixels of the original images, whose sizes (B, 2) are (height, width)."""
        ...


class KeyedDataset(Protocol):
    """A map-style dataset whose samples are a function of (seed, epoch, index), never of worker or rank."""

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        ...

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Return the sample for ``(epoch, index)``."""
        ...

    @property
    def aspect_ratios(self) -> Sequence[float] | None:
        """Width / height of each image, for batches of alike shapes; None where all are equal."""
        ...
