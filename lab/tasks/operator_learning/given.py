"""Fields that a caller hands over in memory, checked and normalised."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.errors import DataError
from lab.structures.operator_learning import FieldSpec


def given_fields(inputs: Any, forcings: Any | None, spec: FieldSpec) -> tuple[Tensor, Tensor | None, bool]:
    """Return normalised fields (B, C, *grid), forcings (B, S, F, *grid) or None, and whether several were given.

    Args:
        inputs: (C, *grid) or (B, C, *grid) numbers; the axis of channels may be left out where C is 1.
        forcings: (S, F, *grid) or (B, S, F, *grid), normalised; None where the network reads none.
        spec: names the channels that are read.

    Raises:
        DataError: the numbers have another shape, are none, or are not finite; forcings are missing or not wanted.
    """
    names, axes = spec.given or spec.channels, len(spec.grid)
    fields = _numbers(inputs, "the fields")
    if len(names) == 1 and fields.ndim in (axes, axes + 1) and not (fields.ndim == axes + 1 and len(fields) == 1):
        fields = fields.unsqueeze(-axes - 1)
    several = fields.ndim == axes + 2
    fields = fields if several else fields[None]
    if fields.ndim != axes + 2 or fields.shape[1] != len(names):
        grid = "height, width" if axes == 2 else "points"
        raise DataError(
            f"the fields' shape is {tuple(np.shape(inputs))}, and the network reads ({len(names)}, {grid}), or several "
            f"of them, with the channels {', '.join(names)}"
        )
    means, stds = (spec.given_means, spec.given_stds) if spec.given else (spec.means, spec.stds)
    shape = (-1, *(1 for _ in range(axes)))
    fields = (fields - torch.tensor(means).view(shape)) / torch.tensor(stds).view(shape)
    return fields, _given_forcings(forcings, fields, spec), several


def _given_forcings(forcings: Any | None, fields: Tensor, spec: FieldSpec) -> Tensor | None:
    if not spec.forcings:
        if forcings is not None:
            raise DataError("forcings are given, and the network reads none")
        return None
    grid = ", ".join(map(str, fields.shape[2:]))
    wanted = f"({len(fields)}, steps, {len(spec.forcings)}, {grid})"
    if forcings is None:
        raise DataError(f"the network also reads {', '.join(spec.forcings)}: give forcings={wanted}")
    known = _numbers(forcings, "forcings")
    known = known if known.ndim == fields.ndim + 1 else known[None]
    if known.ndim != fields.ndim + 1 or (len(known), *known.shape[2:]) != (
        len(fields),
        len(spec.forcings),
        *fields.shape[2:],
    ):
        raise DataError(f"the forcings' shape is {tuple(known.shape)}, and for these fields it is {wanted}")
    return known


def _numbers(given: Any, what: str) -> Tensor:
    try:
        found = torch.as_tensor(given, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what}: a {type(given).__name__} is no array of numbers ({error})") from error
    if not bool(found.isfinite().all()):
        raise DataError(f"{what} have values that are not finite")
    return found
