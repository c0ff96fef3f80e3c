"""Confusion matrices as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lab.report.canvas import BAD, GOOD, INK, PAPER, Colour
from lab.report.captions import cut_to
from lab.text import printable


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
    texts = [cut_to(printable(name), font, 140) for name in names] if named else []
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
