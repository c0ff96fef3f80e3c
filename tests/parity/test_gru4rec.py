"""GRU4Rec's training against steps put together from torch's own parts, as the authors' code walks and computes.

Every lane, negative and score stands for itself here: sessions are walked by a loop, candidates keep their duplicates,
gradients come from autograd and are whole, the optimizer is written out. Both sides compute in float64 from the same
weights, so that what differs is arithmetic, not rounding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lab.models.gru4rec.network import GRU4Rec
from lab.structures import LaneBatch
from lab.tasks.recommendation.data.lanes import CHUNK, LaneSchedule, LaneSteps
from lab.training.optimizers import make_optimizer
from lab.training.terms import divided
from tests.agreement import Compared
from tests.unit.tasks.recommendation.data.test_lanes import make_sessions, walk

ITEMS, LANES, NEGATIVES, ALPHA = 40, 6, 25, 0.75
SETTINGS = {"name": "adagrad", "eps": 1e-6, "weight_decay": 0.0, "no_decay_norm_bias": False, "groups": []}


PEER = Compared("gru4rec", "the authors' step in plain torch")


def fill(net: nn.Module) -> None:
    """Give every parameter values that do not depend on a generator, biases too."""
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            places = torch.arange(parameter.numel(), dtype=torch.float64).view(parameter.shape)
            parameter.copy_(0.4 * torch.sin(1.7 * places + number))


class Reference:
    """The authors' training step."""

    def __init__(self, net: GRU4Rec, counts: np.ndarray, lr: float, momentum: float, mutant: str = "") -> None:
        self.weights = {name: value.detach().clone().requires_grad_() for name, value in net.named_parameters()}
        self.sums = {name: torch.zeros_like(value) for name, value in self.weights.items()}
        self.moments = {name: torch.zeros_like(value) for name, value in self.weights.items()}
        self.net, self.counts, self.lr, self.momentum, self.mutant = net, torch.tensor(counts), lr, momentum, mutant
        self.hidden = [torch.zeros(LANES, width, dtype=torch.float64) for width in net.layers]

    def step(self, lanes: list[tuple[int, int, bool]], order: list[int], negatives: list[int]) -> float:
        """Train on the live lanes, whose numbers are ``order``; return the loss."""
        current = torch.tensor([item for item, _, _ in lanes]) - 1
        candidates = torch.tensor([item for _, item, _ in lanes] + negatives) - 1
        for number, (_, _, begins) in zip(order, lanes, strict=True):
            for hidden in self.hidden:
                if begins and self.mutant != "no reset":
                    hidden[number] = 0
        before = [hidden[order] for hidden in self.hidden]
        states = self.read(current, before)
        for hidden, state in zip(self.hidden, states, strict=True):
            hidden[order] = state.detach()
        scores = states[-1] @ self.weights["Wy.weight"][candidates].T + self.weights["By.weight"][candidates].T
        loss = self.score(scores, candidates, len(lanes)) / LANES
        loss.backward()
        with torch.no_grad():
            self.update(current, candidates)
        return float(loss.detach())

    def read(self, current: Tensor, hidden: list[Tensor]) -> list[Tensor]:
        weights, states = self.weights, []
        if self.net.embedding == "none":
            state, inputs = hidden[0], weights["GE.Wx0.weight"][current] + weights["GE.Bh0"]
            x_h, x_r, x_z = inputs.chunk(3, 1)
            h_r, h_z = (state @ weights["GE.Wrz0"]).chunk(2, 1)
            reset, update = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
            candidate = torch.tanh((reset * state) @ weights["GE.Wh0"] + x_h)
            states.append((1 - update) * state + update * candidate)
        else:
            inputs = weights["Wy.weight" if self.net.embedding == "constrained" else "E.weight"][current]
        for number, state in enumerate(hidden[len(states) :]):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            states.append(
                torch.gru_cell(
                    states[-1] if states else inputs, state, *(weights[f"G.{number}.{name}"] for name in names)
                )
            )
        return states

    def score(self, scores: Tensor, candidates: Tensor, count: int) -> Tensor:
        kind, own = self.net.loss_kind, torch.diag(scores)[:, None]
        mask = 1 - torch.eye(*scores.shape, dtype=torch.float64)
        if kind == "cross_entropy":
            support = self.counts[candidates].double()
            if self.mutant != "no logq":
                frequency = torch.cat([support[:count], support[count:] ** ALPHA])
                scores = scores - self.net.logq * frequency.log()
            return -(torch.diag(scores.softmax(1)) + 1e-24).log().sum()
        if kind == "bpr":
            return -torch.sigmoid(own - scores).log().sum()
        if kind == "top1":
            terms = (torch.sigmoid(scores - own) + torch.sigmoid(scores**2)).mean(1)
            return (terms - torch.sigmoid(own[:, 0] ** 2) / scores.shape[1]).sum()
        if kind == "bpr_max":
            scores = nn.functional.elu(scores, self.net.elu)
            own = torch.diag(scores)[:, None]
        weights = scores.exp() * mask
        weights = weights / weights.sum(1, keepdim=True)
        if kind == "top1_max":
            return (weights * (torch.sigmoid(scores - own) + torch.sigmoid(scores**2))).sum()
        wins = (torch.sigmoid(own - scores) * weights).sum(1)
        return (-(wins + 1e-24).log() + self.net.bpreg * (scores**2 * weights).sum(1)).sum()

    def update(self, current: Tensor, candidates: Tensor) -> None:
        touched = {"Wy.weight": candidates, "By.weight": candidates, "E.weight": current, "GE.Wx0.weight": current}
        if self.net.embedding == "constrained":
            touched["Wy.weight"] = torch.cat([current, candidates])
        for name, weight in self.weights.items():
            gradient, weight.grad = weight.grad, None
            assert gradient is not None
            moves = torch.zeros(len(weight), dtype=torch.bool)
            moves[touched.get(name, slice(None))] = True
            self.sums[name] += gradient**2
            outside = self.mutant == "eps outside"
            root = self.sums[name].sqrt() + 1e-6 if outside else (self.sums[name] + 1e-6).sqrt()
            change = self.momentum * self.moments[name] - self.lr * gradient / root
            self.moments[name][moves] = change[moves]
            weight[moves] += change[moves]


