"""Which tensors hold infinities or NaN: found in one pass over each, with one wait for each device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


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
