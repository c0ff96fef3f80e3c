"""Which tensors hold infinities or NaN: found in one pass over each, with one wait for each device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lab.checkpoint.format import CheckpointReader
from lab.errors import CheckpointError


@torch.no_grad()
def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors of which this rank holds an element that is infinite or not a number.

    Args:
        tensors: plain tensors on any device, or DTensors, of which this rank's part is looked at. Other than floating
            point numbers are finite.
    """
    marks: dict[torch.device, list[Tensor]] = {}
    names: dict[torch.device, list[str]] = {}
    for name, tensor in tensors.items():
        held: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        if held.is_floating_point() and held.numel():
            low, high = torch.aminmax(held.detach())  # NaN goes through, an infinity is an end; nothing is allocated
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
        module: whose parameters were loaded.
        source: from where.
    """
    found = not_finite(dict(module.named_parameters()))
    if found:
        more = f" and {len(found) - 1} more parameters" if len(found) > 1 else ""
        raise CheckpointError(
            f"{source}: {found[0]}{more} hold numbers that are not finite, of a training that diverged"
        )


def check_finite(reader: CheckpointReader) -> None:
    """Raise a ``CheckpointError`` where no training can go on from a checkpoint, which an earlier version wrote.

    Looked at are the optimizer's states, the average and the parameters that have either: buffers may hold infinities.
    """
    states, averages = reader.names("optimizer/"), reader.names("average/")
    trained = {name.partition("/")[2].rpartition("/")[0] for name in states}
    trained |= {name.partition("/")[2] for name in averages}
    for name in [*(f"model/{name}" for name in sorted(trained)), *states, *averages]:
        if not_finite({name: reader.read(name)}):
            raise CheckpointError(f"{reader.path}: {name} holds numbers that are not finite: its training had diverged")
