"""Pictures that move: frames that become a GIF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

COLOURS = 128
"""Of a GIF; all frames share them, so that a colour means the same throughout."""


@dataclass(frozen=True)
class Animation:
    """Frames of one size, shown over and over.

    Attributes:
        frames: at least one.
        frames_per_second: how fast.
    """

    frames: Sequence[Image.Image]
    frames_per_second: int = 6

    def save(self, path: Path) -> None:
        """Write a GIF."""
        rgb = [frame.convert("RGB") for frame in self.frames]
        first, last = rgb[0], rgb[-1]
        both = Image.new("RGB", (first.width, first.height * 2))  # the colours of the beginning and of the end
        both.paste(first, (0, 0))
        both.paste(last, (0, first.height))
        palette = both.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
        frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in rgb]
        pause = round(1000 / self.frames_per_second)
        frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=pause, loop=0)


def save_picture(picture: Image.Image | Animation, stem: Path) -> Path:
    """Write a picture as PNG, or an animation as GIF, beside ``stem``, and return its path."""
    path = stem.with_name(stem.name + (".gif" if isinstance(picture, Animation) else ".png"))
    picture.save(path)
    return path
