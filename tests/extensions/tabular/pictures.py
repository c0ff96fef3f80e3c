"""Pictures: predictions plotted against true values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageDraw
from torch import Tensor

from lab.report.canvas import INK, PAPER, class_colour, picture_font
from tabular.structures import TabularBatch

SIDE, MARGIN = 320, 24


def scatter_panels(task: Any, outputs: Tensor, batch: TabularBatch, count: int) -> Iterator[Image.Image]:
    """Yield a scatter plot of a batch: true values on the x axis, predictions on the y axis, and the diagonal."""
    true, found = (task.in_unit(values[batch.valid]).cpu() for values in (batch.targets.values, outputs))
    if not count or not len(true):
        return
    least, most = min(true.min(), found.min()).item(), max(true.max(), found.max()).item()
    span = (most - least) or 1.0
    picture = Image.new("RGB", (SIDE, SIDE), PAPER)
    draw = ImageDraw.Draw(picture)
    inner = SIDE - 2 * MARGIN
    draw.rectangle((MARGIN, MARGIN, SIDE - MARGIN, SIDE - MARGIN), outline=INK)
    draw.line((MARGIN, SIDE - MARGIN, SIDE - MARGIN, MARGIN), fill=INK)
    for right, up in zip(((true - least) / span).tolist(), ((found - least) / span).tolist(), strict=True):
        x, y = MARGIN + inner * right, SIDE - MARGIN - inner * up
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=class_colour(0))
    font = picture_font(picture)
    draw.text((MARGIN, 4), f"{task.spec.target}: predicted upwards, true to the right", fill=INK, font=font)
    draw.text((MARGIN, SIDE - MARGIN + 4), f"{least:.3g} to {most:.3g}", fill=INK, font=font)
    yield picture
