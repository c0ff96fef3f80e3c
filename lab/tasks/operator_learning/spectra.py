"""Power spectra of fields: how much of their variance each scale holds, for prediction and truth.

A spectrum adds up to the mean square of its field (Parseval), weighted by latitude where rows have one. Forecasts that
lose small scales lie below the truth at high wave numbers; those about to diverge lie above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.strategies import collectives
from lab.structures import Table
from lab.structures.operator_learning import FieldSpec
from lab.tasks.operator_learning.criterion import latitude_weights


def wave_numbers(grid: Sequence[int], zonal: bool) -> Tensor:
    """Return the rounded wave number of each coefficient of ``rfftn``, (W // 2 + 1) or (H, W // 2 + 1) int64.

    They count waves along the longer side of the grid; zonal ones are of the last axis alone.

    Args:
        grid: (N,) or (H, W).
        zonal: along rows alone.
    """
    last = torch.fft.rfftfreq(grid[-1], d=1.0, dtype=torch.float64)
    if zonal or len(grid) == 1:
        return (last * grid[-1]).round().long()
    across = torch.fft.fftfreq(grid[0], d=1.0, dtype=torch.float64)
    return ((across[:, None].square() + last.square()).sqrt() * max(grid)).round().long()


def power_spectrum(fields: Tensor, num_axes: int, weights: Tensor | None = None) -> Tensor:
    """Return the power (..., K) float64 at wave numbers 0 to K - 1; its sum is the mean square of the field.

    Args:
        fields: (..., *grid).
        num_axes: of the grid, 1 or 2.
        weights: (H, 1) of the rows, with mean 1: the spectrum is zonal, the mean over rows; None: it is radial.
    """
    grid, zonal = fields.shape[-num_axes:], weights is not None
    axes = (-1,) if zonal or num_axes == 1 else (-2, -1)
    power = torch.fft.rfftn(fields.double(), dim=axes, norm="forward").abs().square()
    twice = torch.full((power.shape[-1],), 2.0, dtype=torch.float64, device=power.device)
    twice[0] = 1.0  # the other half of a real field's spectrum is equal
    if grid[-1] % 2 == 0:
        twice[-1] = 1.0
    power = power * twice
    if weights is not None:
        return (power * weights.to(power)).mean(-2)
    bins = wave_numbers(grid, zonal).to(power.device)
    sums = power.new_zeros(*fields.shape[:-num_axes], int(max(grid) * len(axes) ** 0.5 / 2 + 1.5))
    return sums.index_add_(-1, bins.flatten(), power.flatten(-len(axes)))


@dataclass(frozen=True)
class Spectra:
    """The mean spectra of an evaluation, in the squares of the channels' units.

    Attributes:
        truth: (S, C, K) float64.
        network: (S, C, K) likewise, of the network's forecasts.
    """

    truth: Tensor
    network: Tensor


class SpectrumMetrics:
    """The spectra of one split, as sums over samples; fields are taken less the mean of their channel.

    Args:
        stds: (C) by which fields are normalised.
        num_axes: of the grid.
        latitudes: (H) degrees north of the rows: spectra are zonal; empty: radial.
    """

    def __init__(self, stds: Sequence[float], num_axes: int, latitudes: Sequence[float] = ()) -> None:
        self.stds, self.num_axes = torch.tensor(stds, dtype=torch.float64), num_axes
        self.weights = latitude_weights(latitudes)
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self.sums: Tensor | None = None
        self.count = torch.zeros((), dtype=torch.float64)

    def update(self, found: Tensor, truth: Tensor, valid: Tensor) -> None:
        """Add a batch of normalised fields (B, S, C, *grid); those with ``valid`` False do not count."""
        shown = valid.view(-1, *(1 for _ in truth.shape[1:]))
        both = torch.stack([torch.where(shown, fields, 0.0) for fields in (truth, found)])
        power = power_spectrum(both, self.num_axes, self.weights).sum(1)
        self.sums = power if self.sums is None else self.sums + power
        self.count = self.count.to(valid.device) + valid.sum()

    def compute(self) -> Spectra | None:
        """Return the means over the samples of all ranks; all must call it. None: there are no samples."""
        count = float(collectives.sum_tensors(self.count))
        if self.sums is None or not count:
            return None
        means = collectives.sum_tensors(self.sums) / count * self.stds.square()[:, None]
        return Spectra(means[0], means[1])


def spectrum_rows(spectra: Spectra, spec: FieldSpec) -> Table:
    """Return a row for each channel, lead time and wave number: ``truth`` and ``network``."""
    steps, channels, numbers = spectra.truth.shape
    return [
        {
            "channel": spec.channels[channel],
            "step": step + 1,
            "lead": (step + 1) * spec.step,
            "wave_number": number,
            "truth": float(spectra.truth[step, channel, number]),
            "network": float(spectra.network[step, channel, number]),
        }
        for channel in range(channels)
        for step in range(steps)
        for number in range(numbers)
    ]


def octaves(spectra: Spectra, spec: FieldSpec) -> Table:
    """Return a row for each channel and octave of wave numbers, 1, 2-3, 4-7, ...

    Its columns are the power of the truth at the last lead time, that of the forecast, and the forecast's share of the
    truth at the first and the last lead time.
    """
    rows: Table = []
    for channel, name in enumerate(spec.channels):
        low = 1
        while low < spectra.truth.shape[-1]:
            band = slice(low, 2 * low)
            truth, found = (item[:, channel, band].sum(-1).tolist() for item in (spectra.truth, spectra.network))
            high = min(2 * low, spectra.truth.shape[-1]) - 1
            rows.append(
                {
                    "channel": name,
                    "wave_numbers": str(low) if high == low else f"{low}-{high}",
                    "truth": truth[-1],
                    "network": found[-1],
                    "share_first": found[0] / truth[0] if truth[0] else None,
                    "share_last": found[-1] / truth[-1] if truth[-1] else None,
                }
            )
            low *= 2
    return rows
