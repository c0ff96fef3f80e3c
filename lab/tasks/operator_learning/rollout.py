"""Applies an operator step by step to its own predictions, for as long as one likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lab.errors import ConfigError


def roll_out(
    net: Callable[[Tensor], Tensor],
    fields: Tensor,
    forcings: Tensor | None,
    steps: int,
    num_channels: int,
    adds: bool = False,
) -> Iterator[Tensor]:
    """Yield the prediction (B, C, *grid) float32 of each step.

    Args:
        net: maps fields and forcings to the C channels one step later.
        fields: (B, C, *grid) the states at the start, normalised; of a steady problem the given channels.
        forcings: (B, S, F, *grid) known in advance, at the start of each step, read behind the fields; None for none.
        steps: how many; at most S where there are forcings.
        num_channels: C.
        adds: the network gives the change of the state, not the next one.

    Raises:
        ConfigError: the network's output has another shape, or there are forcings of fewer steps.
    """
    if forcings is not None and forcings.shape[1] < steps:
        raise ConfigError(f"the data gives forcings of {forcings.shape[1]} steps, and {steps} are rolled out")
    state = fields
    for step in range(steps):
        inputs = state if forcings is None else torch.cat([state, forcings[:, step].to(state)], 1)
        found = net(inputs)
        expected = (len(fields), num_channels, *fields.shape[2:])
        if not isinstance(found, Tensor) or found.shape != expected:
            what = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ConfigError(
                f"the network gives {what} for fields {tuple(inputs.shape)}, and an operator on them {expected}: see "
                "lab.structures.operator_learning.FieldOperator"
            )
        state = state + found.float() if adds else found.float()
        yield state


def first_bad_steps(fields: Tensor) -> Tensor:
    """Return the number of the first step whose field is not finite, from 1, (B,) int64; 0: all steps are.

    Args:
        fields: (B, S, C, *grid).
    """
    bad = ~fields.flatten(2).isfinite().all(2)
    first = bad.to(torch.uint8).argmax(1) + 1
    return torch.where(bad.any(1), first, 0)
