"""The pooling of stems, equal to PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lab.ops.pooling import max_pool3x3


@pytest.mark.parametrize("size", [(8, 6), (7, 6), (2, 2), (1, 1)])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_equal_to_pytorchs(size: tuple[int, int], channels_last: bool, grad: bool) -> None:
    x = torch.randn(2, 5, *size, generator=torch.Generator().manual_seed(0)) - 3  # a padding with 0 would be seen
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    x[0, 0, 0, 0] = torch.nan
    wanted = F.max_pool2d(x, 3, 2, 1)
    x.requires_grad_(grad)
    with torch.set_grad_enabled(grad):
        found = max_pool3x3(x)
    torch.testing.assert_close(found.detach(), wanted, rtol=0, atol=0, equal_nan=True)
    assert found.requires_grad == grad
