"""Channels in turns: what ShuffleNet's shuffle of two groups does, in every layout, with and without gradients."""

from __future__ import annotations

import pytest
import torch

from lab.ops.shuffle import interleave


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
