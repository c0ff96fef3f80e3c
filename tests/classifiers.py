"""What the parity tests of classifiers share: weights drawn without mercy, and how far two results are apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

HEIGHT, WIDTH = 65, 79
"""Odd, so that every padding and rounding of sizes matters."""


def fill(model: nn.Module, seed: int = 0, gain: float = 2.0) -> None:
    """Fill parameters and statistics deterministically; norms far from the identity.

    Args:
        model: whose state is changed.
        seed: of the numbers.
        gain: variance of the weights times their number of inputs; 2 keeps the scale of activations behind ReLUs.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(model.state_dict().items()):
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            value.copy_(0.5 + noise.abs())
        elif value.ndim > 1:
            value.copy_(noise * (gain / value[0].numel()) ** 0.5)
        else:
            value.copy_(noise * 0.3 + (1.0 if name.endswith("weight") else 0.0))


def worst(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs().max() / theirs.abs().max()).detach())


def images(batch: int = 2, channels: int = 3, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """Return the same noise on every call."""
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(1))


def logits_apart(ours: nn.Module, theirs: nn.Module, x: Tensor) -> float:
    """Return how far two classifiers' logits are apart in evaluation, without and with gradients wanted."""
    ours.eval()
    theirs.eval()
    expected = theirs(x).detach()
    with torch.inference_mode():
        fused = ours(x)
    return max(worst(fused, expected), worst(ours(x), expected))


def gradients_apart(ours: nn.Module, theirs: nn.Module, x: Tensor) -> float:
    """Return how far logits, gradients and running statistics are apart after one training step's passes.

    A shift before a norm has a gradient of rounding errors alone: such are held against the largest gradient.
    """
    found, expected = (_trained(model.train(), x) for model in (ours, theirs))
    assert found.keys() == expected.keys()
    largest = max(float(value.abs().max()) for name, value in expected.items() if "running" not in name)

    def apart(name: str) -> float:
        scale = max(float(expected[name].detach().abs().max()), 1e-3 * largest)
        return float((found[name] - expected[name]).detach().abs().max()) / scale

    return max(map(apart, found))


def _trained(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    logits = model(x)
    nn.functional.cross_entropy(logits, torch.arange(len(x)) % logits.shape[1]).backward()
    return {"logits": logits.detach(), **dict(_results(model))}


def _results(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            yield name, parameter.grad
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            yield name, buffer


def multiplications(model: nn.Module, x: Tensor) -> float:
    """Return 1e9 multiplications with addition of a forward pass, gradients enabled."""
    with FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops() / 2e9
