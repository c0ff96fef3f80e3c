"""A material as a script has it: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from lab.geometry.mesh import Material
from lab.geometry.parameters import Parameters
from lab.ranges import Ge, Le, Probability

Rgb = tuple[Probability, Probability, Probability]


@dataclass(frozen=True, kw_only=True)
class Pattern(Parameters):
    """A texture of two colours: the material's, and a second one.

    Attributes:
        kind: squares, stripes across v, or bricks with joints of the second colour.
        color: RGB in 0..1, linear; multiplies the material's.
        repeats: of the pattern along u and v.
        pixels: of one repeat, each way.
    """

    kind: Literal["checker", "stripes", "bricks"] = "checker"
    color: Rgb = (0.2, 0.2, 0.2)
    repeats: tuple[Annotated[int, Ge(1), Le(256)], Annotated[int, Ge(1), Le(256)]] = (4, 4)
    pixels: Annotated[int, Ge(2), Le(256)] = 16

    def texture(self) -> np.ndarray:
        """Return (h, w, 3) uint8 sRGB."""
        u, v = np.meshgrid(*(np.arange(count * self.pixels) / self.pixels for count in self.repeats))
        if self.kind == "checker":
            second = (np.floor(2 * u) + np.floor(2 * v)) % 2 == 1
        elif self.kind == "stripes":
            second = np.floor(2 * v) % 2 == 1
        else:
            shifted = 2 * u + np.floor(4 * v) % 2 / 2
            second = (shifted % 1 < 0.06) | ((4 * v) % 1 < 0.12)
        linear = np.array(self.color)
        srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        picture = np.full((*u.shape, 3), 255, dtype=np.uint8)
        picture[second] = np.round(255 * srgb)
        return picture


@dataclass(frozen=True, kw_only=True)
class Paint(Parameters):
    """A material as a script has it.

    Attributes:
        name: of the slot; null names it after what it looks like, as ``rgb 0.7 0.7 0.7``.
        color: RGB in 0..1, linear.
        roughness: 0 (mirror) to 1 (matt).
        pattern: a texture over UV layer 0; null for a plain colour.
    """

    name: str | None = None
    color: Rgb = (0.7, 0.7, 0.7)
    roughness: Probability = 0.8
    pattern: Pattern | None = None

    def material(self) -> Material:
        """Return it for a mesh."""
        texture = None if self.pattern is None else self.pattern.texture()
        return Material(self._slot(), self.color, self.roughness, texture)

    def _slot(self) -> str:
        if self.name is not None:
            return self.name
        parts = ["rgb", *(f"{part:g}" if float(f"{part:g}") == part else repr(part) for part in self.color)]
        parts += [] if self.roughness == Paint.roughness else ["rough", repr(self.roughness)]
        if self.pattern is not None:
            parts += ["with", *(str(value) for value in vars(self.pattern).values())]
        return " ".join(parts)
