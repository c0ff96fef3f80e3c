"""Helpers for pictures: colours of classes, fonts, contact sheets, enlarging small images.

Small images are enlarged by a whole factor, so that pixels stay square and labels can be read.
"""

from __future__ import annotations

import colorsys
import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lab.text import printable

Colour: TypeAlias = tuple[int, int, int]

READABLE_SIDE = 256  # images whose longer side is shorter are enlarged towards this
MAX_FONT = 200  # of pictures whose longer side is above 9,000: a strip's legend would be larger than the picture
PAPER: Colour = (255, 255, 255)
INK: Colour = (20, 20, 20)
GREY: Colour = (120, 120, 120)
GOOD: Colour = (0, 110, 40)
BAD: Colour = (190, 20, 20)
MARGIN = 8  # pixels around running text


def class_colour(label: int) -> Colour:
    """Return a colour for a class; neighbours differ in hue by the golden angle, and in brightness and saturation."""
    hue = (label * 0.61803398875 + 0.98) % 1.0
    saturation, value = ((0.9, 1.0), (0.6, 1.0), (1.0, 0.72))[label // 2 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write one of many pictures as a PNG: of photos in a fifth of the time that Pillow's default takes, no larger."""
    picture.save(path, "PNG", compress_level=1, compress_type=zlib.Z_RLE)


def contact_sheet(
    pictures: Sequence[Image.Image], columns: int | None = None, gap: int = 8, max_side: int = 4096
) -> Image.Image:
    """Return one picture with all pictures in rows; cells have the size of the largest picture.

    Args:
        pictures: at least one.
        columns: pictures in a row; by default the sheet is about square.
        gap: pixels between and around the pictures.
        max_side: a sheet with a longer side is scaled down to it.

    Raises:
        ValueError: if there is no picture.
    """
    if not pictures:
        raise ValueError("contact_sheet: there is no picture to put on the sheet")
    width, height = max(p.width for p in pictures), max(p.height for p in pictures)
    if columns is None:
        columns = max(1, round(math.sqrt(len(pictures) * height / width)))
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), PAPER)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet.paste(picture, (gap + column * (width + gap), gap + row * (height + gap)))
    if max(sheet.size) > max_side:
        sheet.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return sheet


def stacked(pictures: Sequence[Image.Image], gap: int = 8, max_side: int = 16384) -> Image.Image:
    """Return one picture with all pictures below each other, each in its own height.

    Args:
        pictures: at least one.
        gap: pixels between and around the pictures.
        max_side: a picture with a longer side is scaled down to it.
    """
    height = sum(picture.height + gap for picture in pictures) + gap
    sheet = Image.new("RGB", (max(picture.width for picture in pictures) + 2 * gap, height), PAPER)
    top = gap
    for picture in pictures:
        sheet.paste(picture, (gap, top))
        top += picture.height + gap
    if max(sheet.size) > max_side:
        sheet.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return sheet


def as_picture(image: Tensor | Image.Image) -> Image.Image:
    """Return a copy of a picture, or a (3, H, W) uint8 tensor, as a picture in RGB."""
    if isinstance(image, Image.Image):
        return image.convert("RGB") if image.mode != "RGB" else image.copy()
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"an image must be (3, H, W) uint8, not {tuple(image.shape)} {image.dtype}")
    return Image.fromarray(image.detach().permute(1, 2, 0).contiguous().cpu().numpy())


def picture_font(picture: Image.Image) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font, the same on every machine, in a size that suits the picture."""
    font = ImageFont.load_default(size=min(MAX_FONT, max(12, max(picture.size) // 45)))
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType; its wheels are built with it")
    return font


def draw_text(
    spans: Sequence[tuple[str, Colour]], width: int = 640, size: int = 14, max_lines: int = 40
) -> Image.Image:
    """Return running text on paper, each part in its colour; lines break at blanks, and where the text has breaks.

    Args:
        spans: texts that follow each other, and their colours.
        width: of the picture, in pixels.
        size: of the font, in pixels.
        max_lines: the rest is left out, and an ellipsis says so.
    """
    font = ImageFont.load_default(size=size)
    lines = _broken(spans, font, width - 2 * MARGIN)
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], [("…", INK)]]
    height = round(size * 1.4)
    sheet = Image.new("RGB", (width, height * max(1, len(lines)) + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        x = float(MARGIN)
        for text, colour in line:
            draw.text((x, MARGIN + number * height), text, fill=colour, font=font, anchor="la")
            x += font.getlength(text)
    return sheet


def _broken(spans: Sequence[tuple[str, Colour]], font: Any, width: float) -> list[list[tuple[str, Colour]]]:
    """Return the lines of running text, each a list of pieces with their colours."""
    lines: list[list[tuple[str, Colour]]] = [[]]
    used = 0.0
    for text, colour in spans:
        for piece in re.findall(r"\n|[^\S\n]+|\S+", text):
            shown = "" if piece == "\n" else printable(piece.replace("\t", "    "))
            while shown and font.getlength(shown) > width:  # a word that is longer than a line
                cut = next(n for n in range(len(shown), 0, -1) if n == 1 or font.getlength(shown[:n]) <= width)
                lines += [[(shown[:cut], colour)], []]
                shown, used = shown[cut:], 0.0
            if piece == "\n" or used + font.getlength(shown) > width:
                lines.append([])
                used = 0.0
                shown = shown.lstrip()
            if shown:
                lines[-1].append((shown, colour))
                used += font.getlength(shown)
    return lines
