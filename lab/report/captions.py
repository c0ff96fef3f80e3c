"""Pictures with lines of text below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw
from torch import Tensor

from lab.report.canvas import PAPER, Colour, as_picture, picture_font
from lab.text import printable

SHOWN_SIDE = 160
"""Towards which the longer side of an image on a panel is enlarged or reduced."""


def captioned(
    image: Tensor | Image.Image, lines: Sequence[tuple[str, Colour]], across: int = 1, side: int = SHOWN_SIDE
) -> Image.Image:
    """Return a picture in a readable size with lines of text below, each cut to its width.

    Args:
        image: (3, H, W) uint8 RGB, or a picture.
        lines: texts and their colours.
        across: how many pictures of one size stand side by side in it.
        side: towards which the longer side of each is enlarged or reduced, and the least width.
    """
    picture = as_picture(image)
    scale = side / max(picture.width / across, picture.height)
    if scale >= 2:
        size = (picture.width * int(scale), picture.height * int(scale))
        picture = picture.resize(size, Image.Resampling.NEAREST)
    elif scale < 1:
        picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    font = picture_font(picture)
    line = round(sum(font.getmetrics()) * 1.1)
    width = max(picture.width, side)
    sheet = Image.new("RGB", (width, picture.height + line * len(lines) + 2), PAPER)
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for number, (text, colour) in enumerate(lines):
        shown = cut_to(printable(text), font, width - 4)
        draw.text((2, picture.height + line * number), shown, fill=colour, font=font, anchor="la")
    return sheet


def cut_to(text: str, font: Any, width: float) -> str:
    """Return a text, shortened with an ellipsis to a width in pixels."""
    while len(text) > 1 and font.getlength(text) > width:
        text = f"{text[:-2]}…"
    return text
