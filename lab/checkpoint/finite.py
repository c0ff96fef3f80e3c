"""Finds tensors that hold infinities or NaN: one pass over each tensor, one wait per device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lab.checkpoint.format import CheckpointReader
from lab.errors import CheckpointError


@torch.no_grad()
def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors with an infinite or NaN element in this rank's part.

    Args:
        tensors: plain tensors on any device, or DTensors, of which only this rank's part is checked. Integers count as
            finite.
    """
    marks: dict[torch.device, list[Tensor]] = {}
    names: dict[torch.device, list[str]] = {}
    for name, tensor in tensors.items():
        held: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        if held.is_floating_point() and held.numel():
            low, high = torch.aminmax(held.detach())  # NaN propagates, infinities are extremes; no copy is made
            marks.setdefault(held.device, []).append((low * 0 + high * 0).float())
            names.setdefault(held.device, []).append(name)
    return [
        name
        for device, found in marks.items()
        for name, mark in zip(names[device], torch.stack(found).tolist(), strict=True)
        if mark != 0
    ]


def require_finite(module: nn.Module, source: object) -> None:
    """Raise a ``CheckpointError`` that names a parameter which is not finite.

    Args:
        module: the module into which parameters were loaded.
        source: where they came from, for the message.
    """
    found = not_finite(dict(module.named_parameters()))
    if found:
        more = f" and {len(found) - 1} more parameters" if len(found) > 1 else ""
        raise CheckpointError(
            f"{source}: {found[0]}{more} hold numbers that are not finite, from a training that diverged"
        )


def check_finite(reader: CheckpointReader) -> None:
    """Raise a ``CheckpointError`` if a checkpoint of an earlier version holds values that are not finite.

    Only optimizer states, averages and the parameters with either are checked: buffers may hold infinities.
    """
    states, averages = reader.names("optimizer/"), reader.names("average/")
    trained = {name.partition("/")[2].rpartition("/")[0] for name in states}
    trained |= {name.partition("/")[2] for name in averages}
    for name in [*(f"model/{name}" for name in sorted(trained)), *states, *averages]:
        if not_finite({name: reader.read(name)}):
            raise CheckpointError(f"{reader.path}: {name} holds numbers that are not finite: its training had diverged")
