"""lab's CPU kernels against PyTorch's own: 3x3 convolutions and linear layers of MaskFormer's sizes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.layers.linear import linear
from lab.ops.convolution import conv3x3

Size = tuple[int, int]
Made = tuple[Callable[[], Tensor], Callable[[], Tensor], float]
CHANNELS = 256
WIDTHS = (384, 1536)  # of the feed-forward nets in Swin-T's third stage


def worst(ours: Tensor, peer: Tensor) -> float:
    """Return the largest difference relative to the largest value."""
    return float((ours - peer).abs().max() / peer.abs().max())


def step(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, grad: Tensor | None) -> Tensor:
    """Run forward and, with the gradient of the output, backward; return the output or the gradient of the input."""
    if grad is None:
        with torch.inference_mode():
            return function(x, weight)
    x.grad = weight.grad = None
    function(x, weight).backward(grad)
    assert x.grad is not None
    return x.grad


def pair(
    ours: Callable[[Tensor, Tensor], Tensor],
    peer: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    weight: Tensor,
    train: bool,
) -> Made:
    """Return both as steps on the same values, and their difference."""
    grad = torch.randn_like(peer(x, weight)) if train else None
    x, weight = (value.requires_grad_(train) for value in (x, weight))
    runs = [lambda function=function: step(function, x, weight, grad) for function in (ours, peer)]
    return runs[0], runs[1], worst(*(run().detach().clone() for run in runs))


def convolution(batch: int, size: Size, device: torch.device, train: bool) -> Made:
    """256 to 256 channels, channels last in memory."""
    x = torch.randn(batch, CHANNELS, *size).to(device, memory_format=torch.channels_last)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, device=device) / (9 * CHANNELS) ** 0.5
    return pair(conv3x3, lambda x, weight: F.conv2d(x, weight, padding=1), x, weight, train)


def product(batch: int, size: Size, device: torch.device, train: bool) -> Made:
    """384 to 1536 channels of ``batch`` maps of ``size`` tokens."""
    x = torch.randn(batch, *size, WIDTHS[0], device=device)
    weight = torch.randn(WIDTHS[1], WIDTHS[0], device=device) / WIDTHS[0] ** 0.5
    return pair(linear, F.linear, x, weight, train)


def conv3x3_forward(batch: int, size: Size, device: torch.device) -> Made:
    """Inference."""
    return convolution(batch, size, device, train=False)


def conv3x3_train(batch: int, size: Size, device: torch.device) -> Made:
    """Forward and both gradients."""
    return convolution(batch, size, device, train=True)


def linear_forward(batch: int, size: Size, device: torch.device) -> Made:
    """Inference."""
    return product(batch, size, device, train=False)


def linear_train(batch: int, size: Size, device: torch.device) -> Made:
    """Forward and both gradients."""
    return product(batch, size, device, train=True)
