"""Samples of fields in the units of their channels, and batches of them, normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from lab.structures.operator_learning import FieldBatch, FieldSpec, FieldTargets


class FieldSample(NamedTuple):
    """A state and what comes after it; of a steady problem the given channels and the solution.

    Attributes:
        fields: (C, *grid) the state at the start, or the given channels, in their units.
        targets: (S, C, *grid) the states after 1 to S steps, or the solution (S = 1), in their units; S = 0 where they
            are not known.
        number: the sample's number in its dataset.
        forcings: (S, F, *grid) the forcings at the start of each step, normalised already; None where F = 0.
        climatology: (S, C, *grid) of the time of each target, in the channels' units; None where there is none.
        time: seconds since 1970 of the start; None where time has no date.
    """

    fields: Tensor
    targets: Tensor
    number: int
    forcings: Tensor | None = None
    climatology: Tensor | None = None
    time: int | None = None


def collate_fields(samples: Sequence[FieldSample], spec: FieldSpec) -> FieldBatch:
    """Put samples together into a batch, normalised by the means and deviations of ``spec``.

    Args:
        samples: at least one; all have forcings, a climatology and a time, or none has.
        spec: has the means and deviations.
    """
    first = samples[0]
    means, stds = (spec.given_means, spec.given_stds) if spec.given else (spec.means, spec.stds)
    fields = torch.stack([sample.fields for sample in samples])
    targets = torch.stack([sample.targets for sample in samples])
    forcings = climatology = times = None
    if first.forcings is not None:
        forcings = torch.stack([cast(Tensor, sample.forcings) for sample in samples]).float()
    if first.climatology is not None:
        climatology = torch.stack([cast(Tensor, sample.climatology) for sample in samples])
        climatology = normalised(climatology, spec.means, spec.stds)
    if first.time is not None:
        times = torch.tensor([cast(int, sample.time) for sample in samples], dtype=torch.int64)
    return FieldBatch(
        fields=normalised(fields, means, stds, channel_axis=1),
        targets=FieldTargets(normalised(targets, spec.means, spec.stds)),
        sample_ids=torch.tensor([sample.number for sample in samples], dtype=torch.int64),
        valid=torch.ones(len(samples), dtype=torch.bool),
        forcings=forcings,
        climatology=climatology,
        times=times,
    )


def normalised(fields: Tensor, means: Sequence[float], stds: Sequence[float], channel_axis: int = 2) -> Tensor:
    """Return fields minus their channel's mean, over its standard deviation, as float32.

    Args:
        fields: any real numbers, (..., C, *grid).
        means: (C) of the channels.
        stds: (C) likewise.
        channel_axis: the axis of the channels.
    """
    shape = [-1] + [1] * (fields.ndim - channel_axis - 1)
    kind = fields.dtype if fields.is_floating_point() else torch.float32
    mean, std = (torch.tensor(values, dtype=torch.float64).to(kind).view(shape) for values in (means, stds))
    return ((fields.to(kind) - mean) / std).float()