def in_double(batch: LaneBatch) -> LaneBatch:
    """What a batch gives as float32 in float64, the power of the counts taken anew."""
    batch = batch._map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    batch.targets.negative_support = batch.targets.support**ALPHA
    return batch


def train(
    arguments: Mapping[str, Any],
    count: int,
    lr: float = 0.05,
    momentum: float = 0.0,
    private: bool = True,
    parts: int = 1,
    mutant: str = "",
) -> tuple[float, float]:
    """Train both for some steps; return the worst relative difference of losses and the worst of weights."""
    offsets, items, order = make_sessions(50, ITEMS, seed=5)
    counts = np.bincount(items)[1:]
    steps = LaneSteps(
        LaneSchedule.of_sessions(offsets, items, order, LANES), counts, NEGATIVES, ALPHA, accumulate=parts
    )
    lanes = walk(offsets, items, order, LANES)
    net = GRU4Rec(ITEMS, **arguments).double()
    fill(net)
    net.train()
    reference = Reference(copy.deepcopy(net), counts, lr, momentum, mutant)
    optimizer = make_optimizer(net, {**SETTINGS, "lr": lr, "momentum": momentum}, private)
    worst = 0.0
    for number in range(count):
        epoch, step = divmod(number, len(lanes))
        optimizer.zero_grad()
        loss, numbers = 0.0, []
        for part in range(parts):
            batch = in_double(steps[epoch, step * parts + part])
            numbers += batch.lanes.tolist()
            (term,) = divided(net.loss(net(batch), batch.targets), {"lanes": LANES}).values()
            term.backward()
            loss += float(term.detach())
        optimizer.step()
        negatives = steps.negatives(epoch, step // CHUNK)[step % CHUNK].tolist()
        expected = reference.step(lanes[step], numbers, negatives)
        worst = max(worst, abs(loss - expected) / abs(expected))
    ends = net.state_dict()
    return worst, max(float((ends[name] - value.detach()).abs().max()) for name, value in reference.weights.items())


EMBEDDINGS: dict[str, dict[str, Any]] = {
    "constrained": {"layers": [12]},
    "constrained, two layers": {"layers": [9, 12]},
    "separate": {"layers": [12], "embedding": "separate", "embed_dim": 7},
    "none": {"layers": [12], "embedding": "none"},
    "none, two layers": {"layers": [9, 12], "embedding": "none"},
}
XE: dict[str, Any] = {"layers": [12], "loss": "cross_entropy", "logq": 1.0}


@pytest.mark.parametrize("momentum", [0.0, 0.3])
def test_a_hundred_steps(momentum: float) -> None:
    """Over the end of an epoch, in which lanes end one by one."""
    loss, weights = train(XE, 100, momentum=momentum)
    assert PEER.agrees("losses in double precision", loss, 1e-12)  # worst 4.2e-16
    assert PEER.agrees("weights after 100 steps in double precision", weights, 1e-11)  # worst 8.9e-16


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("loss", ["cross_entropy", "bpr_max", "bpr", "top1", "top1_max"])
def test_every_loss_and_embedding(loss: str, embedding: str) -> None:
    arguments = {**EMBEDDINGS[embedding], "loss": loss, "logq": 0.5, "bpreg": 1.3, "elu": 0.5}
    worst, weights = train(arguments, 12, momentum=0.2)
    assert PEER.agrees("losses in double precision", worst, 1e-12)  # worst 4.5e-16
    assert weights < 1e-11  # worst 1.5e-14


@pytest.mark.parametrize(("private", "parts"), [(False, 1), (False, 3), (True, 2)])
def test_micro_batches_and_dense_gradients(private: bool, parts: int) -> None:
    loss, weights = train({**XE, "embedding": "separate"}, 40, momentum=0.2, private=private, parts=parts)
    assert loss < 1e-12  # worst 3.5e-16
    assert weights < 1e-11  # worst 1.2e-15


@pytest.mark.parametrize("mutant", ["no reset", "no logq", "eps outside"])
def test_mutants_are_noticed(mutant: str) -> None:
    loss, weights = train(XE, 40, mutant=mutant)
    assert loss > 1e-3  # of the least noticed, eps outside: 1.0e-2
    assert weights > 1e-2  # the same: 1.3e-1


def test_initial_bounds() -> None:
    """Each matrix fills U(-s, s) with s of each gate's own block (Glorot and Bengio, 2010)."""
    torch.manual_seed(0)
    net = GRU4Rec(500, [60, 80], embedding="none")
    shapes = {"GE.Wx0.weight": (500, 60), "GE.Wrz0": (60, 60), "GE.Wh0": (60, 60), "Wy.weight": (500, 80)}
    shapes |= {"G.0.weight_ih": (80, 60), "G.0.weight_hh": (80, 80)}
    for name, parameter in net.named_parameters():
        bound = math.sqrt(6 / sum(shapes[name])) if name in shapes else 0.0
        assert bound * 0.99 <= float(parameter.abs().max()) <= bound, name
