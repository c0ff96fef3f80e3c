"""GRU4Rec's training step against plain torch: sparse embeddings, ``nn.GRUCell``, autograd, a sparse Adagrad.

The peer is written like the authors' PyTorch code. Both train on the same generated sessions, whose items follow a
power law, and draw their own negatives. The time includes the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from benchmarks.pairs import Made, Pair, Size, loss_of
from torch import Tensor, nn

from lab.data.loader import TrainStream
from lab.models.gru4rec.network import GRU4Rec
from lab.tasks.recommendation.data.lanes import LaneBatches, LaneSchedule, LaneSteps, only
from lab.training.optimizers import make_optimizer
from lab.training.terms import divided

WIDTH, ALPHA, RATE = 100, 0.5, 0.05
STEPS = 20
"""Training steps in a timed round."""
PARITY_STEPS = 5
"""Steps whose scores are compared; each starts from the states of the one before."""


def make_schedule(lanes: int, num_items: int) -> tuple[LaneSchedule, np.ndarray]:
    """Return the lanes of an epoch of generated sessions, and the counts of the items."""
    generator = np.random.default_rng(0)
    lengths = generator.geometric(0.3, 30_000 * max(1, lanes // 64)) + 1
    weights = 1 / np.arange(1, num_items + 1) ** 0.8
    items = generator.choice(num_items, lengths.sum(), p=weights / weights.sum()) + 1
    items[:num_items] = np.arange(1, num_items + 1)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    schedule = LaneSchedule.of_sessions(offsets, items, np.arange(len(lengths)), lanes)
    return schedule, np.bincount(items, minlength=num_items + 1)[1:]


class Plain(nn.Module):
    """The network, its loss and its optimizer in their plain form."""

    def __init__(self, ours: GRU4Rec, counts: np.ndarray, lanes: int) -> None:
        super().__init__()
        self.output = nn.Embedding(ours.num_items, WIDTH, sparse=True)
        self.bias = nn.Embedding(ours.num_items, 1, sparse=True)
        self.cell = nn.GRUCell(WIDTH, WIDTH)
        self.output.load_state_dict(ours.Wy.state_dict())
        self.bias.load_state_dict(ours.By.state_dict())
        self.cell.load_state_dict(ours.G[0].state_dict())
        self.counts = torch.tensor(counts, dtype=torch.float32, device=ours.Wy.weight.device)
        self.bounds = (self.counts**ALPHA).cumsum(0) / (self.counts**ALPHA).sum()
        self.hidden = torch.zeros(lanes, WIDTH, device=self.counts.device)
        self.sums = {parameter: torch.zeros_like(parameter) for parameter in self.parameters()}

    def scores(self, current: Tensor, following: Tensor, starts: Tensor, negatives: Tensor) -> Tensor:
        """Scores of the lanes' next items and of the negatives, item numbers from 0; hidden states are kept."""
        count = len(current)
        candidates = torch.cat([following, negatives])
        found = self.output(torch.cat([current, candidates]))
        self.hidden[starts] = 0
        states = self.cell(found[:count], self.hidden)
        self.hidden = states.detach()
        return states @ found[count:].T + self.bias(candidates).T

    def loss(self, current: Tensor, following: Tensor, starts: Tensor, negatives: Tensor) -> Tensor:
        """Cross-entropy with logq over the lanes."""
        count, scores = len(current), self.scores(current, following, starts, negatives)
        frequency = torch.cat([self.counts[following], self.counts[negatives] ** ALPHA])
        shares = (scores - frequency.log()).softmax(dim=1)
        return -(torch.diag(shares) + 1e-24).log().sum() / count

    @torch.no_grad()
    def update(self) -> None:
        """Adagrad; for a sparse gradient only on the rows that it has."""
        for parameter, squares in self.sums.items():
            gradient = parameter.grad
            assert gradient is not None
            if not gradient.is_sparse:
                squares += gradient**2
                parameter.addcdiv_(gradient, (squares + 1e-6).sqrt(), value=-RATE)
                continue
            gradient = gradient.coalesce()
            rows, values = gradient.indices()[0], gradient.values()
            fresh = squares[rows] + values**2
            squares.index_copy_(0, rows, fresh)
            parameter.index_add_(0, rows, values / (fresh + 1e-6).sqrt() * -RATE)


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return lab's network and the plain one; compared by the scores of all next items in the first steps.

    Args:
        name: ``gru4rec``.
        batch: lanes.
        size: (negatives, items).
        device: to compute on.
        training: has no effect here: lanes exist in training mode only.
        dropout: has no effect here.
    """
    num_negatives, num_items = size
    schedule, counts = make_schedule(batch, num_items)
    steps = LaneSteps(schedule, counts, num_negatives, ALPHA)
    torch.manual_seed(0)
    ours = GRU4Rec(num_items, [WIDTH], logq=1.0)
    nn.init.normal_(ours.By.weight, std=0.1)
    ours = ours.to(device).train()
    peer = Plain(ours, counts, batch)
    batches = [steps[0, number].to(device) for number in range(PARITY_STEPS)]
    drawn = torch.from_numpy(steps.negatives(0, 0) - 1).to(device)
    grids = [
        torch.from_numpy(grid[:PARITY_STEPS].astype(np.int64) - 1) for grid in (schedule.current, schedule.following)
    ]
    current, following = (grid.to(device) for grid in grids)
    starts = torch.from_numpy(schedule.starts[:PARITY_STEPS]).to(device)

    def scores() -> Tensor:
        ours.load_training_state({})
        made = []
        for found in batches:
            out = ours(found)
            made.append((out.states @ out.rows.T + out.bias.T)[:, found.targets.positions])
        return torch.stack(made)

    def peer_scores() -> Tensor:
        peer.hidden = torch.zeros_like(peer.hidden)
        made = [peer.scores(current[row], following[row], starts[row], drawn[row]) for row in range(PARITY_STEPS)]
        return torch.stack(made)[:, :, :batch]

    def loss() -> Tensor:
        ours.load_training_state({})
        return loss_of(ours, ours(batches[0]), batches[0].targets)

    def peer_loss() -> Tensor:
        peer.hidden = torch.zeros_like(peer.hidden)
        return peer.loss(current[0], following[0], starts[0], drawn[0])

    return Pair(ours, scores, batch, loss, peer, peer_scores, peer_loss)


def gru4rec_train(batch: int, size: Size, device: torch.device) -> Made:
    """Train ``STEPS`` steps; compared by the loss of the first 20 steps with the same negatives.

    Args:
        batch: lanes.
        size: (negatives, items).
        device: to compute on.
    """
    num_negatives, num_items = size
    schedule, counts = make_schedule(batch, num_items)
    steps = LaneSteps(schedule, counts, num_negatives, ALPHA)
    settings = {"name": "adagrad", "lr": RATE, "momentum": 0.0, "eps": 1e-6, "weight_decay": 0.0}
    torch.manual_seed(0)
    ours = GRU4Rec(num_items, [WIDTH], logq=1.0).to(device).train()
    optimizer = make_optimizer(ours, {**settings, "no_decay_norm_bias": False, "groups": []}, private=True)
    peer = Plain(ours, counts, batch)
    # Well before lanes end.
    walk = LaneBatches(steps, 10**9, limit=1000)
    stream: Iterator[Any] = iter(TrainStream(steps, walk, only, lambda found: ours.totals(found.targets), 0, False))

    def step_ours() -> Tensor:
        found = next(stream).to(device)
        (loss,) = divided(ours.loss(ours(found), found.targets), found.totals).values()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    position = 0

    def step_peer(negatives: Tensor | None = None) -> Tensor:
        nonlocal position
        row = position % 1000
        position += 1
        current, following = (
            torch.from_numpy(grid[row].astype(np.int64) - 1).to(device)
            for grid in (schedule.current, schedule.following)
        )
        starts = torch.from_numpy(schedule.starts[row]).to(device)
        if negatives is None:
            negatives = torch.searchsorted(peer.bounds, torch.rand(num_negatives, device=device), right=True)
        loss = peer.loss(current, following, starts, negatives.clamp(max=num_items - 1))
        peer.zero_grad()
        loss.backward()
        peer.update()
        return loss.detach()

    drawn = torch.from_numpy(steps.negatives(0, 0) - 1).to(device)
    difference = max(float(abs(step_ours() / step_peer(drawn[number]) - 1)) for number in range(20))

    def run(step: Callable[[], Tensor]) -> Tensor:
        return torch.stack([step() for _ in range(STEPS)])[-1]

    return lambda: run(step_ours), lambda: run(step_peer), difference
