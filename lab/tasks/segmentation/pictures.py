"""Pictures of segmentations: classes as colours over the image, truth beside prediction, and a legend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lab.report.canvas import (
    INK,
    PAPER,
    READABLE_SIDE,
    as_picture,
    class_colour,
    picture_font,
)
from lab.structures import NO_SEGMENT, SegmentationBatch, Segments
from lab.text import printable

OPACITY = 0.6
Bytes = npt.NDArray[np.uint8]


def palette(num_classes: int) -> Bytes:
    """Return (K, 3) uint8, the colour of each class."""
    return np.array([class_colour(label) for label in range(num_classes)], dtype=np.uint8).reshape(-1, 3)


def draw_classes(
    image: Tensor | Image.Image, classes: Tensor, num_classes: int, segments: Tensor | None = None
) -> Image.Image:
    """Return an image in grey, enlarged if it is small, overlaid with the colours of its classes.

    Args:
        image: (3, h, w) uint8 RGB, or a picture.
        classes: (h, w) integers, negative where nothing is drawn.
        num_classes: K.
        segments: (h, w) integers whose borders are drawn in white; None draws the borders of the classes.
    """
    picture = as_picture(image).convert("RGB")
    pixels, grey = np.asarray(picture), np.asarray(picture.convert("L"))[..., None]
    labels = classes.cpu().numpy().astype(np.int64)
    colours = palette(max(num_classes, 1))[labels.clip(0, max(num_classes, 1) - 1)]
    mixed = (OPACITY * colours + (1 - OPACITY) * grey).round().astype(np.uint8)
    drawn = np.where((labels >= 0)[..., None], mixed, pixels)
    scale = max(1, READABLE_SIDE // max(labels.shape))
    drawn = drawn.repeat(scale, 0).repeat(scale, 1)
    numbers = labels if segments is None else segments.cpu().numpy().astype(np.int64)
    drawn[_borders(numbers.repeat(scale, 0).repeat(scale, 1))] = 255
    return Image.fromarray(drawn)


def _borders(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return where a pixel's number differs from that of its right or lower neighbour."""
    border = np.zeros(numbers.shape, dtype=np.bool_)
    border[:, :-1] |= numbers[:, :-1] != numbers[:, 1:]
    border[:-1] |= numbers[:-1] != numbers[1:]
    return border


def segment_classes(segments: Tensor, labels: Tensor) -> Tensor:
    """Return the class (h, w) int64 of each pixel of a map of segments, -1 where there is none."""
    if not len(labels):
        return torch.full_like(segments, NO_SEGMENT, dtype=torch.int64)
    numbers = segments.long()
    return torch.where(numbers < 0, -1, labels[numbers.clamp(min=0)])


def truth_and_prediction(
    image: Tensor,
    truth: tuple[Tensor, Tensor],
    predicted: Tensor,
    class_names: Sequence[str],
    panoptic: Segments | None = None,
) -> Image.Image:
    """Return image, truth and prediction side by side, with a legend of their classes below.

    Args:
        image: (3, h, w) uint8 RGB.
        truth: segments (h, w) and their labels (n,).
        predicted: (h, w) classes.
        class_names: the K names.
        panoptic: the prediction's segments; if given, their borders are drawn.
    """
    size = len(class_names)
    true = segment_classes(*truth)
    found = predicted.long() if panoptic is None else segment_classes(panoptic.segments, panoptic.labels)
    parts = [
        draw_classes(image, torch.full_like(true, -1), size, torch.zeros_like(true)),
        draw_classes(image, true, size, truth[0]),
        draw_classes(image, found, size, None if panoptic is None else panoptic.segments),
    ]
    present = sorted({*true.unique().tolist(), *found.unique().tolist()} - {-1})
    return _with_legend(parts, ("image", "truth", "prediction"), [(class_names[label], label) for label in present])


def with_legend(picture: Image.Image, present: Sequence[tuple[str, int]]) -> Image.Image:
    """Return a picture with the names and colours of classes below it."""
    return _with_legend([picture], ("",), present)


def _with_legend(
    parts: Sequence[Image.Image], captions: Sequence[str], present: Sequence[tuple[str, int]]
) -> Image.Image:
    gap = max(4, parts[0].width // 64)
    font = picture_font(parts[0])
    line = round(sum(font.getmetrics()) * 1.3)
    header = line if any(captions) else 0
    width = sum(part.width for part in parts) + gap * (len(parts) - 1)
    present = [(printable(name), label) for name, label in present]
    places, rows = _lay_out([(name, round(font.getlength(name)) + 2 * line) for name, _ in present], width)
    sheet = Image.new("RGB", (width, header + parts[0].height + rows * line + (gap if rows else 0)), PAPER)
    draw = ImageDraw.Draw(sheet)
    left = 0
    for part, caption in zip(parts, captions, strict=True):
        draw.text((left + 2, header // 2), caption, fill=INK, font=font, anchor="lm")
        sheet.paste(part, (left, header))
        left += part.width + gap
    top = header + parts[0].height + gap
    for (name, label), (x, row) in zip(present, places, strict=True):
        y = top + row * line
        draw.rectangle((x, y + 2, x + line - 4, y + line - 4), fill=class_colour(label), outline=INK)
        draw.text((x + line, y + line // 2), name, fill=INK, font=font, anchor="lm")
    return sheet


def _lay_out(entries: Sequence[tuple[str, int]], width: int) -> tuple[list[tuple[int, int]], int]:
    """Lay out entries in rows of ``width``: return the place (x, row) of each, and the number of rows."""
    places, x, row = [], 0, 0
    for _, needed in entries:
        if x and x + needed > width:
            x, row = 0, row + 1
        places.append((x, row))
        x += needed
    return places, row + 1 if entries else 0


def segmentation_panels(task: Any, outputs: Any, batch: SegmentationBatch, count: int) -> Iterator[Image.Image]:
    """Yield image, truth and prediction for the first images of a batch."""
    where = (outputs, batch.targets.sizes, batch.targets.sizes)  # in pixels of the batch's images
    maps = task.net.semantic(*where)
    panoptic = task.net.panoptic(*where, task.spec.thing_labels) if task.eval_settings["panoptic"] else None
    labels = batch.targets.labels.split(list(batch.targets.counts))
    for row in range(min(len(batch.images), count)):
        height, width = maps[row].shape
        image = batch.images[row, :, :height, :width].cpu()
        truth = (batch.targets.segments[row, :height, :width].cpu(), labels[row].cpu())
        segments = None if panoptic is None else panoptic[row].to("cpu")
        yield truth_and_prediction(image, truth, maps[row].cpu(), task.class_names, segments)
