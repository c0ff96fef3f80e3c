"""Two-dimensional incompressible flow on a periodic square, by its vorticity: a pseudo-spectral solver.

w_t + u . grad w = nu lap w + f, with u = (psi_y, -psi_x) and lap psi = -w, on [0, 1)^2. Products are taken at the
points of the grid, and waves above two thirds of those that it holds are set to zero, so that no product folds back
onto a wave that is kept (Orszag, 1971). Viscosity is integrated exactly (integrating factor), the rest by Runge-Kutta
of order four.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Flow:
    """The equation and the grid on which it is solved. The first axis of a field is x, the second y.

    Attributes:
        points: n, of each axis.
        viscosity: nu.
        forcing: the amplitude a of ``f = a (sin 2 pi (x + y) + cos 2 pi (x + y))`` (Li et al., ICLR 2021).
    """

    points: int
    viscosity: float
    forcing: float = 0.0

    @cached_property
    def waves(self) -> tuple[Tensor, Tensor]:
        """2 pi times the wave numbers of x (n, 1) and of y (n // 2 + 1)."""
        x = torch.fft.fftfreq(self.points, 1 / self.points, dtype=torch.float64)[:, None]
        y = torch.fft.rfftfreq(self.points, 1 / self.points, dtype=torch.float64)
        return 2 * math.pi * x, 2 * math.pi * y

    @cached_property
    def squared(self) -> Tensor:
        """The squared length of each wave vector."""
        x, y = self.waves
        return x.square() + y.square()

    @cached_property
    def kept(self) -> Tensor:
        """1 for the waves that are kept, 0 for the others: those above a third of n, and the mean."""
        x, y = self.waves
        most = 2 * math.pi * ((self.points - 1) // 3) * (1 + 1e-9)
        found = ((x.abs() <= most) & (y.abs() <= most)).double()
        found[0, 0] = 0
        return found

    @cached_property
    def force(self) -> Tensor:
        """F in Fourier space."""
        places = torch.arange(self.points, dtype=torch.float64) / self.points
        angle = 2 * math.pi * (places[:, None] + places)
        return self.spectrum(self.forcing * (angle.sin() + angle.cos()))

    def spectrum(self, fields: Tensor) -> Tensor:
        """Return the waves that are kept of real fields (..., n, n)."""
        found: Tensor = torch.fft.rfft2(fields) * self.kept
        return found

    def fields(self, spectrum: Tensor) -> Tensor:
        """Return real fields (..., n, n) of a spectrum."""
        found: Tensor = torch.fft.irfft2(spectrum, s=(self.points, self.points))
        return found

    def velocity(self, vorticity: Tensor) -> tuple[Tensor, Tensor]:
        """Return the velocities along x and y, real (..., n, n), for the spectrum of a vorticity."""
        x, y = self.waves
        stream = vorticity / self.squared.clamp(min=1.0)
        return self.fields(1j * y * stream), self.fields(-1j * x * stream)

    def change(self, vorticity: Tensor) -> Tensor:
        """Return the rate of change of a spectrum without viscosity: -u . grad w + f.

        The curl of the divergence of u u needs two transforms each way (Basdevant, 1983).
        """
        x, y = self.waves
        along_x, along_y = self.velocity(vorticity)
        mixed = torch.fft.rfft2(along_x * along_y)
        apart = torch.fft.rfft2(along_y.square() - along_x.square())
        return ((x.square() - y.square()) * mixed + x * y * apart) * self.kept + self.force

    def advance(self, vorticity: Tensor, time: float, steps: int) -> Tensor:
        """Return the spectrum of a vorticity some time later.

        Args:
            vorticity: (..., n, n // 2 + 1).
            time: how much later.
            steps: of the solver.
        """
        step = time / steps
        half = torch.exp(-self.viscosity * self.squared * step / 2)
        whole = half.square()
        for _ in range(steps):
            first = self.change(vorticity)
            damped = half * vorticity
            second = self.change(damped + (step / 2) * half * first)
            third = self.change(damped + (step / 2) * second)
            fourth = self.change(half * (damped + step * third))
            vorticity = whole * vorticity + (step / 6) * (whole * first + 2 * half * (second + third) + fourth)
        return vorticity
