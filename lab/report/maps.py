"""Maps of fields in colours, with a bar that says what they mean."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from lab.report.canvas import GREY, INK, PAPER, READABLE_SIDE, Colour
from lab.text import printable

Values = npt.NDArray[np.floating]
RISING: tuple[Colour, ...] = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Dark to bright, even in brightness: for values."""
AROUND_0: tuple[Colour, ...] = ((33, 72, 160), (138, 178, 218), (250, 250, 250), (236, 150, 118), (158, 20, 38))
"""Blue, white, red: for differences."""
NOT_FINITE: Colour = (255, 0, 255)
FONT, BAR, HEADER = 12, 10, 18


def colours_of(values: Values, low: float, high: float, palette: tuple[Colour, ...] = RISING) -> npt.NDArray[np.uint8]:
    """Return the colours (..., 3) of values; those beyond the range have the colours of its ends.

    Args:
        values: (...), any numbers; those that are not finite are magenta.
        low: has the first colour.
        high: has the last one.
        palette: colours between which those of the values lie.
    """
    finite = np.isfinite(values)
    shares = np.clip((np.where(finite, values, low) - low) / ((high - low) or 1.0), 0, 1) * (len(palette) - 1)
    anchors = np.array(palette, dtype=np.float64)
    mixed = np.stack([np.interp(shares, np.arange(len(palette)), anchors[:, part]) for part in range(3)], -1)
    return np.where(finite[..., None], mixed.round(), NOT_FINITE).astype(np.uint8)


def range_of(*fields: Values) -> tuple[float, float]:
    """Return the smallest and the largest finite value of fields; 0 and 1 where there is none."""
    finite = [field[np.isfinite(field)] for field in fields]
    kept = [field for field in finite if field.size]
    if not kept:
        return 0.0, 1.0
    return min(float(field.min()) for field in kept), max(float(field.max()) for field in kept)


def draw_map(
    field: Values, low: float, high: float, title: str = "", palette: tuple[Colour, ...] = RISING
) -> Image.Image:
    """Return a map with a title above and a colour bar below; small fields are enlarged by a whole factor.

    Args:
        field: (H, W), its first row at the top.
        low: the value of the first colour.
        high: that of the last one.
        title: what it shows.
        palette: its colours.
    """
    scale = max(1, READABLE_SIDE // max(field.shape))
    pixels = colours_of(field, low, high, palette).repeat(scale, 0).repeat(scale, 1)
    height, width = pixels.shape[:2]
    picture = Image.new("RGB", (max(width, READABLE_SIDE // 2), HEADER + height + 4 + BAR + HEADER), PAPER)
    picture.paste(Image.fromarray(pixels), (0, HEADER))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=FONT)
    draw.text((1, HEADER // 2), printable(title), fill=INK, font=font, anchor="lm")
    top = HEADER + height + 4
    bar = colours_of(np.broadcast_to(np.linspace(low, high, picture.width), (BAR, picture.width)), low, high, palette)
    picture.paste(Image.fromarray(np.ascontiguousarray(bar)), (0, top))
    line = top + BAR + HEADER // 2
    places = ((0, low, "lm"), (picture.width / 2, (low + high) / 2, "mm"), (picture.width - 1, high, "rm"))
    for place, value, anchor in places:
        text = f"{value:.3g}" if math.isfinite(value) else ""
        draw.text((place, line), text, fill=GREY, font=font, anchor=anchor)
    return picture
