"""What a segmenter is fed: augmented images beside their segments; and what its data holds."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import torch

from lab.report.canvas import contact_sheet
from lab.report.sanity import DAMAGED, OUTLIERS, SplitLook
from lab.structures import SegmentationBatch, SegmentationSample
from lab.tasks.segmentation.pictures import draw_classes, segment_classes, with_legend
from lab.training.browsing import BrowseCard
from lab.training.image_browser import ImageBrowser, enlarged

SMALL = 16
"""Pixels: a segment of fewer is an outlier."""
SIDE = 256
EMPTY, TINY, FOREIGN = "images without a segment", f"segments below {SMALL} pixels", "label maps with unknown ids"


class SegmentationBrowser(ImageBrowser):
    """Images and their segments."""

    def cards(self, batch: SegmentationBatch, augmented: bool) -> Iterator[BrowseCard]:
        """Yield images as the network gets them, padding included, beside the segments to learn."""
        labels = batch.targets.labels.split(list(batch.targets.counts))
        names = self.spec.class_names
        for row in batch.valid.nonzero().flatten().tolist():
            image, segments = batch.images[row], batch.targets.segments[row]
            classes = segment_classes(segments, labels[row])
            drawn = draw_classes(image, classes, len(names), segments)
            both = contact_sheet([enlarged(image, SIDE)[0], drawn], columns=2, gap=4)
            present = sorted({*classes.unique().tolist()} - {-1})
            stored = "x".join(str(side) for side in batch.original_sizes[row].flip(0).tolist())
            height, width = (int(side) for side in batch.targets.sizes[row].tolist())
            caption = f"image {int(batch.image_ids[row])}, {width}x{height} of {stored}, {len(labels[row])} segments"
            yield BrowseCard(with_legend(both, [(names[label], label) for label in present]), caption)

    def watch(self, look: SplitLook) -> None:
        """Look for images without segments, tiny segments and ids of no class."""
        look.watch(OUTLIERS, EMPTY, TINY)
        if hasattr(self.stored(look.split), "foreign"):
            look.watch(DAMAGED, FOREIGN)

    def count_sample(self, look: SplitLook, sample: Any, name: str) -> str:
        """Count the segments of an image."""
        typed: SegmentationSample = sample
        foreign = getattr(self.stored(look.split), "foreign", [])
        if FOREIGN in look.findings and len(foreign) > look.findings[FOREIGN].count:
            look.find(FOREIGN, foreign[-1])
        known = typed.segments[typed.segments >= 0].long()
        pixels = torch.bincount(known, minlength=len(typed.labels)).tolist()
        look.number("segments of an image", len(typed.labels))
        look.number("pixels without a segment in %", 100 * (1 - len(known) / max(1, typed.segments.numel())))
        if not len(typed.labels):
            look.find(EMPTY, name)
        for label, count in zip(typed.labels.tolist(), pixels, strict=True):
            title = self.spec.class_names[label]
            look.count_class(title)
            look.tally("pixels of a class", title, count)
            look.number("segment area, share of the image in %", 100 * count / typed.segments.numel())
            if count < SMALL:
                look.find(TINY, f"{name} ({title}, {count})")
        return f"{typed.labels.tolist()}{zlib.crc32(typed.segments.contiguous().numpy().tobytes())}"
