"""Errors of forecasts for each channel and lead time, as sums over samples that add up over batches and ranks.

All sums are float64. Beside the network stand two forecasts that cost nothing: persistence, the state at the start, and
the climatology of the time of the target. What is not defined (an anomaly without a climatology, a relative error of a
truth that is zero, any error of a forecast that is not finite) is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lab.strategies import collectives
from lab.tasks.operator_learning.criterion import latitude_weights

FORECASTS = ("network", "persistence", "climatology")
"""What is measured: the prediction and the two that it should beat."""


@dataclass(frozen=True)
class ForecastErrors:
    """The errors of one forecast, float64 on the host; NaN where they are not defined.

    Attributes:
        rmse: (S, C) in the channels' units, weighted by latitude.
        acc: (S, C) anomaly correlation, weighted by latitude.
        channel_l2: (S, C) relative L2 error of each channel.
        l2: (S) relative L2 error of all channels together.
    """

    rmse: Tensor
    acc: Tensor
    channel_l2: Tensor
    l2: Tensor


@dataclass(frozen=True)
class MeasuredForecasts:
    """The result of an evaluation.

    Attributes:
        errors: by the name of the forecast (``FORECASTS``); a baseline that the data cannot have is missing.
        count: samples.
        bad: (S) int64, of how many samples the network's forecast of this step is not finite.
    """

    errors: Mapping[str, ForecastErrors] = field(default_factory=dict)
    count: int = 0
    bad: tuple[int, ...] = ()

    @property
    def first_bad(self) -> int:
        """The first step at which a forecast is not finite, from 1; 0 for none."""
        return next((step for step, count in enumerate(self.bad, 1) if count), 0)


class ForecastMetrics:
    """The errors of one split.

    The RMSE of a channel and lead time is the root of the mean of squares over points and samples (``pooled``), or the
    mean over samples of each one's root (``samples``), which is FourCastNet's. Its anomaly correlation is the mean over
    samples of sum w p t / sqrt(sum w p^2 sum w t^2), p and t less the climatology. The relative L2 error is the mean
    over samples of the norm of the error by that of the truth, in the channels' units, all points alike.

    Args:
        means: (C) by which fields are normalised.
        stds: (C) likewise.
        latitudes: (H) degrees north of the rows; empty: all points weigh the same.
        pooled: which RMSE.
    """

    def __init__(
        self, means: Sequence[float], stds: Sequence[float], latitudes: Sequence[float] = (), pooled: bool = True
    ) -> None:
        self.means = torch.tensor(means, dtype=torch.float64)
        self.stds = torch.tensor(stds, dtype=torch.float64)
        self.weights, self.pooled = latitude_weights(latitudes), pooled
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self.sums: dict[str, dict[str, Tensor]] = {}
        self.count = torch.zeros((), dtype=torch.float64)
        self.bad: Tensor | None = None

    def update(
        self,
        found: Tensor,
        truth: Tensor,
        valid: Tensor,
        start: Tensor | None = None,
        climatology: Tensor | None = None,
    ) -> None:
        """Add a batch; all fields are normalised. Nothing waits for the device.

        Args:
            found: (B, S, C, *grid) the network's forecasts.
            truth: (B, S, C, *grid).
            valid: (B,) bool, False for a sample that only fills up the batch.
            start: (B, C, *grid) the states at the start; None for a steady problem.
            climatology: (B, S, C, *grid) of the times of the truth; None where there is none.
        """
        self.count = self.count.to(valid.device) + valid.sum()
        bad = (~found.flatten(2).isfinite().all(2) & valid[:, None]).sum(0)
        self.bad = bad if self.bad is None else self.bad + bad
        for step in range(truth.shape[1]):
            true, known = truth[:, step].double(), None if climatology is None else climatology[:, step].double()
            forecasts = {"network": found[:, step].double()}
            forecasts |= {} if start is None else {"persistence": start.double()}
            forecasts |= {} if known is None else {"climatology": known}
            for name, fields in forecasts.items():
                self._add(name, step, truth.shape[1], self._of_samples(fields, true, known), valid)

    def _of_samples(self, found: Tensor, true: Tensor, known: Tensor | None) -> dict[str, Tensor]:
        """Return the errors of each sample and channel, (B, C), and of all channels, (B, 1)."""
        points = tuple(range(2, found.ndim))
        shape = (-1, *(1 for _ in points))
        stds, means = self.stds.to(found).view(shape), self.means.to(found).view(shape)
        weights = torch.ones((), dtype=found.dtype, device=found.device) if self.weights is None else self.weights
        weights = weights.to(found)
        squares = (found - true).square()
        mean_square = (squares * weights).mean(points) * self.stds.to(found).square()
        of_error, of_truth = (squares * stds.square()).sum(points), (true * stds + means).square().sum(points)
        values = {
            "squares": mean_square,
            "roots": mean_square.sqrt(),
            "channel_l2": (of_error / of_truth).sqrt(),
            "l2": (of_error.sum(1, keepdim=True) / of_truth.sum(1, keepdim=True)).sqrt(),
        }
        if known is not None:
            found, true = found - known, true - known
            product = (weights * found * true).sum(points)
            values["acc"] = product / ((weights * found**2).sum(points) * (weights * true**2).sum(points)).sqrt()
        return values

    def _add(self, name: str, step: int, steps: int, values: Mapping[str, Tensor], valid: Tensor) -> None:
        sums = self.sums.setdefault(name, {})
        for key, of_samples in values.items():
            if key not in sums:
                sums[key] = of_samples.new_zeros(steps, of_samples.shape[1])
            sums[key][step] += torch.where(valid[:, None], of_samples, 0.0).sum(0)

    def compute(self) -> MeasuredForecasts:
        """Return the errors over the samples of all ranks, the same on all of them; all must call it."""
        count = int(collectives.sum_tensors(self.count))
        if self.bad is None:
            return MeasuredForecasts()
        errors: dict[str, ForecastErrors] = {}
        for name, sums in self.sums.items():
            means = {key: collectives.sum_tensors(value) / count for key, value in sums.items()}
            rmse = means["squares"].sqrt() if self.pooled else means["roots"]
            acc = means.get("acc", torch.full_like(rmse, torch.nan))
            l2 = means["l2"][:, 0]
            errors[name] = ForecastErrors(_defined(rmse), _defined(acc), _defined(means["channel_l2"]), _defined(l2))
        return MeasuredForecasts(errors, count, tuple(collectives.sum_tensors(self.bad).tolist()))


def _defined(values: Tensor) -> Tensor:
    """Return the values, NaN for those that are infinite."""
    return values.masked_fill(~values.isfinite(), torch.nan)
