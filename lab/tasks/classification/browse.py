"""What a classifier is fed: images after all that is done on the device, with the shares of their classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from lab.ops.images import normalize_images
from lab.report.canvas import GREY, contact_sheet
from lab.report.captions import captioned
from lab.report.sanity import OUTLIERS, SplitLook
from lab.structures.classification import ClassificationBatch, ClassificationSample, Unlabelled
from lab.tasks.classification.data.augmentation import augmented_pixels, erased_and_mixed, mixed_targets
from lab.tasks.classification.data.unlabelled import PartlyLabelled
from lab.tasks.classification.pictures import named_shares, pixels_of
from lab.tasks.classification.semi.mixmatch import moved_parts
from lab.training.browsing import BrowseCard
from lab.training.image_browser import ImageBrowser

SIDE = 224
"""Towards which images are enlarged."""


class LabelledAndNot:
    """The labelled images of a training set, then the unlabelled ones, as they are stored.

    Args:
        pairs: of both.
    """

    def __init__(self, pairs: PartlyLabelled) -> None:
        self.parts = (pairs.labelled, pairs.unlabelled)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, key: tuple[int, int]) -> ClassificationSample:
        """Return the image at ``(epoch, index)``, not moved; unlabelled ones have the label -1."""
        index, labelled = key[1], len(self.parts[0])
        part, row = (0, index) if index < labelled else (1, index - labelled)
        images, labels, ids, sizes = self.parts[part].still(np.array([row]))
        height, width = sizes[0].tolist()
        return ClassificationSample(images[0], int(labels[0]) if part == 0 else -1, int(ids[0]), (height, width))


class ClassificationBrowser(ImageBrowser):
    """Images of one class each, of several, or of one beside unlabelled images."""

    def cards(self, batch: ClassificationBatch, augmented: bool) -> Iterator[BrowseCard]:
        """Yield the images as the network reads them; beside unlabelled images each with the views of another one."""
        if not augmented:
            batch = replace(batch, moves=None, augmentation=None)
        images, labels = self.pixels(batch), mixed_targets(batch, self.spec.num_classes).labels
        views = None if batch.unlabelled is None or not augmented else self._views(batch, batch.unlabelled)
        for row in batch.valid.nonzero().flatten().tolist():
            lines = named_shares(labels[row], self.spec.class_names)
            picture = captioned(images[row], lines or [("no label", GREY)], side=SIDE)
            sizes = f"{images.shape[-1]}x{images.shape[-2]}"
            caption = f"image {int(batch.image_ids[row])}, {sizes}: {', '.join(text for text, _ in lines)}"
            if views is not None:
                others = [captioned(view, [("an unlabelled image", GREY)], side=SIDE) for view in views[:, row]]
                picture = contact_sheet([picture, *others], columns=1 + len(others), gap=4)
                caption += f", beside {len(others)} views of an unlabelled image, before they are mixed"
            yield BrowseCard(picture, caption)

    def pixels(self, batch: ClassificationBatch) -> Tensor:
        """Return the images (B, 3, H, W) uint8 that the network reads, no longer normalised."""
        images = normalize_images(augmented_pixels(batch), mean=self.spec.mean, std=self.spec.std)
        return pixels_of(erased_and_mixed(images, batch), self.spec)

    @staticmethod
    def _views(batch: ClassificationBatch, unlabelled: Unlabelled) -> Tensor:
        """Return the views (K, B, 3, H, W) of the unlabelled images."""
        return moved_parts(batch, unlabelled)[1:]

    def stored(self, split: str) -> Any:
        """Return the images of a split, labelled ones before unlabelled ones."""
        found = super().stored(split)
        return LabelledAndNot(found) if isinstance(found, PartlyLabelled) else found

    def watch(self, look: SplitLook) -> None:
        """Look for images without a label where images may have several."""
        if self.spec.multilabel:
            look.watch(OUTLIERS, "images without a label")

    def count_sample(self, look: SplitLook, sample: Any, name: str) -> str:
        """Count the classes of an image."""
        typed: ClassificationSample = sample
        if typed.shares is None:
            if typed.label < 0:
                look.facts["unlabelled images"] = look.facts.get("unlabelled images", 0) + 1
                return ""
            look.count_class(self.spec.class_names[typed.label])
            return self.spec.class_names[typed.label]
        found = typed.shares.nonzero().flatten().tolist()
        look.number("labels of an image", len(found))
        if not found:
            look.find("images without a label", name)
        for label in found:
            look.count_class(self.spec.class_names[label])
        return repr(found)
