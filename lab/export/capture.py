"""A network's graph by ``torch.export``, with as many open dimensions as the network allows, and why not more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lab.compat.torch import fixed_dimensions
from lab.errors import ExportError
from lab.text import one_line

AXES = {"batch": 0, "height": 2, "width": 3}
"""The dimensions of the images that may stay open."""


@dataclass(frozen=True)
class CapturedGraph:
    """A network's graph.

    Attributes:
        program: of ``torch.export``.
        symbols: the name in the graph of each dimension that is open, by the keys of ``AXES``.
        fixed: of each dimension that was asked to be open and is not, the reason.
    """

    program: ExportedProgram
    symbols: Mapping[str, str]
    fixed: Mapping[str, str] = field(default_factory=dict)


def capture(net: nn.Module, images: Tensor, dynamic: Sequence[str] = ()) -> CapturedGraph:
    """Return the graph of a network.

    Args:
        net: takes the images alone.
        images: (B, 3, H, W); where the batch is to be open, B is at least 2.
        dynamic: the keys of ``AXES`` that shall be open, where the network allows. A module may name those that its
            computation fixes, each with the reason, as ``closed_in_graphs``: ``torch.export`` might look for minutes.

    Raises:
        ExportError: the network cannot be captured at all.
    """
    reasons: dict[str, str] = {}
    for module in net.modules():
        reasons |= getattr(module, "closed_in_graphs", {})
    asked = tuple(name for name in dynamic if name not in reasons)
    tries = [asked, tuple(name for name in asked if name == "batch"), ()]
    for chosen in dict.fromkeys(tries):
        try:
            program = _program(net, images, chosen)
        except Exception as error:  # torch.export raises errors of many classes; the last one is told
            if not chosen:
                raise ExportError(f"torch.export cannot capture {_name(net)}: {first_line(error)}") from error
            reasons = {name: first_line(error) for name in chosen} | reasons
            continue
        symbols, fixed = fixed_dimensions(program, {name: AXES[name] for name in chosen})
        lost = {name: reasons[name] for name in dynamic if name not in chosen}
        return CapturedGraph(program, symbols, {**lost, **fixed})
    raise AssertionError("the last try returns or raises")


def _program(net: nn.Module, images: Tensor, dynamic: Sequence[str]) -> ExportedProgram:
    open_axes = {AXES[name]: Dim.AUTO for name in dynamic}
    with torch.no_grad():
        program = torch.export.export(net, (images,), dynamic_shapes={"images": open_axes or None}, strict=False)
    program.example_inputs = None
    return program


def _name(net: nn.Module) -> str:
    return type(getattr(net, "net", net)).__name__


def first_line(error: BaseException) -> str:
    """Return the class and the first line of an error's message, not too long."""
    said = next((line for line in str(error).splitlines() if line.strip()), "")
    return one_line(f"{type(error).__name__}: {said}")[:300]
