"""Curves over a pair of axes, drawn with Pillow: errors against lead time, spectra, profiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from lab.report.canvas import GREY, INK, PAPER, Colour, class_colour
from lab.text import printable

FONT = 12
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 26, 38  # pixels around the axes
DASH = 5


@dataclass(frozen=True)
class Curve:
    """A line through points; one that is not finite, or not above 0 on a logarithmic axis, interrupts it.

    Attributes:
        name: for the legend.
        x: of the points.
        y: of the points.
        dashed: for what is compared with.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """The range of an axis; with ``is_log`` it is one of logarithms."""

    low: float
    high: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return where a value stands, from 0 to 1; NaN where it has no place."""
        if not math.isfinite(value) or (self.is_log and value <= 0):
            return math.nan
        if self.is_log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return round values within the range: three to eight of them, or powers of ten."""
        if self.is_log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            apart = max(1, (last - first) // 6)
            powers = [10.0**power for power in range(first, last + 1, apart)]
            found = [value for value in powers if self.low <= value * 1.0001 and value <= self.high * 1.0001]
            return found if len(found) > 1 else [self.low, self.high]
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        apart_by = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
        first = math.ceil(self.low / apart_by - 1e-9)
        return [step * apart_by for step in range(first, math.floor(self.high / apart_by + 1e-9) + 1)]


def axis_of(values: Sequence[float], is_log: bool = False, zero: bool = False) -> Axis:
    """Return an axis that holds all finite values; with ``zero`` it begins at 0."""
    kept = [value for value in values if math.isfinite(value) and (value > 0 or not is_log)]
    low, high = (min(kept), max(kept)) if kept else (1.0, 10.0)
    low = min(0.0, low) if zero and not is_log else low
    if low == high:
        low, high = (low / 2, high * 2) if is_log else (low - 0.5, high + 0.5)
    return Axis(low, high, is_log)


def draw_curves(
    curves: Sequence[Curve],
    title: str = "",
    labels: tuple[str, str] = ("", ""),
    logs: tuple[bool, bool] = (False, False),
    size: tuple[int, int] = (560, 340),
    y_axis: Axis | None = None,
) -> Image.Image:
    """Return a picture of curves with a legend.

    Args:
        curves: what is drawn.
        title: above the axes.
        labels: of the axes, x and y.
        logs: whether each axis is logarithmic.
        size: of the picture in pixels.
        y_axis: the range of y; None: that of the curves.
    """
    picture = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=FONT)
    frame = (LEFT, TOP, size[0] - RIGHT, size[1] - BOTTOM)
    x_axis = axis_of([value for curve in curves for value in curve.x], logs[0])
    y_axis = y_axis or axis_of([value for curve in curves for value in curve.y], logs[1], zero=not logs[1])
    draw.text((LEFT, TOP // 2), printable(title), fill=INK, font=font, anchor="lm")
    _draw_axes(draw, frame, x_axis, y_axis, labels)
    for number, curve in enumerate(curves):
        _draw_line(draw, frame, x_axis, y_axis, curve, class_colour(number))
    _draw_legend(draw, frame, curves)
    return picture


def _draw_axes(
    draw: ImageDraw.ImageDraw, frame: tuple[int, int, int, int], x: Axis, y: Axis, labels: tuple[str, str]
) -> None:
    left, top, right, bottom = frame
    font, faint = ImageFont.load_default(size=FONT), (228, 228, 228)
    for value in x.ticks():
        place = left + x.place(value) * (right - left)
        draw.line([(place, top), (place, bottom)], fill=faint)
        draw.text((place, bottom + 4), f"{value:g}", fill=GREY, font=font, anchor="ma")
    for value in y.ticks():
        place = bottom - y.place(value) * (bottom - top)
        draw.line([(left, place), (right, place)], fill=faint)
        draw.text((left - 4, place), f"{value:.3g}", fill=GREY, font=font, anchor="rm")
    draw.rectangle(frame, outline=GREY)
    draw.text(((left + right) / 2, bottom + BOTTOM - 4), printable(labels[0]), fill=INK, font=font, anchor="ms")
    draw.text((2, top - 4), printable(labels[1]), fill=INK, font=font, anchor="ls")


def _draw_line(
    draw: ImageDraw.ImageDraw, frame: tuple[int, int, int, int], x: Axis, y: Axis, curve: Curve, colour: Colour
) -> None:
    left, top, right, bottom = frame
    before: tuple[float, float] | None = None
    for one, two in zip(curve.x, curve.y, strict=True):
        across, up = x.place(one), y.place(two)
        if math.isnan(across) or math.isnan(up):
            before = None
            continue
        up = min(1.0, max(0.0, up))
        point = (left + across * (right - left), bottom - up * (bottom - top))
        if before is None:
            draw.ellipse([point[0] - 1, point[1] - 1, point[0] + 1, point[1] + 1], fill=colour)
        elif curve.dashed:
            _dash(draw, before, point, colour)
        else:
            draw.line([before, point], fill=colour, width=2)
        before = point


def _dash(draw: ImageDraw.ImageDraw, first: tuple[float, float], last: tuple[float, float], colour: Colour) -> None:
    length = math.dist(first, last)
    for begin in range(0, math.ceil(length), 2 * DASH):
        ends = [begin / length, min(begin + DASH, length) / length]
        points = [(first[0] + end * (last[0] - first[0]), first[1] + end * (last[1] - first[1])) for end in ends]
        draw.line(points, fill=colour, width=2)


def _draw_legend(draw: ImageDraw.ImageDraw, frame: tuple[int, int, int, int], curves: Sequence[Curve]) -> None:
    """Write the names above the axes, from the right."""
    font, place = ImageFont.load_default(size=FONT), float(frame[2])
    for number, curve in reversed(list(enumerate(curves))):
        place -= font.getlength(printable(curve.name))
        draw.text((place, TOP // 2), printable(curve.name), fill=INK, font=font, anchor="lm")
        middle = TOP // 2
        if curve.dashed:
            _dash(draw, (place - 22, middle), (place - 4, middle), class_colour(number))
        else:
            draw.line([(place - 22, middle), (place - 4, middle)], fill=class_colour(number), width=2)
        place -= 32
