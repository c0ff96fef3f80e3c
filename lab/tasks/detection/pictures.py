"""Pictures of detections: the truth beside the prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lab.ops.images import resize_batch
from lab.report.canvas import (
    INK,
    PAPER,
    READABLE_SIDE,
    Colour,
    as_picture,
    class_colour,
    contact_sheet,
    picture_font,
)
from lab.structures import DetectionBatch
from lab.tasks.detection.data.sizes import targets_at
from lab.text import printable

Rectangle: TypeAlias = tuple[float, float, float, float]
SHOWN_ABOVE = 0.3
"""The lowest score of a prediction that is drawn."""
CROWDED, CROWDED_SIDE = 8, 640
"""With more boxes than the first a small image is enlarged towards the second: the labels would hide it."""


def detection_panels(task: Any, outputs: Any, batch: DetectionBatch, count: int) -> Iterator[Image.Image]:
    """Yield pictures of truth beside prediction for the first images of a batch."""
    predictions = task.net.predict(outputs, batch.targets.sizes)  # in pixels of the batch's images
    starts = [0]
    for number in batch.targets.counts:
        starts.append(starts[-1] + number)
    for row in range(min(len(batch.images), count)):
        height, width = (int(value) for value in batch.targets.sizes[row].tolist())
        image = batch.images[row, :, :height, :width].cpu()
        truth = slice(starts[row], starts[row + 1])
        shown = (batch.targets.boxes[truth], batch.targets.labels[truth])
        found = (predictions.boxes[row], predictions.labels[row], predictions.scores[row])
        yield side_by_side(image, shown, found, task.class_names, SHOWN_ABOVE)


def draw_inputs(batch: DetectionBatch, count: int, class_names: Sequence[str]) -> Image.Image:
    """Return a sheet of the first images of a training batch as the network gets them, padding included.

    Args:
        batch: of images and their targets.
        count: the largest number of images, at least 1.
        class_names: the K names.
    """
    images, targets = batch.images[:count], targets_at(batch).rows(slice(count))
    if batch.train_size is not None:
        images = resize_batch(images.float(), None, batch.train_size)[0].round().to(images.dtype)
    boxes, labels = targets.boxes.split(targets.counts), targets.labels.split(targets.counts)
    drawn = [
        draw_detections(image, found, kinds, None, class_names)
        for image, found, kinds in zip(images.cpu(), boxes, labels, strict=True)
    ]
    return contact_sheet(drawn)


def draw_detections(
    image: Tensor | Image.Image,
    boxes: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    class_names: Sequence[str],
    threshold: float = 0.0,
    scale: int | None = None,
) -> Image.Image:
    """Return a copy of an image, enlarged if it is small, with boxes and their names (and scores) drawn on it.

    Args:
        image: (3, H, W) uint8 RGB, or a picture.
        boxes: (N, 4) xyxy pixels of ``image``.
        labels: (N,) integers in 0..K-1.
        scores: (N,) in 0..1, or None for the truth.
        class_names: the K names; a label beyond them is shown as its number.
        threshold: boxes with a lower score are left out, and so are boxes that are not finite; boxes are clipped at the
            edge of the image.
        scale: how much the image is enlarged; None: as its boxes ask for, and small ones more if they are many.
    """
    picture = as_picture(image)
    entries = _entries(boxes, labels, scores, class_names, threshold)
    scale = _scale(picture, len(entries)) if scale is None else scale
    if scale > 1:
        picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    width = max(2, max(picture.size) // 300)
    font = picture_font(picture)
    draw = ImageDraw.Draw(picture)
    limits = (picture.width, picture.height) * 2
    scaled = [
        ([min(max(value * scale, 0.0), limit) for value, limit in zip(box, limits, strict=True)], label, text)
        for box, label, text in entries
    ]
    for (x1, y1, x2, y2), label, _ in reversed(scaled):  # the best last, so that it is on top
        # A box ends at the far edge of its last pixel; the line lies inside of it.
        corners = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
        draw.rectangle(corners, outline=class_colour(label), width=width)
    taken: list[Rectangle] = []
    for box, label, text in scaled:
        _draw_text(draw, (box[0], box[1], box[2], box[3]), text, class_colour(label), font, taken)
    return picture


def side_by_side(
    image: Tensor | Image.Image,
    truth: tuple[Tensor, Tensor],
    predicted: tuple[Tensor, Tensor, Tensor],
    class_names: Sequence[str],
    threshold: float = 0.5,
) -> Image.Image:
    """Return the truth (left) beside the prediction (right).

    Args:
        image: (3, H, W) uint8 RGB, or a picture.
        truth: boxes (T, 4) xyxy pixels and labels (T,).
        predicted: boxes (N, 4), labels (N,) and scores (N,).
        class_names: the K names.
        threshold: predictions with a lower score are left out.
    """
    picture = as_picture(image)
    scale = _scale(picture, max(len(truth[1]), int((predicted[2] >= threshold).sum())))
    left = draw_detections(picture, *truth, None, class_names, scale=scale)
    right = draw_detections(picture, *predicted, class_names, threshold, scale)
    font = picture_font(left)
    header = math.ceil(sum(font.getmetrics()) * 1.3)
    gap = max(4, left.width // 64)
    sheet = Image.new("RGB", (left.width + gap + right.width, left.height + header), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, caption, half in ((0, "truth", left), (left.width + gap, f"prediction (score >= {threshold:g})", right)):
        draw.text((place + 2, header // 2), caption, fill=INK, font=font, anchor="lm")
        sheet.paste(half, (place, header))
    return sheet


def _scale(picture: Image.Image, count: int) -> int:
    """Return how much a picture with so many boxes is enlarged."""
    return max(1, (CROWDED_SIDE if count > CROWDED else READABLE_SIDE) // max(picture.size))


def _entries(
    boxes: Tensor, labels: Tensor, scores: Tensor | None, class_names: Sequence[str], threshold: float
) -> list[tuple[list[float], int, str]]:
    """Return (box, label, text) of the boxes to draw, highest score first."""
    values = [1.0] * len(labels) if scores is None else scores.detach().float().cpu().tolist()
    rows = zip(boxes.detach().float().cpu().tolist(), labels.detach().cpu().tolist(), values, strict=True)
    entries = []
    finite = [row for row in rows if all(map(math.isfinite, (*row[0], row[2])))]
    for box, label, score in sorted(finite, key=lambda row: -row[2]):
        name = printable(class_names[label]) if 0 <= label < len(class_names) else str(label)
        if scores is None:
            entries.append((box, label, name))
        elif score >= threshold:
            entries.append((box, label, f"{name} {score:.2f}"))
    return entries


def _draw_text(
    draw: ImageDraw.ImageDraw,
    box: Rectangle,
    text: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont,
    taken: list[Rectangle],
) -> None:
    """Write a label at the first free place: above its box, inside at the top or bottom, below; else above."""
    width, height = font.getlength(text) + 4, float(sum(font.getmetrics()))
    canvas = draw.im.size if draw.im is not None else (0, 0)
    x = min(max(0.0, box[0]), max(0.0, canvas[0] - width))
    lowest = max(0.0, canvas[1] - height)
    places = [min(max(0.0, y), lowest) for y in (box[1] - height, box[1], box[3] - height, box[3])]
    y = next((y for y in places if not any(_meet((x, y, x + width, y + height), other) for other in taken)), places[0])
    taken.append((x, y, x + width, y + height))
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
    red, green, blue = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    draw.text((x + 2, y + height / 2), text, fill=INK if bright else PAPER, font=font, anchor="lm")


def _meet(first: Rectangle, second: Rectangle) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
