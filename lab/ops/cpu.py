"""Decides whether lab's own CPU kernels may replace PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from lab.compat.torch import in_function_transform

_own: ContextVar[bool] = ContextVar("own", default=True)


@contextmanager
def pytorch_kernels() -> Iterator[None]:
    """Within this context every operator is PyTorch's own, for those who count operators (``lab.inspection.costs``)."""
    token = _own.set(False)
    try:
        yield
    finally:
        _own.reset(token)


def plain_float32(x: Tensor, weight: Tensor) -> bool:
    """Return whether both are ordinary float32 CPU tensors, outside of tracing, transforms and autocast.

    Subclasses (``DTensor``, fake tensors), ``torch.compile``, ``torch.func`` and autocast get PyTorch's own operators.
    """
    if not _own.get() or type(x) is not Tensor or type(weight) not in (Tensor, nn.Parameter) or x.device.type != "cpu":
        return False
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    return not torch.compiler.is_compiling() and not in_function_transform()
