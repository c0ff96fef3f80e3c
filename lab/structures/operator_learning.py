"""Operator learning: description of fields, batches, predictions and the protocol of networks from fields to fields.

B samples in a batch, S steps, C channels that are predicted, F channels that are known in advance, a grid of (H, W)
points or of (N,) points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor

from lab.structures.common import DataSpec, Movable


@dataclass(frozen=True)
class FieldSpec(DataSpec):
    """What data of fields tells.

    A problem that evolves predicts the state one step later from the state and its forcings; its predictions are fed
    back to predict further. A steady problem maps given channels (a coefficient) to others (the solution), once.

    Attributes:
        input_shape: ``(channels that the network reads, *grid of the training fields)``.
        channels: the names of the C channels that are predicted.
        units: their units; an empty text for none.
        given: the names of the channels that a steady problem reads; empty: it evolves, and reads ``channels``.
        forcings: the names of the F channels that are known in advance (orography, time of day); read after the others.
        means: (C) by which predicted channels are normalised, in their units.
        stds: (C) likewise.
        given_means: of ``given``, likewise.
        given_stds: of ``given``, likewise.
        step: the time between two states, in ``step_unit``; 0 for a steady problem.
        step_unit: ``"h"`` for weather; an empty text where time has no unit.
        latitudes: (H) degrees north of the rows, by which errors are weighted; empty: all points weigh the same.
        longitudes: (W) degrees east of the columns, for pictures; empty: unknown.
        periodic: the axes of the grid on which the last point neighbours the first.
        num_samples: samples to train on.

    Raises:
        ValueError: numbers of means, deviations or units differ from the numbers of channels, or a deviation is not
            above 0.
    """

    task: str = "operator_learning"
    channels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    forcings: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()
    given_means: tuple[float, ...] = ()
    given_stds: tuple[float, ...] = ()
    step: float = 0.0
    step_unit: str = ""
    latitudes: tuple[float, ...] = ()
    longitudes: tuple[float, ...] = ()
    periodic: tuple[int, ...] = ()
    num_samples: int = 0

    def __post_init__(self) -> None:
        sizes = {len(self.channels), len(self.units), len(self.means), len(self.stds)}
        of_given = {len(self.given), len(self.given_means), len(self.given_stds)}
        if len(sizes) > 1 or len(of_given) > 1 or not min((*self.stds, *self.given_stds), default=1.0) > 0:
            raise ValueError("channels, units, means and stds (above 0) are of different numbers of channels")

    @property
    def evolves(self) -> bool:
        """Whether predictions are fed back."""
        return not self.given

    @property
    def grid(self) -> tuple[int, ...]:
        """The grid of the training fields, (H, W) or (N,)."""
        return self.input_shape[1:]

    def net_arguments(self) -> dict[str, Any]:
        """Return the sizes of the fields."""
        reads = len(self.given or self.channels) + len(self.forcings)
        return {"image_size": self.grid, "in_channels": reads, "out_channels": len(self.channels)}

    def describe(self) -> str:
        """Return channels and grid."""
        grid = " x ".join(map(str, self.grid))
        reads = [*(self.given or self.channels), *self.forcings]
        return f"{', '.join(reads)} -> {', '.join(self.channels)} on {grid}"


@dataclass
class FieldTargets(Movable):
    """What the loss compares with.

    Attributes:
        fields: ``(B, S, C, *grid)`` float32, normalised: the states after 1 to S steps, or the solution (S = 1).
    """

    fields: Tensor

    def rows(self, chosen: slice) -> FieldTargets:
        """Return the targets of consecutive samples."""
        return FieldTargets(self.fields[chosen])


@dataclass
class FieldBatch(Movable):
    """A batch of fields on one grid.

    Attributes:
        fields: ``(B, C, *grid)`` float32, normalised: the states at the start; of a steady problem the given channels.
        targets: see there.
        sample_ids: (B,) int64.
        valid: (B,) bool, False for a sample that only fills up the batch.
        forcings: ``(B, S, F, *grid)`` float32, normalised, at the start of each step; None where F = 0.
        climatology: ``(B, S, C, *grid)`` float32, normalised like the targets, of the time of each target; None where
            there is none, and in training.
        times: (B,) int64 seconds since 1970 of the start; None where time has no date.
        totals: the normalisers of the whole optimizer step; None outside of training.
    """

    fields: Tensor
    targets: FieldTargets
    sample_ids: Tensor
    valid: Tensor
    forcings: Tensor | None = None
    climatology: Tensor | None = None
    times: Tensor | None = None
    totals: Mapping[str, float] | None = None

    @property
    def num_samples(self) -> int:
        """B."""
        return len(self.fields)

    def rows(self, chosen: slice) -> Self:
        """Return consecutive samples. ``totals`` stay those of the whole step."""
        return replace(
            self,
            fields=self.fields[chosen],
            targets=self.targets.rows(chosen),
            sample_ids=self.sample_ids[chosen],
            valid=self.valid[chosen],
            forcings=None if self.forcings is None else self.forcings[chosen],
            climatology=None if self.climatology is None else self.climatology[chosen],
            times=None if self.times is None else self.times[chosen],
        )


@dataclass
class FieldForecast(Movable):
    """What was predicted for a sample, in the channels' units.

    Attributes:
        fields: ``(S, C, *grid)`` float32, after 1 to S steps.
        channels: the names of the channels.
        step: the time between two fields.
    """

    fields: Tensor
    channels: tuple[str, ...]
    step: float

    def __len__(self) -> int:
        return len(self.fields)


@runtime_checkable
class FieldOperator(Protocol):
    """The protocol of networks that map fields to fields. The task has loss, normalisation and rollout."""

    def __call__(self, fields: Tensor) -> Tensor:
        """Return ``(B, C_out, *grid)`` for normalised ``(B, C_in, *grid)``, the channels of ``FieldSpec``."""
        ...
