"""The pyramid's own steps; the whole is compared in tests/parity/test_maskformer.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lab.layers.fpn import ConvNorm, add_upsampled


def maps(height: int, width: int, channels_last: bool) -> Tensor:
    x = torch.sin(torch.arange(2.0 * 4 * height * width)).view(2, 4, height, width)
    return x.to(memory_format=torch.channels_last) if channels_last else x


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("size", [(6, 10), (5, 9), (7, 7)])
def test_the_upsampled_map_is_nearest(size: tuple[int, int], channels_last: bool) -> None:
    fine, coarse = maps(*size, channels_last), maps(3, 5, channels_last)
    expected = fine + F.interpolate(coarse, size=size)
    before = fine.clone()
    with torch.no_grad():
        found = add_upsampled(fine, coarse)
        assert torch.equal(found, expected)
        assert found.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert torch.equal(add_upsampled(fine, coarse), expected)
    assert torch.equal(fine, before)


@pytest.mark.parametrize("channels_last", [False, True])
def test_one_by_one_convolutions_are_convolutions(channels_last: bool) -> None:
    torch.manual_seed(0)
    layer, x = ConvNorm(4, 8, 1, num_groups=2, relu=False), maps(6, 10, channels_last).requires_grad_()
    expected = layer.norm(F.conv2d(x, layer.weight))
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
    grads = [torch.autograd.grad(out.square().sum(), (x, layer.weight)) for out in (layer(x) ** 2, expected**2)]
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
