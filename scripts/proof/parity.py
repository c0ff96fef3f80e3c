"""Part 1: every registered architecture on the device against its peer, and one training step against the CPU's.

In float32 (TF32 off) outputs equal the peer's to ``TOLERANCE``. In bfloat16 (autocast) lab's error against float32 is
at most ``BF16_FACTOR`` times the peer's, or ``BF16_FLOOR``. Losses and gradients of a step without dropout equal those
on the CPU. A model without a peer is compared with itself on the CPU. A mutant (one weight changed by 5 %) must be
detected. The representative model of each architecture comes first, then the variants, while there is time.
"""

from __future__ import annotations

import gc
from functools import partial
from typing import Any

import torch
from benchmarks.pairs import Pair, Subject, step_of, worst
from benchmarks.registry import PLANNED, SUBJECTS
from proof.runner import Proof
from torch import Tensor

TOLERANCE = 1e-4
LOSS_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 2e-3
"""Tolerance of the gradient norm: it sums many terms in another order, through batch norms and a matching."""
BF16_FACTOR, BF16_FLOOR = 2.0, 2**-8
MUTATION = 1.05


def run(proof: Proof) -> None:
    """Compare as many models as the time allows; report the others."""
    device = torch.device(proof.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for name in PLANNED:
        proof.say(name, not_run="not in the registry yet")
    for subject, name in _in_order(proof.tiny):
        proof.item(name, partial(_compare, subject, name, device), needs=2 if proof.tiny else 5)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _in_order(tiny: bool) -> list[tuple[Subject, str]]:
    """Return the first model of each subject, then all others.

    When the proof itself is tested: the small model of each subject, then the first one of subjects that have none.
    """
    if tiny:
        small = [(subject, subject.smoke) for subject in SUBJECTS.values() if subject.smoke is not None]
        others = (subject for subject in SUBJECTS.values() if subject.smoke is None and subject.on_cpu)
        return small + [(subject, subject.names[0]) for subject in others]
    firsts = [(subject, subject.names[0]) for subject in SUBJECTS.values()]
    return firsts + [(subject, name) for subject in SUBJECTS.values() for name in subject.names[1:]]


def _compare(subject: Subject, name: str, device: torch.device, found: dict[str, Any]) -> None:
    pair = subject.make(name, *subject.small, device)
    with torch.no_grad():
        ours = pair.outputs()
        if pair.peer_outputs is not None:
            found["against"], peer = "the peer", pair.peer_outputs()
        else:
            found["against"], peer = (
                "itself on the CPU",
                subject.make(name, *subject.small, torch.device("cpu")).outputs(),
            )
        found["fp32"] = worst(ours.float().cpu(), peer.float().cpu())
        found["fp32_holds"] = found["fp32"] <= TOLERANCE
        _bfloat16(pair, ours, device, found)
        found["mutant"] = _mutant(pair, peer)
    if found["mutant"] is not None:
        found["mutant_seen"] = found["mutant"] > TOLERANCE
    if pair.loss is not None:
        del pair
        _step(subject, name, device, found)
    found["holds"] = all(value for key, value in found.items() if key.endswith(("_holds", "_seen")))


def _bfloat16(pair: Pair, exact: Tensor, device: torch.device, found: dict[str, Any]) -> None:
    if next(pair.ours.parameters(), None) is None:
        return  # it only counts
    with torch.autocast(device.type, torch.bfloat16):
        found["bf16"] = _far(pair.outputs(), exact)
        if pair.peer_outputs is not None:
            found["bf16_of_peer"] = _far(pair.peer_outputs(), exact)
    if "bf16_of_peer" in found:
        found["bf16_holds"] = found["bf16"] <= max(BF16_FACTOR * found["bf16_of_peer"], BF16_FLOOR)


def _far(rounded: Tensor, exact: Tensor) -> float:
    """Return the norm of the difference relative to that of the exact values."""
    return float((rounded.float() - exact.float()).norm() / exact.float().norm())


def _mutant(pair: Pair, peer: Tensor) -> float | None:
    matrices = [parameter for parameter in pair.ours.parameters() if parameter.ndim > 1]
    if not matrices:
        return None
    # Every other input: a norm layer would undo a change of the whole matrix.
    max(matrices, key=Tensor.numel).flatten(1)[:, ::2] *= MUTATION
    return worst(pair.outputs().float().cpu(), peer.float().cpu())


def _step(subject: Subject, name: str, device: torch.device, found: dict[str, Any]) -> None:
    """Compare a step's loss and gradients with those on the CPU; on a CPU there is nothing to compare."""
    cpu = torch.device("cpu")
    loss, gradients = _learn(subject, name, device)
    found["loss"] = loss
    if device == cpu:
        return
    expected_loss, expected = _learn(subject, name, cpu)
    found["loss_holds"] = abs(loss / expected_loss - 1) <= LOSS_TOLERANCE
    squares = {key: float((value - expected[key]).square().sum()) for key, value in gradients.items()}
    norm = sum(float(value.square().sum()) for value in expected.values()) ** 0.5
    found["gradient"] = sum(squares.values()) ** 0.5 / norm
    found["gradient_worst"] = max(squares, key=lambda key: squares[key])
    found["gradient_holds"] = found["gradient"] <= GRADIENT_TOLERANCE and gradients.keys() == expected.keys()


def _learn(subject: Subject, name: str, device: torch.device) -> tuple[float, dict[str, Tensor]]:
    """Return the loss of a training step and its gradients, on the CPU."""
    pair = subject.make(name, *subject.small, device, training=True)
    assert pair.loss is not None
    loss = step_of(pair.ours, pair.loss)()
    found = {key: value.grad.cpu() for key, value in pair.ours.named_parameters() if value.grad is not None}
    return float(loss), found
