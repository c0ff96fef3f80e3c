"""Decides whether lab's own CPU kernels may replace PyTorch's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.compat.torch import in_function_transform


def plain_float32(x: Tensor, weight: Tensor) -> bool:
    """Return whether both are ordinary float32 CPU tensors, outside of tracing, transforms and autocast.

    Subclasses (``DTensor``, fake tensors), ``torch.compile``, ``torch.func`` and autocast get PyTorch's own operators.
    """
    if type(x) is not Tensor or type(weight) not in (Tensor, nn.Parameter) or x.device.type != "cpu":
        return False
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    return not torch.compiler.is_compiling() and not in_function_transform()
