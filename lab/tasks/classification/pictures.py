"""Images of classifiers with what they show and what they were taken for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from lab.report.canvas import BAD, GOOD, INK, Colour, contact_sheet
from lab.report.captions import captioned
from lab.structures.classification import ClassificationBatch, ClassificationSpec
from lab.tasks.classification.explain import with_heat


def classification_panels(task: Any, outputs: Tensor, batch: ClassificationBatch, count: int) -> Iterator[Image.Image]:
    """Yield the first images of a batch with truth and prediction below."""
    if task.spec.multilabel:
        yield from _panels_of_sets(task, outputs, batch, count)
        return
    scores, found = task.scores(outputs).max(1)
    names = task.class_names
    for row in range(min(len(batch.images), count)):
        true, label, score = int(batch.targets.labels[row]), int(found[row]), float(scores[row])
        lines = [(f"{names[label]} {score:.2f}", GOOD if label == true else BAD)]
        if label != true:
            lines.append((f"true: {names[true]}", INK))
        yield captioned(batch.images[row].cpu(), lines)


def _panels_of_sets(task: Any, outputs: Tensor, batch: ClassificationBatch, count: int) -> Iterator[Image.Image]:
    """Yield the first images of several labels each: those predicted, the wrong ones of them, and those missed."""
    predicted = (task.scores(outputs[:count]) > task.threshold).cpu()
    truth = batch.targets.labels[:count].cpu() > 0.5
    for row, (found, true) in enumerate(zip(predicted, truth, strict=True)):
        right, wrong, missed = (
            ", ".join(task.class_names[label] for label in part.nonzero().flatten().tolist())
            for part in (found & true, found & ~true, true & ~found)
        )
        lines = [(right or "-", GOOD)] if right or not (wrong or missed) else []
        lines += [(f"wrong: {wrong}", BAD)] if wrong else []
        lines += [(f"missed: {missed}", INK)] if missed else []
        yield captioned(batch.images[row].cpu(), lines)


def draw_mistakes(
    mistakes: Sequence[tuple[float, int, int, Tensor]], names: Sequence[str], heat: Tensor | None = None
) -> Image.Image:
    """Return a sheet of images that were surely taken for a wrong class.

    Args:
        mistakes: probability, true label, predicted label and image (3, H, W) uint8 of each.
        names: of the classes.
        heat: (N, h, w) from 0 to 1, of what the network has looked at.
    """
    return contact_sheet(
        [
            captioned(
                with_heat(image, None if heat is None else heat[row]),
                [(f"{names[found]} {score:.2f}", BAD), (f"true: {names[true]}", INK)],
                across=1 if heat is None else 2,
            )
            for row, (score, true, found, image) in enumerate(mistakes)
        ]
    )


def draw_inputs(images: Tensor, labels: Tensor, spec: ClassificationSpec) -> Image.Image:
    """Return a sheet of training images as a network gets them, each with its classes.

    Args:
        images: (B, 3, H, W) normalised.
        labels: (B,) int64, or (B, K) shares of classes, of which the three largest are named.
        spec: of the data.
    """
    named = (named_shares(label, spec.class_names) for label in labels)
    return contact_sheet([captioned(image, lines) for image, lines in zip(pixels_of(images, spec), named, strict=True)])


def pixels_of(images: Tensor, spec: ClassificationSpec) -> Tensor:
    """Return normalised images (B, 3, H, W) as uint8 pixels on the host."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) * 255 for values in (spec.mean, spec.std))
    return (images.float() * std + mean).round_().clamp_(0, 255).to(torch.uint8).cpu()


def named_shares(label: Tensor, names: Sequence[str]) -> list[tuple[str, Colour]]:
    """Return lines with the three largest of an image's classes.

    Args:
        label: () int64, negative where none is known; or (K) shares.
        names: of the K classes.
    """
    shares = {int(label): 1.0} if label.ndim == 0 else dict(enumerate(label.tolist()))
    largest = [item for item in sorted(shares.items(), key=lambda item: -item[1])[:3] if item[0] >= 0 and item[1] > 0]
    return [(names[number] + ("" if share == 1 else f" {share:.2f}"), INK) for number, share in largest]
