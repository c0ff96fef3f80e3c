"""GRU4Rec's training step against plain torch: sparse embeddings, ``nn.GRUCell``, autograd, a sparse Adagrad.

That is the manner of the authors' PyTorch code. Both sides walk the same generated sessions, whose items follow a power
law, and draw their own negatives; data work is part of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lab.data.lanes import LaneBatches, LaneSchedule, LaneSteps, only
from lab.data.loader import TrainStream
from lab.models.gru4rec.network import GRU4Rec
from lab.tasks.optim import make_optimizer

WIDTH, ALPHA, RATE = 100, 0.5, 0.05
STEPS = 20
"""Training steps of a timed round."""


def make_schedule(lanes: int, num_items: int) -> tuple[LaneSchedule, np.ndarray]:
    """Return the lanes of an epoch of generated sessions, and the items' counts."""
    generator = np.random.default_rng(0)
    lengths = generator.geometric(0.3, 30_000) + 1
    weights = 1 / np.arange(1, num_items + 1) ** 0.8
    items = generator.choice(num_items, lengths.sum(), p=weights / weights.sum()) + 1
    items[:num_items] = np.arange(1, num_items + 1)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    schedule = LaneSchedule.of_sessions(offsets, items, np.arange(len(lengths)), lanes)
    return schedule, np.bincount(items, minlength=num_items + 1)[1:]


class Plain(nn.Module):
    """The network, its loss and its optimizer, as one writes them down."""

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

    def loss(self, current: Tensor, following: Tensor, starts: Tensor, negatives: Tensor) -> Tensor:
        """Cross-entropy with logq over the lanes, item numbers from 0."""
        count = len(current)
        candidates = torch.cat([following, negatives])
        found = self.output(torch.cat([current, candidates]))
        self.hidden[starts] = 0
        states = self.cell(found[:count], self.hidden)
        self.hidden = states.detach()
        scores = states @ found[count:].T + self.bias(candidates).T
        frequency = torch.cat([self.counts[following], self.counts[negatives] ** ALPHA])
        shares = (scores - frequency.log()).softmax(dim=1)
        return -(torch.diag(shares) + 1e-24).log().sum() / count

    @torch.no_grad()
    def update(self) -> None:
        """Adagrad: of a sparse gradient the rows that it has."""
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


def gru4rec_train(
    batch: int, size: tuple[int, int], device: torch.device
) -> tuple[Callable[[], Any], Callable[[], Any], float]:
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
    stream: Iterator[Any] = iter(TrainStream(steps, LaneBatches(steps, 10**9, limit=1000), only, ours.totals, 0, False))

    def step_ours() -> Tensor:
        found = next(stream).to(device)
        (loss,) = ours.loss(ours(found), found.targets, found.totals).values()
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
