"""Random periodic fields as sums of waves, which can be evaluated at the points of any grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

TURN = 2 * math.pi
Amplitudes = npt.NDArray[np.complex128]


@dataclass(frozen=True)
class RandomWaves:
    """A distribution of fields of mean 0 on a periodic interval or square of side 1.

    Attributes:
        axes: 1 or 2.
        waves: K, the highest wave number of each axis.
        scale: see ``decay``.
        decay: the deviation of a wave falls with its wave number k as ``(scale^2 + |k|^2) ** -decay``.
        deviation: of the field.
    """

    axes: int
    waves: int
    scale: float = 1.0
    decay: float = 1.0
    deviation: float = 1.0

    @cached_property
    def wave_numbers(self) -> tuple[npt.NDArray[np.int64], ...]:
        """-K to K of each axis, but 0 to K of the last: a real field has the others' conjugates."""
        both = np.arange(-self.waves, self.waves + 1)
        return (*[both] * (self.axes - 1), np.arange(self.waves + 1))

    @cached_property
    def deviations(self) -> npt.NDArray[np.float64]:
        """The deviation of each wave's real and imaginary part."""
        mesh = np.meshgrid(*self.wave_numbers, indexing="ij")
        found = (self.scale**2 + sum(axis.astype(np.float64) ** 2 for axis in mesh)) ** -self.decay
        found[tuple(int(np.flatnonzero(axis == 0)[0]) for axis in self.wave_numbers)] = 0  # the mean
        return np.asarray(self.deviation * found / math.sqrt((found**2).sum()))

    def draw(self, random: np.random.Generator) -> Amplitudes:
        """Return the amplitudes of a field's waves."""
        real, imaginary = random.standard_normal((2, *self.deviations.shape))
        return np.asarray(self.deviations * (real + 1j * imaginary))

    def on_grid(self, amplitudes: Amplitudes, grid: Sequence[int]) -> npt.NDArray[np.float64]:
        """Return fields (..., *grid) at the points ``i / n`` of each axis, for amplitudes (..., *waves)."""
        found, first = amplitudes, amplitudes.ndim - self.axes
        for axis, (numbers, points) in enumerate(zip(self.wave_numbers, grid, strict=True), first):
            waves = np.exp(1j * TURN * np.outer(np.arange(points) / points, numbers))
            found = np.moveaxis(np.tensordot(found, waves, axes=(axis, 1)), -1, axis)
        return np.ascontiguousarray(found.real)
