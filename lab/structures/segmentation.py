"""Semantic, instance and panoptic segmentation: samples, targets, predictions and the protocols of segmenters.

Letters in shapes: B images in a batch, H and W pixels (padded), K classes, T segments of all images in a batch, packed
one image after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from lab.structures.common import ClassSpec, ImageBatch, Movable, OutputsT, Term, split_packed

NO_SEGMENT = -1
"""The value of a pixel that belongs to no segment: it is unlabelled, ignored, in a crowd, or padding."""


@dataclass(frozen=True)
class SegmentationSpec(ClassSpec):
    """What data for segmentation tells: the classes of its segments.

    Attributes:
        thing_labels: the labels of things, whose objects are counted one by one; all other labels are stuff.
        resize: (shorter side, limit of the longer side) to which evaluation resizes images where ``input_shape`` leaves
            the size open; a limit of 0 is no limit. (0, 0): images are not resized. Empty: not known.
    """

    task: str = "segmentation"
    thing_labels: tuple[int, ...] = ()
    resize: tuple[int, ...] = ()


@dataclass
class SegmentationSample:
    """One image and its segments, as a dataset returns it for the key ``(epoch, index)``.

    A segment is the set of all pixels of a class (semantic data), or of one object or stuff region (panoptic data).

    Attributes:
        image: (3, h, w) uint8 RGB, resized and augmented, not padded, not normalised.
        segments: (h, w) int16: the segment of each pixel, 0..n-1, or ``NO_SEGMENT``.
        labels: (n,) int64 in 0..K-1, the class of each segment; each has at least one pixel.
        image_id: the dataset's own id of the image.
        original_size: (height, width) of the stored image; ``truth`` is in its pixels.
        truth: what evaluation compares predictions with; None in training.
    """

    image: Tensor
    segments: Tensor
    labels: Tensor
    image_id: int
    original_size: tuple[int, int]
    truth: SegmentationTruth | None = None


@dataclass
class SegmentationTruth(Movable):
    """The annotations as stored, of one image or a batch. Images differ in size, so their pixels are packed.

    Attributes:
        pixels: (P,) int16: the segment of each pixel of each image, row after row, or ``NO_SEGMENT``.
        labels: (T,) int64 in 0..K-1.
        iscrowd: (T,) bool: segments that are neither hit nor missed.
        counts: the number of segments of each image.
        sizes: (height, width) of each image.
        codes: COCO's run-length code of each mask (T codes), for data whose masks may overlap, which ``pixels`` cannot
            hold; None where ``pixels`` has everything.
        area: (T,) float64, the annotated area in square pixels, by which mask AP tells small, medium and large objects;
            0 where the annotation has none. None: the area of each mask is used.
    """

    pixels: Tensor
    labels: Tensor
    iscrowd: Tensor
    counts: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    codes: tuple[bytes, ...] | None = None
    area: Tensor | None = None

    def rows(self, chosen: slice) -> SegmentationTruth:
        """Return the annotations of consecutive images."""
        part = split_packed(self.counts, chosen)
        pixels = split_packed([height * width for height, width in self.sizes], chosen)
        return SegmentationTruth(
            self.pixels[pixels],
            self.labels[part],
            self.iscrowd[part],
            self.counts[chosen],
            self.sizes[chosen],
            None if self.codes is None else self.codes[part],
            None if self.area is None else self.area[part],
        )


@dataclass
class SegmentationTargets(Movable):
    """What the loss compares outputs with. Masks are built from ``segments`` on the device.

    Attributes:
        segments: (B, H, W) int16: the segment of each pixel within its image, or ``NO_SEGMENT`` (padding too).
        labels: (T,) int64 in 0..K-1, the class of each segment, packed one image after the other.
        counts: the number of segments of each image; host integers, so that reading them never waits for a device.
        num_pixels: the number of pixels of each image that belong to a segment.
        sizes: (B, 2) float32 (height, width) of each image without its padding.
    """

    segments: Tensor
    labels: Tensor
    counts: tuple[int, ...]
    num_pixels: tuple[int, ...]
    sizes: Tensor

    def rows(self, chosen: slice) -> SegmentationTargets:
        """Return the targets of consecutive images."""
        part = split_packed(self.counts, chosen)
        return SegmentationTargets(
            self.segments[chosen], self.labels[part], self.counts[chosen], self.num_pixels[chosen], self.sizes[chosen]
        )


SegmentationBatch = ImageBatch[SegmentationTargets, SegmentationTruth]


@dataclass
class Segments(Movable):
    """A panoptic result: each pixel of one image belongs to at most one segment.

    Attributes:
        segments: (h, w) int16, 0..n-1 or ``NO_SEGMENT``.
        labels: (n,) int64 in 0..K-1.
        scores: (n,) float32 in 0..1.
    """

    segments: Tensor
    labels: Tensor
    scores: Tensor


@dataclass
class Instances(Movable):
    """Objects found in one image; masks may overlap.

    Attributes:
        masks: (n, h, w) bool.
        labels: (n,) int64 in 0..K-1.
        scores: (n,) float32 in 0..1, descending.
    """

    masks: Tensor
    labels: Tensor
    scores: Tensor


@runtime_checkable
class Segmenter(Protocol[OutputsT]):
    """The protocol of segmentation architectures. ``totals`` and ``loss`` are as in ``Detector``.

    Predictions are lists with one element per image, in pixels of the original images, which differ in size.
    """

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> OutputsT:
        """Map normalised images (B, 3, H, W) and their padding mask (B, H, W) to the architecture's own outputs."""
        ...

    def totals(self, targets: SegmentationTargets) -> Mapping[str, float]:
        """Return this batch's share of every normaliser of the loss, by its name."""
        ...

    def loss(self, outputs: OutputsT, targets: SegmentationTargets) -> Mapping[str, Term]:
        """Return named terms: weighted sums over this batch, each with the name of its normaliser."""
        ...

    def semantic(self, outputs: OutputsT, sizes: Tensor, original_sizes: Tensor) -> list[Tensor]:
        """Return the class of each pixel, (h, w) int16 in 0..K-1, for each image.

        Args:
            outputs: the result of ``forward``.
            sizes: (B, 2) (height, width) of each image without its padding.
            original_sizes: (B, 2) (height, width) of each stored image.
        """
        ...


@runtime_checkable
class MaskSegmenter(Segmenter[OutputsT], Protocol[OutputsT]):
    """A segmenter that also tells objects of one class apart."""

    def panoptic(
        self, outputs: OutputsT, sizes: Tensor, original_sizes: Tensor, thing_labels: Sequence[int]
    ) -> list[Segments]:
        """Return for each image one segment per thing object and one per stuff class."""
        ...

    def instances(
        self, outputs: OutputsT, sizes: Tensor, original_sizes: Tensor, thing_labels: Sequence[int]
    ) -> list[Instances]:
        """Return for each image the objects of thing classes with the highest scores."""
        ...
