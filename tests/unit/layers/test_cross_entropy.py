"""Cross-entropy of a large vocabulary in parts against PyTorch's with all logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lab.layers import cross_entropy
from lab.layers.cross_entropy import cross_entropy_in_parts, pays
from lab.models.bloom.head import TiedHead


@pytest.fixture(autouse=True)
def seven_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "LOGITS_AT_ONCE", 7 * 50)


@pytest.fixture
def given() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States, weight, labels and the gradient of each loss."""
    torch.manual_seed(0)
    states, weight = torch.randn(24, 12, requires_grad=True), torch.randn(50, 12, requires_grad=True)
    return states, weight, torch.randint(0, 50, (24,)), torch.randn(24)


def test_values_and_gradients(given: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    states, weight, labels, grad = given
    losses, correct = cross_entropy_in_parts(states, weight, labels, ranked=True)
    logits = F.linear(states, weight)
    expected = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(losses, expected, rtol=0, atol=4e-6)  # measured 1.9e-6
    assert torch.equal(correct, logits.argmax(-1) == labels)
    found = torch.autograd.grad(losses, (states, weight), grad)
    for one, other in zip(found, torch.autograd.grad(expected, (states, weight), grad), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=3e-6)  # measured 1.4e-6


def test_half_precision_computes_in_float32(given: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    states, weight, labels, grad = given
    with torch.autocast("cpu", torch.bfloat16):
        losses, correct = cross_entropy_in_parts(states, weight, labels, ranked=False)
        expected = F.cross_entropy(F.linear(states, weight).float(), labels, reduction="none")
    assert losses.dtype == torch.float32
    assert not len(correct)
    torch.testing.assert_close(losses, expected, rtol=0, atol=4e-6)  # measured 9.5e-7
    found = torch.autograd.grad(losses, (states, weight), grad)
    for one, other in zip(found, torch.autograd.grad(expected, (states, weight), grad), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0, atol=0.03)  # of bfloat16; measured 1.6e-2


def test_a_head_takes_it_for_a_large_vocabulary(given: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    states, weight, labels, _ = given
    assert pays(24, weight)
    assert not pays(7, weight)
    head = TiedHead()
    whole = [head.scores(states[part], weight, labels[part], True) for part in (slice(0, 6), slice(6, 12))]
    losses, correct = head.scores(states, weight, labels, True)
    torch.testing.assert_close(losses[:12], torch.cat([each[0] for each in whole]), rtol=0, atol=4e-6)
    assert correct is not None
    assert correct.shape == (24,)


def test_shapes_alone_are_computed_on_meta():
    states, weight = torch.empty(5, 3, device="meta"), torch.empty(7, 3, device="meta")
    losses, correct = cross_entropy_in_parts(states, weight, torch.empty(5, dtype=torch.int64, device="meta"), True)
    assert (losses.shape, correct.shape, losses.device.type) == ((5,), (5,), "meta")
