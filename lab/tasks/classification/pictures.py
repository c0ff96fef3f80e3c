"""Images of classifiers with what they show and what they were taken for, and confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lab.report.canvas import BAD, GOOD, INK, PAPER, Colour, as_picture, contact_sheet, picture_font
from lab.structures.classification import ClassificationBatch, ClassificationSpec
from lab.tasks.classification.explain import with_heat
from lab.text import printable

SHOWN_SIDE = 160
"""Towards which the longer side of an image on a panel is enlarged or reduced."""


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
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) * 255 for values in (spec.mean, spec.std))
    pixels = (images.float() * std + mean).round_().clamp_(0, 255).to(torch.uint8).cpu()
    panels = []
    for image, label in zip(pixels, labels.tolist(), strict=True):
        shares = {label: 1.0} if isinstance(label, int) else dict(enumerate(label))
        largest = [item for item in sorted(shares.items(), key=lambda item: -item[1])[:3] if item[1] > 0]
        named = [spec.class_names[number] + ("" if share == 1 else f" {share:.2f}") for number, share in largest]
        panels.append(captioned(image, [(text, INK) for text in named]))
    return contact_sheet(panels)


def draw_confusion(confusion: Tensor, names: Sequence[str]) -> Image.Image:
    """Return the confusion matrix, each row shaded by its shares: right ones green, wrong ones red.

    Args:
        confusion: (K, K) int64, true classes in rows.
        names: of the classes; drawn where there is room for them.
    """
    count = len(names)
    side = max(1, min(44, 1200 // count))
    shares = (confusion.double() / confusion.sum(1, keepdim=True).clamp(min=1)).tolist()
    font = ImageFont.load_default(size=12)
    named = side >= font.getbbox("0")[3]
    texts = [_cut(printable(name), font, 140) for name in names] if named else []
    margin = round(max(map(font.getlength, texts))) + 10 if texts else 16
    sheet = Image.new("RGB", (margin + side * count + 2, margin + side * count + 2), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, cells in enumerate(shares):
        for column, share in enumerate(cells):
            colour = _shade(GOOD if row == column else BAD, share)
            x, y = margin + column * side, margin + row * side
            draw.rectangle((x, y, x + side - 1, y + side - 1), fill=colour)
            number = str(int(confusion[row, column]))
            if share and font.getlength(number) < side:
                ink = PAPER if share > 0.5 else INK
                draw.text((x + side // 2, y + side // 2), number, fill=ink, font=font, anchor="mm")
    for row, text in enumerate(texts):
        draw.text((margin - 4, margin + row * side + side // 2), text, fill=INK, font=font, anchor="rm")
    if texts:
        sheet.paste(_sideways(texts, font, margin, side), (margin, 0))
    draw.text((2, 2), "true: rows" if margin > 70 else "", fill=INK, font=font)
    draw.rectangle((margin - 1, margin - 1, margin + side * count, margin + side * count), outline=INK)
    return sheet


def _sideways(texts: Sequence[str], font: Any, height: int, side: int) -> Image.Image:
    """Return the names above the columns, read from below."""
    strip = Image.new("RGB", (height, side * len(texts)), PAPER)
    draw = ImageDraw.Draw(strip)
    for column, text in enumerate(texts):
        draw.text((4, side * column + side // 2), text, fill=INK, font=font, anchor="lm")
    return strip.transpose(Image.Transpose.ROTATE_90)


def _shade(colour: Colour, share: float) -> Colour:
    red, green, blue = (round(255 + (part - 255) * share) for part in colour)
    return red, green, blue


def _cut(text: str, font: Any, width: float) -> str:
    while len(text) > 1 and font.getlength(text) > width:
        text = f"{text[:-2]}…"
    return text


def captioned(image: Tensor | Image.Image, lines: Sequence[tuple[str, Colour]], across: int = 1) -> Image.Image:
    """Return a picture in a readable size with lines of text below, each cut to its width.

    Args:
        image: (3, H, W) uint8 RGB, or a picture.
        lines: texts and their colours.
        across: how many pictures of one size stand side by side in it.
    """
    picture = as_picture(image)
    scale = SHOWN_SIDE / max(picture.width / across, picture.height)
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
        shown = _cut(printable(text), font, width - 4)
        draw.text((2, picture.height + line * number), shown, fill=colour, font=font, anchor="la")
    return sheet
