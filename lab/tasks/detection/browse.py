"""What a detector is fed: augmented images with their boxes; and what its data holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.data.presence import NO_CATEGORY
from lab.ops.images import resize_batch
from lab.report.sanity import OUTLIERS, SplitLook
from lab.structures import DetectionBatch, DetectionSample
from lab.tasks.detection.data.sizes import targets_at
from lab.tasks.detection.pictures import draw_detections
from lab.training.browsing import BrowseCard
from lab.training.image_browser import ImageBrowser

TINY_SIDE = 4.0
"""Pixels of the stored image: a box with a shorter side is an outlier."""
MOST_BOX_ASPECT = 20.0


class DetectionBrowser(ImageBrowser):
    """Boxes on images."""

    def cards(self, batch: DetectionBatch, augmented: bool) -> Iterator[BrowseCard]:
        """Yield the images as the network gets them, padding included, with the boxes to learn."""
        images, targets = batch.images, targets_at(batch)
        if batch.train_size is not None:
            images = resize_batch(images.float(), None, batch.train_size)[0].round().to(images.dtype)
        parts = zip(targets.boxes.split(targets.counts), targets.labels.split(targets.counts), strict=True)
        for row, (boxes, labels) in enumerate(parts):
            if batch.valid[row]:
                height, width = (int(side) for side in targets.sizes[row].tolist())
                stored = "x".join(str(side) for side in batch.original_sizes[row].flip(0).tolist())
                caption = f"image {int(batch.image_ids[row])}, {width}x{height} of {stored}, {len(labels)} boxes"
                picture = draw_detections(images[row], boxes, labels, None, self.spec.class_names)
                yield BrowseCard(picture, caption)

    def watch(self, look: SplitLook) -> None:
        """Look for boxes that are tiny or very long, and for images without any."""
        names = (f"boxes with a side below {TINY_SIDE:g} pixels", f"boxes longer than {MOST_BOX_ASPECT:g} : 1")
        look.watch(OUTLIERS, *names, "images without a box")

    def count_sample(self, look: SplitLook, sample: Any, name: str) -> str:
        """Count the boxes of an image."""
        typed: DetectionSample = sample
        boxes, labels = typed.boxes.double(), typed.labels.tolist()
        height, width = typed.image.shape[-2:]
        sides = boxes[:, 2:] - boxes[:, :2]
        look.number("boxes of an image", len(labels))
        if not labels:
            look.find("images without a box", name)
        for (wide, high), label in zip(sides.tolist(), labels, strict=True):
            look.count_class(self.spec.class_names[label])
            look.pair("box width x height", wide, high)
            look.number("box width", wide)
            look.number("box height", high)
            look.number("box area, share of the image in %", 100 * wide * high / (width * height))
            if min(wide, high) < TINY_SIDE:
                look.find(f"boxes with a side below {TINY_SIDE:g} pixels", f"{name} ({wide:.3g}x{high:.3g})")
            if max(wide, high) > MOST_BOX_ASPECT * max(min(wide, high), 1e-9):
                look.find(f"boxes longer than {MOST_BOX_ASPECT:g} : 1", f"{name} ({wide:.3g}x{high:.3g})")
        return repr(sorted(zip(boxes.round().tolist(), labels, strict=True)))

    @property
    def known_classes(self) -> list[str]:
        """The classes that can occur."""
        return [name for name in self.spec.class_names if name != NO_CATEGORY]
