"""Channels in turns: what ShuffleNet's shuffle of two groups does, in every layout, with and without gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lab.ops.shuffle import interleave, separate


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_channels_come_in_turns(layout: torch.memory_format, grad: bool, dtype: torch.dtype) -> None:
    x = torch.randn(2, 12, 3, 5, dtype=dtype).contiguous(memory_format=layout)
    first, second = x[:, :6], x[:, 6:].clone()
    with torch.set_grad_enabled(grad):
        found = interleave(first, second)
    assert found.shape == x.shape
    assert found.is_contiguous(memory_format=layout)
    assert torch.equal(
        found,
        x.view(2, 2, 6, 3, 5).transpose(1, 2).reshape(x.shape)
        if layout == torch.contiguous_format
        else x.unflatten(1, (2, 6)).transpose(1, 2).flatten(1, 2),
    )


def test_gradients_go_back_to_their_channels() -> None:
    x = torch.randn(2, 6, 3, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = torch.randn(2, 6, 3, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradcheck(interleave, (x, y))


def maps(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 6, 3, 5, generator=generator).contiguous(memory_format=torch.channels_last)


def stacked(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack((first, second), 2).flatten(1, 2)


def test_gradients_in_float32_lie_as_the_maps_do() -> None:
    """Numbers are only moved: equal to the bit, of first and second order, and an activation in place may follow."""
    found = []
    for join in (interleave, stacked):
        x, y = maps(0).requires_grad_(), maps(1).requires_grad_()
        joined = join(x, y).relu_() ** 3 * torch.arange(12)[:, None, None]
        first = torch.autograd.grad(joined.sum(), (x, y), create_graph=True)
        second = torch.autograd.grad(sum(each.square().sum() for each in first), (x, y))
        found.append((joined, *first, *second))
    for ours, plain in zip(*found, strict=True):
        assert torch.equal(ours, plain)
    seen: list[Tensor] = []
    x, y = maps(0).requires_grad_(), maps(1).requires_grad_()
    for each in (x, y):
        each.register_hook(seen.append)
    interleave(x, y).sum().backward()
    assert all(grad.is_contiguous(memory_format=torch.channels_last) for grad in seen)


@pytest.mark.parametrize("last", [True, False])
def test_separate_is_the_way_back(last: bool) -> None:
    x, y = (each if last else each.contiguous() for each in (maps(0), maps(1)))
    joined = interleave(x, y).requires_grad_()
    assert all(map(torch.equal, separate(joined), (x, y)))
    (grad,) = torch.autograd.grad(separate(joined), joined, (x, y))
    assert torch.equal(grad, joined)
