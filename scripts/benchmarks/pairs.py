"""An architecture and its peer side by side: the same weights, the same batch, one device.

``scripts/benchmark.py`` times them on a developer's CPU, ``scripts/prove_on_gpu.py`` compares and times them on a GPU.
A new architecture needs a file here and a line in ``registry.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lab import deploy
from lab.training.optimizers import make_optimizer
from lab.training.terms import batch_terms

Size = tuple[int, int]
Step = Callable[[], Any]
Made = tuple[Step, Step, float]
"""The calls to be timed, lab's and the peer's, and the difference of their results."""


@dataclass
class Pair:
    """A network of lab and its peer, if there is one.

    Attributes:
        ours: lab's network.
        outputs: calls ``ours`` and returns the outputs to compare, in one tensor.
        samples: the number of samples in the batch.
        loss: calls ``ours`` and its loss, in the mode that ``ours`` is in; None if it has no loss.
        peer: the independent implementation, or None.
        peer_outputs: the same outputs of the peer.
        peer_loss: the peer's loss with the same amount of work; its value may differ (see ``difference``).
        difference: the relative difference of the losses where they are comparable; by default that of the outputs.
    """

    ours: nn.Module
    outputs: Callable[[], Tensor]
    samples: int
    loss: Callable[[], Tensor] | None = None
    peer: nn.Module | None = None
    peer_outputs: Callable[[], Tensor] | None = None
    peer_loss: Callable[[], Tensor] | None = None
    difference: Callable[[], float] | None = None


class Make(Protocol):
    """A function that builds a pair. Weights and batch are drawn on the CPU by fixed seeds, equal on every device."""

    def __call__(
        self, name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
    ) -> Pair:
        """Return the pair of a registered model.

        Args:
            name: the name of the model.
            batch: the number of samples.
            size: in the units of the subject: pixels, or (length, items).
            device: the device of weights and batch.
            training: training mode, and auxiliary losses.
            dropout: whether both use dropout as published; False for comparisons.
        """
        ...


@dataclass(frozen=True)
class Subject:
    """An architecture that is measured.

    Attributes:
        names: its registered models, the representative one first.
        make: builds a pair.
        small: (batch, size) for comparing outputs and gradients.
        train: (batch, size) of the timed training step; None if it is not timed.
        serve: (batch, size) of each timed inference.
        steps: if a training step includes data and its own optimizer: (batch, size, device) -> both implementations as
            calls, as in a row of the benchmark.
        steps_per_call: the number of steps in a call of ``steps``.
        smoke: the model used instead of the first one when the proof itself is tested on a CPU.
        on_cpu: whether it is compared on the CPU too.
    """

    names: tuple[str, ...]
    make: Make
    small: tuple[int, Size]
    train: tuple[int, Size] | None = None
    serve: tuple[tuple[int, Size], ...] = field(default=())
    steps: Callable[[int, Size, torch.device], Made] | None = None
    steps_per_call: int = 1
    smoke: str | None = None
    on_cpu: bool = True


def worst(ours: Tensor, peer: Tensor) -> float:
    """Return the largest difference relative to the largest value."""
    return float(((ours - peer).abs().max() / peer.abs().max()).detach())


def fill_norms(model: nn.Module) -> None:
    """Randomise the statistics and affine parameters of every norm, so that a wrong one would be noticed."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.ndim == 1 and value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator).to(value)
            value.copy_(0.75 + 0.5 * noise if name.endswith(("running_var", "weight")) else 0.1 * (noise - 0.5))


def noise_images(batch: int, size: Size, device: torch.device) -> Tensor:
    """Return (B, 3, H, W) noise."""
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)


def forward_row(make: Make, name: str) -> Callable[[int, Size, torch.device], Made]:
    """Return a row of the benchmark: inference, compared by the outputs."""

    def row(batch: int, size: Size, device: torch.device) -> Made:
        pair = make(name, batch, size, device)
        assert pair.peer_outputs is not None
        ours, peer = (torch.inference_mode()(call) for call in (pair.outputs, pair.peer_outputs))
        return ours, peer, worst(ours(), peer())

    return row


def called(net: Any, images: Tensor) -> Tensor:
    """Return a network's outputs for images."""
    outputs: Tensor = net(images)
    return outputs


