"""Images of classifiers with what they show and what they were taken for, and confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image, ImageDraw
from torch import Tensor

from lab.report.canvas import INK, PAPER, Colour, as_picture, picture_font
from lab.structures.classification import ClassificationBatch
from lab.text import printable

SHOWN_SIDE = 160
"""Towards which the longer side of an image on a panel is enlarged or reduced."""
GOOD: Colour = (0, 110, 40)
BAD: Colour = (190, 20, 20)


def classification_panels(task: Any, outputs: Tensor, batch: ClassificationBatch, count: int) -> Iterator[Image.Image]:
    """Yield the first images of a batch with truth and prediction below."""
    scores, found = task.scores(outputs).max(1)
    names = task.class_names
    for row in range(min(len(batch.images), count)):
        true, label, score = int(batch.targets.labels[row]), int(found[row]), float(scores[row])
        lines = [(f"{names[label]} {score:.2f}", GOOD if label == true else BAD)]
        if label != true:
            lines.append((f"true: {names[true]}", INK))
        yield captioned(batch.images[row].cpu(), lines)


def captioned(image: Tensor | Image.Image, lines: Sequence[tuple[str, Colour]]) -> Image.Image:
    """Return a picture in a readable size with lines of text below, each cut to its width.

    Args:
        image: (3, H, W) uint8 RGB, or a picture.
        lines: texts and their colours.
    """
    picture = as_picture(image)
    scale = SHOWN_SIDE / max(picture.size)
    if scale >= 2:
        size = (picture.width * int(scale), picture.height * int(scale))
        picture = picture.resize(size, Image.Resampling.NEAREST)
    elif scale < 1:
        picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    font = picture_font(picture)
    line = round(sum(font.getmetrics()) * 1.1)
    width = max(picture.width, SHOWN_SIDE)
    sheet = Image.new("RGB", (width, picture.height + line * len(lines) + 2), PAPER)
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for number, (text, colour) in enumerate(lines):
        text = printable(text)
        while len(text) > 1 and font.getlength(text) > width - 4:
            text = f"{text[:-2]}…"
        draw.text((2, picture.height + line * number), text, fill=colour, font=font, anchor="la")
    return sheet
