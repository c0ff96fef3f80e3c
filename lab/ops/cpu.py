"""Decides whether lab's own CPU kernels may replace PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from torch import Tensor, nn

from lab.compat.torch import in_function_transform
from lab.ops.choice import kernels

_own: ContextVar[bool] = ContextVar("own", default=True)
_PLAIN = (Tensor, nn.Parameter)


@contextmanager
def pytorch_kernels() -> Iterator[None]:
    """Within this context every operator is PyTorch's own, for those who count operators (``lab.inspection.costs``)."""
    token = _own.set(False)
    try:
        yield
    finally:
        _own.reset(token)


def plain_float32(x: Tensor, *weights: Tensor) -> bool:
    """Return whether all are ordinary float32 CPU tensors, outside of tracing, transforms and autocast.

    Subclasses (``DTensor``, fake tensors), ``torch.compile``, ``torch.func`` and autocast get PyTorch's own operators.
    """
    return x.dtype == torch.float32 and plain_cpu(x, *weights)


def plain_cpu(x: Tensor, *weights: Tensor) -> bool:
    """Return whether all are ordinary CPU tensors of one dtype that oneDNN computes in: float32 or bfloat16."""
    dtype = x.dtype
    if not _own.get() or kernels() == "torch" or type(x) is not Tensor or dtype not in (torch.float32, torch.bfloat16):
        return False
    if not x.is_cpu or not all(type(each) in _PLAIN and each.is_cpu and each.dtype == dtype for each in weights):
        return False
    return not (torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or in_function_transform())


@cache
def keep_freed_memory() -> None:
    """Have glibc keep the memory that tensors free from now on, instead of asking the kernel for new pages each time.

    New pages cost a forward pass of a ResNet-50 a tenth of its time. glibc gives large blocks back until it has seen a
    larger one freed; then it keeps up to twice the size of that one (mallopt(3), M_MMAP_THRESHOLD). Nothing is written
    to the block, so that it takes no memory. Other allocators do not mind.
    """
    torch.empty(31 << 20, dtype=torch.uint8)  # the limit is 32 MB


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Return whether a gradient will be asked for through any of the tensors; kernels without one must not be used."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
