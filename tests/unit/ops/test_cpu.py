"""What decides on lab's own CPU kernels."""

from __future__ import annotations

import platform
import resource

import pytest
import torch
from torch import nn

from lab.ops.cpu import keep_freed_memory, plain_float32, pytorch_kernels


def test_all_tensors_are_plain_float32() -> None:
    x, weight = torch.ones(2), nn.Parameter(torch.ones(2))
    assert plain_float32(x)
    assert plain_float32(x, weight, x)
    assert not plain_float32(x, weight, x.double())
    assert not plain_float32(x.bfloat16(), x.bfloat16())
    assert not plain_float32(x, weight, torch.empty(2, device="meta"))
    with pytorch_kernels():
        assert not plain_float32(x, weight)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_freed_memory_is_kept() -> None:
    """Without the call each new block of 8 MB takes 2048 new pages of 4 KB, for ever."""
    keep_freed_memory()
    for _ in range(16):  # the heap grows to some times that size
        torch.ones(1 << 21)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(1 << 21)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 2048
