"""Hooks of a network under ZeRO-3 that correct two faults of deepspeed 0.19.8.

Units become DeepSpeed's "leaf modules": their parameters are gathered with one all-gather before their forward pass.
DeepSpeed reduces all gradients of a leaf module in a full backward hook. If no input of the module needs a gradient
(the first unit of a network, or the first that is not frozen), torch calls this hook before the module's backward pass,
and zeros would be reduced. ``lab.compat.deepspeed.reduce_as_they_come`` reduces each parameter's gradient as soon as it
is complete, as DeepSpeed does outside of leaf modules.

Before a module's backward pass its parameters are gathered again, also those of a child that its forward pass reads
directly (``query_embed.weight``). DeepSpeed does this by wrapping the output tensors, but only in tuples, lists and
dicts. Here the tensors in dataclasses are wrapped too.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lab.compat.deepspeed import gathers_before_backward
from lab.registry.parallel import units


def mark_units(net: nn.Module) -> None:
    """Make the units of a network leaf modules, before deepspeed is initialized."""
    from deepspeed.utils import set_z3_leaf_module

    for unit in units(net):
        set_z3_leaf_module(unit, True)


def gather_before_backward(module: nn.Module) -> None:
    """Make modules that return dataclasses gather their parameters before backward, as other modules do."""

    def hook(part: nn.Module, inputs: Any, output: Any) -> Any:
        function = gathers_before_backward(part)
        if function is not None and dataclasses.is_dataclass(output) and torch.is_grad_enabled():
            return _through(function, output)
        return None

    for part in module.modules():
        if gathers_before_backward(part) is not None:
            part.register_forward_hook(hook)


def _through(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Return a copy of a dataclass, tuple, list or dict with ``function`` applied to its tensors."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple | list):
        parts = [_through(function, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {key: _through(function, part) for key, part in value.items()}
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    changed = copy.copy(value)
    for field in dataclasses.fields(value):
        object.__setattr__(changed, field.name, _through(function, getattr(value, field.name)))
    return changed