def deploy_row(
    make: Make, name: str, frozen: bool = False, call: Callable[[Any, Tensor], Tensor] = called
) -> Callable[[int, Size, torch.device], Made]:
    """Return a row of the benchmark: inference of ``lab.deploy``'s copy, against the peer's, optionally deployed too.

    ``frozen``: the peer is what torch offers for that: ``torch.jit.freeze`` and ``optimize_for_inference``. ``call``
    gives our outputs in one tensor.
    """

    def row(batch: int, size: Size, device: torch.device) -> Made:
        pair = make(name, batch, size, device)
        assert pair.peer is not None
        assert pair.peer_outputs is not None
        images = noise_images(batch, size, device)
        deployed = deploy(pair.ours, images)
        theirs = pair.peer_outputs
        if frozen:
            traced = torch.jit.trace(pair.peer, images)
            optimized = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
            theirs = lambda: optimized(images)  # noqa: E731
        ours, peer = (torch.inference_mode()(each) for each in (lambda: call(deployed, images), theirs))
        return ours, peer, worst(ours(), peer())

    return row


def train_row(make: Make, name: str) -> Callable[[int, Size, torch.device], Made]:
    """Return a row of the benchmark: forward, loss, backward."""

    def row(batch: int, size: Size, device: torch.device) -> Made:
        _, ours, peer, difference = _steps(make, name, batch, size, device)
        return ours, peer, difference

    return row


def _steps(make: Make, name: str, batch: int, size: Size, device: torch.device) -> tuple[Pair, Step, Step, float]:
    """Return a pair, forward with loss and backward of both, and their difference."""
    pair = make(name, batch, size, device, training=True, dropout=True)
    assert pair.loss is not None
    assert pair.peer is not None
    assert pair.peer_loss is not None
    difference = pair.difference() if pair.difference else worst(pair.loss().detach(), pair.peer_loss().detach())
    return pair, step_of(pair.ours, pair.loss), step_of(pair.peer, pair.peer_loss), difference


def whole_step_row(
    make: Make, name: str, settings: dict[str, Any], clip: float
) -> Callable[[int, Size, torch.device], Made]:
    """Return a row of the benchmark: forward, loss, backward, clipping, optimizer.

    Ours is the optimizer that lab makes from ``settings``; the peer's is torch's AdamW as its authors call it, without
    a choice of kernels.
    """

    def row(batch: int, size: Size, device: torch.device) -> Made:
        pair, ours, peer, difference = _steps(make, name, batch, size, device)
        assert pair.peer is not None
        trained = [parameter for parameter in pair.peer.parameters() if parameter.requires_grad]
        theirs = torch.optim.AdamW(trained, lr=settings["lr"], weight_decay=settings["weight_decay"])
        steps = ((pair.ours, ours, make_optimizer(pair.ours, settings)), (pair.peer, peer, theirs))
        whole = [partial(_whole_step, *each, clip) for each in steps]
        return whole[0], whole[1], difference

    return row


def optimizer_row(make: Make, name: str, settings: dict[str, Any]) -> Callable[[int, Size, torch.device], Made]:
    """Return a row of the benchmark: a step of the optimizer alone, its gradients given, on a copy of the network.

    Ours is the optimizer that lab makes from ``settings``; the peer's is torch's AdamW with the same groups, without a
    choice of kernels. The difference is that of the weights after one step.
    """

    def row(batch: int, size: Size, device: torch.device) -> Made:
        ours = make(name, batch, size, device).ours
        generator = torch.Generator().manual_seed(3)
        for parameter in ours.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.randn(parameter.shape, generator=generator).to(device)
        theirs = copy.deepcopy(ours)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.grad = None if one.grad is None else one.grad.clone()
        places = {id(one): other for one, other in zip(ours.parameters(), theirs.parameters(), strict=True)}
        optimizer = make_optimizer(ours, settings)
        groups = [
            {"params": [places[id(one)] for one in group["params"]]}
            | {key: group[key] for key in ("lr", "weight_decay", "betas", "eps")}
            for group in optimizer.param_groups
        ]
        peer = torch.optim.AdamW(groups)
        optimizer.step()
        peer.step()
        difference = max(worst(one, places[id(one)]) for one in ours.parameters() if one.grad is not None)
        return optimizer.step, peer.step, difference

    return row


def _whole_step(model: nn.Module, step: Callable[[], Tensor], optimizer: torch.optim.Optimizer, clip: float) -> Tensor:
    loss = step()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss


def step_of(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Return a call of forward, loss and backward that returns the loss."""

    def step() -> Tensor:
        model.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        return value.detach()

    return step


def loss_of(net: Any, outputs: Any, targets: Any) -> Tensor:
    """Return a network's loss on a batch, the sum of its terms."""
    return torch.stack(list(batch_terms(net, outputs, targets).values())).sum()
